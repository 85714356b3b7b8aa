"""PRM: the loss by hand, what only a list can tell, and what it learns from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from kinds import RerankerContract, kinds, nobody, ranked, shelf

from llmrec.classic.reranking.base import load_reranker
from llmrec.classic.reranking.lists import Lists
from llmrec.classic.reranking.prm import PRM, PRMConfig
from llmrec.config import make_config
from llmrec.data import Candidates, Impressions, Queries, Targets
from llmrec.errors import ConfigError, DataError
from llmrec.eval.metrics import compute
from llmrec.protocols import Watch
from llmrec.testing import expect_error

SMALL = {"embedding_dim": 8, "blocks": 1, "epochs": 2, "batch_size": 4}


def shown(data, **changes):
    """Return the data with three lists of toy users; the last has no click."""
    lists = {
        "users": [0, 1, 2],
        "times": [35, 36, 37],
        "offsets": [0, 3, 5, 7],
        "items": [3, 4, 3, 5, 3, 0, 1],
        "clicked": [True, False, True, False, True, False, False],
    }
    return replace(
        data, impressions=Impressions(**{name: np.array(each) for name, each in {**lists, **changes}.items()})
    )


def small(**changes) -> PRM:
    return PRM(make_config(PRMConfig, {**SMALL, **changes}))


class TestPRM(RerankerContract):
    def make(self):
        return small().fit(shown(kinds()))


def odd_ones_out(n, seed):
    """Return lists of six items of two kinds, one of them alone in its kind: that one is relevant.

    Items 0 to 9 are of one kind, 10 to 19 of the other. Either kind is the odd one half of the time, so that an item
    says nothing for itself, and neither does its place.
    """
    rng = np.random.default_rng(seed)
    items, relevant = np.zeros((n, 6), int), np.zeros((n, 1), int)
    for row in range(n):
        kind = int(rng.integers(2))
        odd = rng.integers(10) + 10 * kind
        items[row] = rng.permutation([odd, *(rng.permutation(10)[:5] + 10 * (1 - kind))])
        relevant[row] = odd
    return Candidates(items, np.full(items.shape, np.nan)), Targets(nobody(n), relevant)


def first_share(candidates, targets):
    return compute(candidates, targets, ["hr@1"])["hr@1"].mean()


def test_it_learns_what_only_the_list_can_tell():
    data = shelf([["x"]] * 10 + [["y"]] * 10)
    candidates, targets = odd_ones_out(400, 1)
    model = small(embedding_dim=16, columns=("categories",), epochs=30, batch_size=40, learning_rate=5e-3, dropout=0)
    model.fit_lists(data, candidates, targets)
    asked, truth = odd_ones_out(200, 2)
    assert first_share(model.rank(truth.queries, asked), truth) > 0.95
    # All that a score of items alone can learn is a fixed order of the 20; one kind before the other is right half of
    # the time, and no order more often.
    hits, seen = (np.bincount(each.ravel(), minlength=20) for each in (targets.relevant, candidates.items))
    alone = asked.with_scores((hits / seen)[asked.items])
    assert first_share(alone, truth) < 0.6


def test_a_list_is_ranked_the_same_in_any_company_but_not_an_item():
    data, (candidates, targets) = shelf([["x"]] * 10 + [["y"]] * 10), odd_ones_out(8, 1)
    model = small().fit_lists(data, candidates, targets)
    whole = model.rank(targets.queries, candidates)
    one = model.rank(targets.queries.select(slice(3, 4)), candidates.select(slice(3, 4)))
    np.testing.assert_allclose(one.scores, whole.scores[3:4], atol=1e-5)
    short, padded = model.rank(nobody(1), ranked([0, 1, 12])), model.rank(nobody(2), ranked([0, 1, 12], range(6)))
    np.testing.assert_array_equal(padded.items[0, :3], short.items[0])
    np.testing.assert_allclose(padded.scores[0, :3], short.scores[0], atol=1e-5)
    pair = model.rank(nobody(2), ranked([0, 1, 2], [0, 1, 12]))
    scores = [dict(zip(*each, strict=True)) for each in zip(pair.items.tolist(), pair.scores.tolist(), strict=True)]
    assert abs(scores[0][0] - scores[1][0]) > 1e-4


def test_the_loss_by_hand():
    model = small(dropout=0).fit(shown(kinds()))
    batch = {
        "items": torch.tensor([[3, 4, 5], [0, 1, -1]]),
        "scores": torch.tensor([[1.0, 0.5, 0.0], [1.0, 0.0, 0.0]]),
        "history": torch.tensor([[-1, 0], [1, 2]]),
        "clicked": torch.tensor([[True, False, True], [False, True, False]]),
    }
    with torch.no_grad():
        loss, count = model.module(batch)
        one, two = model.module.logits(batch).double().tolist()
    assert two[2] == -np.inf
    first = np.log(np.exp(one).sum()) - (one[0] + one[2]) / 2
    assert loss.item() == pytest.approx(first + np.log(np.exp(two[:2]).sum()) - two[1], abs=1e-5)
    assert count.item() == 2


def test_what_a_history_holds_and_scores_matter():
    model = small(epochs=1).fit(shown(kinds()))
    candidates = ranked([3, 4, 5])
    one, two = (model.rank(Queries.from_histories([each]), candidates).scores for each in ((0, 1), (5,)))
    assert np.abs(np.sort(one) - np.sort(two)).max() > 1e-6
    other = model.rank(Queries.from_histories([(0, 1)]), ranked([3, 4, 5], scores=[[9, 8, 0]])).scores
    assert np.abs(np.sort(one) - np.sort(other)).max() > 1e-6


def test_the_same_seed_gives_the_same_numbers_and_another_others():
    data = shown(kinds())
    one, two, other = (small().fit(data, seed=seed).rank(nobody(1), ranked([3, 4, 5])).scores for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 1e-6


def test_only_the_first_k_are_read():
    model = small(k=2).fit(shown(kinds(), clicked=np.array([True, False, False, False, True, False, False])))
    found = model.rank(nobody(2), ranked([3, 4, 0, 1], [1]))
    assert found.items[0, 2:].tolist() == [0, 1]
    assert np.isnan(found.scores[0, 2:]).all()
    assert np.isfinite(found.scores[0, :2]).all()


def test_impressions_become_lists():
    # User 0 had Alien, Brazil and Casablanca by 35, user 1 the same by 36; a repeat counts where it came first.
    lists = Lists.shown(shown(kinds()), history=2, k=5)
    assert lists.candidates.items.tolist() == [[3, 4, -1], [5, 3, -1]]
    assert lists.clicked.tolist() == [[True, False, False], [False, True, False]]
    assert lists.queries.history.tolist() == [[1, 2], [1, 2]]
    assert lists.queries.users.tolist() == [0, 1]
    # Click on the first two only.
    assert Lists.shown(shown(kinds()), history=2, k=1).candidates.items.tolist() == [[3]]


def test_training_stops_early_by_validation_lists_and_keeps_the_best_epoch(tmp_path):
    data, candidates, targets = shelf([["x"]] * 10 + [["y"]] * 10), *odd_ones_out(20, 1)
    valid = odd_ones_out(20, 2)
    model = small(epochs=40, patience=2).fit_lists(data, candidates, targets, valid=valid)
    values = model._arrays["validation_ndcg"]
    assert 3 <= len(values) < 40
    assert len(values) - 1 - values.argmax() == 2
    found = compute(model.rank(nobody(20), valid[0]), valid[1], ["ndcg@10"])["ndcg@10"].mean()
    assert found == pytest.approx(values.max())
    again = load_reranker(model.save(tmp_path / "prm"))
    np.testing.assert_array_equal(again.rank(nobody(20), valid[0]).items, model.rank(nobody(20), valid[0]).items)


def test_a_validation_part_with_shown_lists_is_watched():
    valid = Targets(nobody(2), np.array([[3], [5]]), shown=np.array([[3, 4], [4, 5]]))
    model = small().fit(shown(kinds()), watch=Watch(valid=valid))
    assert len(model._arrays["validation_ndcg"]) == 2
    unshown = small().fit(shown(kinds()), watch=Watch(valid=replace(valid, shown=None)))
    assert not len(unshown._arrays["validation_ndcg"])


def test_what_cannot_be_learned_from():
    expect_error(DataError, lambda: small().fit(kinds()), "'toy'", "impressions", "fit_lists")
    expect_error(DataError, lambda: small().fit(shown(kinds(), clicked=np.zeros(7, bool))), "impressions with clicks")
    candidates, targets = odd_ones_out(3, 1)
    never = Targets(nobody(3), np.full((3, 1), 19))
    data = shelf([["x"]] * 20)
    expect_error(DataError, lambda: small().fit_lists(data, ranked([1], [2], [3]), never), "3 lists", "relevant item")
    expect_error(DataError, lambda: small().fit_lists(data, candidates.select([0]), targets), "1 rows", "3 targets")
    expect_error(ConfigError, lambda: make_config(PRMConfig, {"embedding_dim": 9}), "no multiple of heads")
