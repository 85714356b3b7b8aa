"""Every model beats popularity on MovieLens latest-small, the last film of each user left out, all films ranked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from llmrec.classic.recall.factorization import ALS, EASE
from llmrec.classic.recall.fused import FusedConfig, FusedRecommender
from llmrec.classic.recall.neighbours import ItemKNN
from llmrec.classic.recall.pearson import ItemPearson, UserPearson
from llmrec.classic.recall.popular import Popular
from llmrec.classic.recall.swing import Swing
from llmrec.classic.recall.user_knn import UserKNN
from llmrec.data import Dataset, Interactions, Vocabulary

pytestmark = pytest.mark.data
Held = tuple[Dataset, np.ndarray]


@pytest.fixture
def held(data_folder: Path) -> Held:
    """Return all but each user's last film, and that film's number for each user."""
    folder = data_folder / "movielens-latest-small"
    ratings = pl.read_csv(folder / "ratings.csv").sort("timestamp", maintain_order=True)
    movies = pl.read_csv(folder / "movies.csv")
    ids, films = Vocabulary.of(ratings["userId"]), Vocabulary(movies["movieId"])
    users, items, times = ids.numbers(ratings["userId"]), films.numbers(ratings["movieId"]), ratings["timestamp"]
    stars = ratings["rating"].to_numpy()
    early = ~ratings["userId"].reverse().is_first_distinct().reverse().to_numpy()
    train = Interactions.sort(users[early], items[early], times.to_numpy()[early], stars[early])
    wanted = np.empty(len(ids), np.int32)
    wanted[users[~early]] = items[~early]
    return Dataset("movielens", train, ids, films, movies.select("title")), wanted


def hits(model, held: Held) -> int:
    """Return for how many users the film left out is among the first ten."""
    data, wanted = held
    found = model.recommend(data.queries(np.arange(len(wanted)), history=None), 10)
    return int((found.items == wanted[:, None]).any(axis=1).sum())


def test_every_model_beats_popularity_and_fusing_needs_no_second_fit(held):
    data, wanted = held
    assert len(wanted) == 610
    popular = hits(Popular().fit(data), held)
    assert 0 < popular < 61  # below one user in ten: it is the weakest
    models = [kind().fit(data) for kind in (ItemKNN, ALS, EASE)]
    for model in models:
        assert hits(model, held) > 1.2 * popular, model.name
    assert hits(FusedRecommender(FusedConfig(), models[1:]), held) > 1.2 * popular


def test_neighbourhood_models_beat_popularity(held):
    popular = hits(Popular().fit(held[0]), held)
    for kind, times in ((UserKNN, 1.2), (Swing, 1.2), (ItemPearson, 1.2), (UserPearson, 1)):
        assert hits(kind().fit(held[0]), held) > times * popular, kind.name
