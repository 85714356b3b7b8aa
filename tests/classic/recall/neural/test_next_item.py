"""SASRec and HSTU: contract, causality, what they learn, and their parts against plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.classic.recall.hstu import HSTU, HSTUConfig, Transducer, elapsed_bucket
from llmrec.classic.recall.neural.next_item import NextItemEncoder
from llmrec.classic.recall.sasrec import SASRec, SASRecConfig, Transformer
from llmrec.data import Queries
from llmrec.data_prep.split import leave_last_out
from llmrec.protocols import VectorModel, Watch
from llmrec.testing import TOY_HISTORIES, RecommenderContract, assert_same, toy

SMALL = {"embedding_dim": 8, "history": 6, "batch_size": 4, "epochs": 2}


class TestSASRec(RecommenderContract):
    def make(self) -> SASRec:
        return SASRec(SASRecConfig(**SMALL))


class TestSASRecWithGBCE(RecommenderContract):
    def make(self) -> SASRec:
        return SASRec(SASRecConfig(**SMALL, loss="gbce", negatives=3))


class TestHSTU(RecommenderContract):
    def make(self) -> HSTU:
        return HSTU(HSTUConfig(**SMALL))


class TestHSTUWithSampledSoftmax(RecommenderContract):
    def make(self) -> HSTU:
        return HSTU(HSTUConfig(**SMALL, loss="sampled", negatives=3))


MODELS = [(SASRec, SASRecConfig), (HSTU, HSTUConfig)]
IDS = ["sasrec", "hstu"]


def encoder(kind: str, seed: int = 0) -> NextItemEncoder:
    torch.manual_seed(seed)
    config = SASRecConfig(embedding_dim=8, history=12, heads=2)
    layers = Transformer(config) if kind == "sasrec" else Transducer(config)
    module = NextItemEncoder(config, 30, layers)
    with torch.no_grad():
        for weights in module.parameters():
            weights.normal_(0, 0.5)
    return module.eval()


@pytest.mark.parametrize("kind", IDS)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 7), padding=st.integers(0, 3), clock=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_later_event_never_changes_an_earlier_output(kind, seed, cut, padding, clock):
    rng = np.random.default_rng(seed)
    items = rng.integers(0, 30, (2, 8))
    items[:, :padding] = -1
    times = np.sort(rng.integers(1, 10**6, (2, 8)), axis=1) * clock
    other, later = items.copy(), times.copy()
    other[:, max(cut, padding) :] = rng.integers(0, 30, other[:, max(cut, padding) :].shape)
    later[:, max(cut, padding) :] += 1000 * clock
    module = encoder(kind, seed)
    with torch.inference_mode():
        one, two = (module.hidden(*map(torch.from_numpy, given)) for given in ((items, times), (other, later)))
    real = slice(padding, max(cut, padding))
    np.testing.assert_allclose(one[:, real], two[:, real], atol=1e-5)


@pytest.mark.parametrize("kind", IDS)
def test_earlier_events_do_change_what_comes_after(kind):
    items, times = torch.arange(5)[None], torch.zeros(1, 5, dtype=torch.int64)
    module = encoder(kind)
    with torch.inference_mode():
        one = module.hidden(items, times)
        two = module.hidden(torch.tensor([[9, 1, 2, 3, 4]]), times)
    assert (one - two).abs().amax(dim=2).min() > 1e-4  # at every place


@pytest.mark.parametrize("kind", IDS)
def test_padding_changes_nothing(kind):
    module = encoder(kind)
    items, times = torch.tensor([[-1, -1, -1, 5, 6, 7]]), torch.tensor([[0, 0, 0, 10, 500, 90_000]])
    with torch.inference_mode():
        np.testing.assert_allclose(
            module.encode(items, times), module.encode(items[:, 3:], times[:, 3:]), atol=1e-5
        )  # fmt: skip


@pytest.mark.parametrize(("kind", "config"), MODELS, ids=IDS)
@pytest.mark.parametrize("loss", ["softmax", "sampled", "gbce"])
def test_a_circle_is_learned(kind, config, loss, make_data):
    """Everybody walks 0 1 2 … 11 0 …: after an item comes its successor, also for a user nobody has seen."""
    data = make_data([[(start + step) % 12 for step in range(8)] for start in range(12)] * 4, 12)
    recipe = config(
        embedding_dim=16, history=8, batch_size=8, epochs=25, learning_rate=0.01, dropout=0, loss=loss, negatives=6
    )
    model = kind(recipe).fit(data)
    found = model.recommend(Queries.from_histories([(3, 4, 5), (10, 11), (7,)]), 1, exclude_seen=False)
    assert found.items.ravel().tolist() == [6, 0, 8]
    losses = model._arrays["training_loss"]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(("kind", "config"), MODELS, ids=IDS)
def test_scores_are_inner_products_of_its_vectors(kind, config):
    model = kind(config(**SMALL)).fit(toy())
    assert isinstance(model, VectorModel)
    assert model.servable.tolist() == [True] * 6 + [False]
    queries = Queries.from_histories([*TOY_HISTORIES, (), (6,)])
    vectors = model.query_vectors(queries)
    assert vectors.shape == (7, 1, 8)
    assert np.isnan(vectors[5:]).all()
    found = model.recommend(queries, 7, exclude_seen=False)
    assert (found.items[:5, 6] == 6).all()  # what nobody has touched comes last
    products = vectors[:5, 0] @ model.item_vectors.T
    expected = np.take_along_axis(products, found.items[:5, :6].astype(np.int64), axis=1)
    np.testing.assert_allclose(found.scores[:5, :6], expected, rtol=1e-5, atol=1e-6)
    assert found.items[5:, :3].tolist() == [[2, 0, 1], [2, 0, 1]]  # a history that says nothing gets popularity


@pytest.mark.parametrize(("kind", "config"), MODELS, ids=IDS)
def test_an_item_that_was_never_seen_in_training_is_skipped_in_a_history(kind, config):
    model = kind(config(**SMALL)).fit(toy())
    one, two = (model.recommend(Queries.from_histories([row]), 3) for row in ((0, 6, 1), (0, 1)))
    assert_same(one, two)


def test_only_the_newest_items_are_read():
    model = SASRec(SASRecConfig(**{**SMALL, "history": 2})).fit(toy())
    long, short = Queries.from_histories([(4, 0, 1)]), Queries.from_histories([(0, 1)])
    np.testing.assert_array_equal(model.query_vectors(long), model.query_vectors(short))


def test_validation_is_kept_and_the_best_epoch_comes_back():
    split = leave_last_out(toy())
    model = SASRec(SASRecConfig(**{**SMALL, "epochs": 6, "patience": 6, "learning_rate": 0.05}))
    model.fit(split.train, watch=Watch(valid=split.valid))
    values = model.validation_ndcg
    assert len(values) == 6
    found = model.recommend(split.valid.queries, 5).items
    hits = found == split.valid.relevant[:, :1]
    assert (hits / np.log2(2 + np.arange(5))).sum(axis=1).mean() == pytest.approx(values.max())


def test_sasrec_ignores_times_and_hstu_reads_them():
    history = np.array([[0, 1, 2]], np.int32)
    near, far = (Queries([-1], history, None, [times]) for times in ([10, 20, 30], [10, 20, 90_000]))
    sasrec, hstu = SASRec(SASRecConfig(**SMALL)).fit(toy()), HSTU(HSTUConfig(**SMALL)).fit(toy())
    np.testing.assert_array_equal(sasrec.query_vectors(near), sasrec.query_vectors(far))
    assert not np.allclose(hstu.query_vectors(near), hstu.query_vectors(far), atol=1e-7)


def test_hstu_without_a_clock_is_hstu_at_one_moment():
    data = replace(toy(), clock=False)
    model = HSTU(HSTUConfig(**SMALL)).fit(data)
    queries = data.queries([0, 1])
    assert queries.times is None
    zeros = Queries(queries.users, queries.history, None, np.zeros(queries.history.shape))
    np.testing.assert_array_equal(model.query_vectors(queries), model.query_vectors(zeros))


def test_buckets_of_elapsed_time_by_hand():
    """ln(1) / 0.301 = 0; ln(60) = 4.094, / 0.301 = 13.6; ln(86400) = 11.367, / 0.301 = 37.8; the last is 63."""
    found = elapsed_bucket(torch.tensor([0, 1, -1, 60, 86_400, 10**12]))
    assert found.tolist() == [0, 0, 0, 13, 37, 63]


def test_an_hstu_layer_is_the_papers_equations():
    """Plain loops: u v q k = SiLU(W norm(x)); a_ts = SiLU(q_t k_s + bias) / t; y = x + W' (norm(sum a v) * u)."""
    torch.manual_seed(0)
    config = HSTUConfig(embedding_dim=6, history=5, heads=2, blocks=1)
    layers = Transducer(config).double().eval()
    block = layers.blocks[0]
    x, times = torch.randn(1, 4, 6, dtype=torch.float64), torch.tensor([[5, 70, 4000, 90_000]])
    real = torch.tensor([[False, True, True, True]])
    with torch.no_grad():
        block.by_distance.normal_()
        block.by_time.normal_()
        u, v, q, k = torch.nn.functional.silu(block.uvqk(block.before(x)))[0].chunk(4, dim=-1)
        seen = torch.zeros(4, 6, dtype=torch.float64)
        for t in range(1, 4):
            for head in (slice(0, 3), slice(3, 6)):
                for s in range(1, t + 1):
                    elapsed = abs(int(times[0, t] - times[0, s]))
                    bucket = int(np.log(max(1, elapsed)) / 0.301)
                    weight = q[t, head] @ k[s, head] + block.by_distance[t - s] + block.by_time[bucket]
                    seen[t, head] += torch.nn.functional.silu(weight) * v[s, head] / t
        expected = layers.norm(x[0] + block.out(block.after(seen) * u))
        found = layers(x, real, times)[0]
    np.testing.assert_allclose(found[1:], expected[1:], atol=1e-9)
