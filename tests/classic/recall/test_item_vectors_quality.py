"""Item vectors beat popularity on MovieLens latest-small, the last film of each user left out, all films ranked."""

from __future__ import annotations

import pytest

from llmrec.classic.recall.airbnb import Airbnb
from llmrec.classic.recall.eges import EGES, EGESConfig
from llmrec.classic.recall.item2vec import Item2Vec
from llmrec.classic.recall.popular import Popular
from llmrec.data import Split
from llmrec.data_prep.movielens import load_movielens
from llmrec.data_prep.split import leave_last_out
from llmrec.eval.metrics import compute

pytestmark = [pytest.mark.data, pytest.mark.slow]


@pytest.fixture(scope="module")
def split(data_folder) -> Split:
    return leave_last_out(load_movielens(data_folder / "movielens-latest-small"), ties="order")


def ndcg(model, split: Split) -> float:
    return float(
        compute(model.fit(split.train).recommend(split.test.queries, 10), split.test, ("ndcg@10",))["ndcg@10"].mean()
    )


@pytest.fixture(scope="module")
def popular(split) -> float:
    found = ndcg(Popular(), split)
    assert 0.01 < found < 0.05
    return found


@pytest.mark.parametrize(
    "model", [Item2Vec(), Airbnb(), EGES(EGESConfig(epochs=3, walks=5))], ids=lambda model: model.name
)
def test_it_beats_popularity(model, split, popular):
    assert ndcg(model, split) > 1.2 * popular
