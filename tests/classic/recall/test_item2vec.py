"""Item2Vec: the words that gensim gets, gensim itself as oracle, and what is learned."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from gensim.models import Word2Vec

from llmrec.classic.recall import item2vec
from llmrec.classic.recall.item2vec import Item2Vec, Item2VecConfig, Sentences
from llmrec.classic.recall.item_vectors.sessions import Sessions
from llmrec.data import Dataset, Interactions, Queries, Vocabulary
from llmrec.errors import DataError, ModelError
from llmrec.protocols import VectorModel, Watch
from llmrec.testing import TOY_HISTORIES, RecommenderContract, expect_error, toy

SMALL = Item2VecConfig(embedding_dim=8, epochs=3, subsample=0)


class TestItem2Vec(RecommenderContract):
    def make(self) -> Item2Vec:
        return Item2Vec(SMALL)


class TestItem2VecOfSetsByCosine(RecommenderContract):
    def make(self) -> Item2Vec:
        return Item2Vec(SMALL.model_copy(update={"order": "shuffled", "match": "cosine"}))


def sessions_of(lists: list[list[int]]) -> Sessions:
    items = np.array([item for row in lists for item in row], np.int32)
    return Sessions(items, np.ones(len(items), np.float32), np.cumsum([0, *map(len, lists)]))


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_sessions_become_sentences_cut_where_gensim_would_stop_reading(monkeypatch, at_once):
    monkeypatch.setattr(item2vec, "LONGEST", 3)
    monkeypatch.setattr(item2vec, "SENTENCES", at_once)
    sentences = Sentences(sessions_of([[4, 5], [1, 2, 3, 4, 5, 6, 7], [0], [3, 2, 1]]), 8)
    expected = [["4", "5"], ["1", "2", "3"], ["4", "5", "6"], ["7"], ["0"], ["3", "2", "1"]]
    assert list(sentences) == expected
    assert list(sentences) == expected


def test_sets_are_shuffled_within_their_session_and_anew_each_time():
    lists = [list(range(20)), list(range(20, 50))]
    sentences = Sentences(sessions_of(lists), 50, seed=1)
    one, two = list(sentences), list(sentences)
    assert one != two
    for read in (one, two):
        assert [sorted(map(int, row)) for row in read] == lists
    assert one == list(Sentences(sessions_of(lists), 50, seed=1))
    assert one != list(Sentences(sessions_of(lists), 50, seed=2))


def test_the_vectors_are_gensims():
    model = Item2Vec(SMALL).fit(toy(), seed=5)
    words = [[str(item) for item in row] for row in TOY_HISTORIES]
    peer = Word2Vec(
        words,
        sg=1,
        hs=0,
        vector_size=8,
        epochs=3,
        alpha=0.025,
        window=5,
        negative=5,
        sample=0,
        min_count=1,
        seed=5,
        workers=1,
    )
    for item in range(6):
        place = peer.wv.key_to_index[str(item)]
        vector = peer.wv.vectors[place]
        np.testing.assert_allclose(model._arrays["vectors"][item], vector / np.linalg.norm(vector), rtol=1e-5)
        np.testing.assert_allclose(model.item_vectors[item], peer.syn1neg[place], rtol=1e-5)
    assert model.servable.tolist() == [True] * 6 + [False]


def blocks() -> Dataset:
    """Return 80 users with items 0 to 4 or 5 to 9 in some order."""
    rng = np.random.default_rng(0)
    items = np.concatenate([rng.permutation(5) + 5 * (user % 2) for user in range(80)])
    return Dataset(
        "blocks",
        Interactions.sort(np.repeat(np.arange(80), 5), items, np.tile(np.arange(5) * 10, 80)),
        Vocabulary(range(80)),
        Vocabulary(range(11)),
        pl.DataFrame(height=11),
    )


CONFIG = Item2VecConfig(embedding_dim=8, epochs=40, subsample=0)


@pytest.mark.parametrize("change", [{}, {"match": "cosine"}, {"order": "shuffled"}], ids=str)
def test_items_of_one_kind_of_session_come_together(change):
    model = Item2Vec(CONFIG.model_copy(update=change)).fit(blocks())
    found = model.recommend(Queries.from_histories([(0, 1), (7, 5)]), 3)
    assert [set(row) for row in found.items.tolist()] == [{2, 3, 4}, {6, 8, 9}]
    assert isinstance(model, VectorModel)


def test_cosines_are_cosines():
    model = Item2Vec(SMALL.model_copy(update={"match": "cosine"})).fit(toy())
    np.testing.assert_allclose(np.linalg.norm(model.item_vectors[:6], axis=1), 1, rtol=1e-5)
    alone = model.recommend(Queries.from_histories([(2,)]), 1, exclude_seen=False)
    assert alone.items.tolist() == [[2]]
    np.testing.assert_allclose(alone.scores, [[1]], rtol=1e-5)


def test_rare_items_get_no_vector():
    """The toy data's items have 3, 3, 4, 2, 3, 1 and 0 events."""
    model = Item2Vec(SMALL.model_copy(update={"min_count": 3})).fit(toy())
    assert model.servable.tolist() == [True, True, True, False, True, False, False]
    none = Item2Vec(SMALL.model_copy(update={"min_count": 5}))
    expect_error(DataError, lambda: none.fit(toy()), "min_count = 5", "lower min_count")


def test_a_gap_ends_sessions():
    """Ten seconds between any two events of a user."""
    expect_error(DataError, lambda: Item2Vec(SMALL.model_copy(update={"gap": 9})).fit(toy()), "no session", "gap = 9")
    Item2Vec(SMALL.model_copy(update={"gap": 9})).fit(replace(toy(), clock=False))
    Item2Vec(SMALL.model_copy(update={"gap": 10})).fit(toy())


def test_progress_is_reported():
    told = []
    Item2Vec(SMALL).fit(toy(), watch=Watch(report=lambda done, of, text: told.append((done, of))))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.slow  # imports torch in a process of its own
def test_another_process_learns_the_same_numbers():
    """Python's hash of a text differs from process to process: gensim must not use it."""
    script = """
from llmrec.classic.recall.item2vec import Item2Vec, Item2VecConfig
from llmrec.testing import toy
model = Item2Vec(Item2VecConfig(embedding_dim=8, epochs=3, subsample=0)).fit(toy())
print(model.item_vectors.tobytes().hex())
"""
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert found == Item2Vec(SMALL).fit(toy()).item_vectors.tobytes().hex() + "\n"


def test_a_model_of_another_catalogue_is_refused(tmp_path):
    folder = Item2Vec(SMALL).fit(toy()).save(tmp_path / "model")
    with np.load(folder / "weights.npz") as stored:
        arrays = dict(stored)
    np.savez(folder / "weights.npz", **{**arrays, "servable": arrays["servable"][:-1]})
    expect_error(ModelError, lambda: Item2Vec.load(folder), "servable of shape (6,)", "fit and save")
