"""The item graph and walks on it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from llmrec.classic.recall.item_vectors.graph import Graph, Walks
from llmrec.classic.recall.item_vectors.sessions import Sessions


def graph(*sessions: list[int], n_items: int = 6) -> Graph:
    starts = np.cumsum([0, *map(len, sessions)])
    items = np.concatenate([np.asarray(one, np.int32) for one in sessions])
    return Graph.of(Sessions(items, np.ones(len(items), np.float32), starts), n_items)


@pytest.fixture
def paper() -> Graph:
    """Return the example of the paper's figure 2: D A B, B E and D E F, E C B and B A; A to F are 0 to 5."""
    return graph([3, 0, 1], [1, 4], [3, 4, 5], [4, 2, 1], [1, 0])


def edges(made: Graph) -> Counter:
    """Return the weight of each edge."""
    sources = np.repeat(np.arange(len(made.starts) - 1), np.diff(made.starts))
    return Counter(zip(sources.tolist(), made.targets.tolist(), strict=True))


def test_edges_lead_from_an_item_to_the_next_of_its_session(paper):
    expected = {(3, 0): 1, (0, 1): 1, (1, 4): 1, (3, 4): 1, (4, 5): 1, (4, 2): 1, (2, 1): 1, (1, 0): 1}
    assert edges(paper) == expected
    assert paper.leads_on.tolist() == [True, True, True, True, True, False]


def test_an_edge_weighs_how_often_it_was_taken_and_none_leads_back_to_its_item():
    assert edges(graph([0, 1, 1, 0, 1], [0, 1, 2])) == {(0, 1): 3, (1, 0): 1, (1, 2): 1}


def test_walks_keep_to_edges_and_end_where_none_leads_on(paper):
    walks = paper.walk(np.repeat(np.arange(6), 200), 5, np.random.default_rng(0))
    assert walks.shape == (1200, 5)
    np.testing.assert_array_equal(walks[:, 0], np.repeat(np.arange(6), 200))
    before, after = walks[:, :-1], walks[:, 1:]
    taken = set(zip(before[after >= 0].tolist(), after[after >= 0].tolist(), strict=True))
    assert taken == set(edges(paper))
    np.testing.assert_array_equal(after < 0, (before == 5) | (before < 0))  # F leads nowhere


def test_a_step_takes_an_edge_in_proportion_to_its_weight():
    made = graph(*[[0, 1]] * 6, *[[0, 2]] * 3, [0, 3], [4, 5])
    steps = made.walk(np.zeros(5000, np.int64), 2, np.random.default_rng(1))[:, 1]
    assert chisquare(np.bincount(steps, minlength=4)[1:], [3000, 1500, 500]).pvalue > 1e-3


def test_each_epoch_walks_anew_from_each_item_that_leads_on(paper):
    walks = Walks(paper, walks=3, length=4, window=2, batch_size=4)
    batches = list(walks.epoch(np.random.default_rng(0)))
    assert len(batches) == walks.steps == 4
    items = np.concatenate([batch["items"] for batch in batches])
    assert items.shape == (15, 8)
    assert (items[:, :2] == -1).all()
    assert (items[:, -2:] == -1).all()
    assert np.sort(items[:, 2]).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    again = np.concatenate([batch["items"] for batch in walks.epoch(np.random.default_rng(0))])
    other = np.concatenate([batch["items"] for batch in walks.epoch(np.random.default_rng(1))])
    np.testing.assert_array_equal(items, again)
    assert (items != other).any()
