"""The index: exact where it claims to be, near where it does not, and folders that were tampered with."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.classic.recall import faiss_index
from llmrec.classic.recall.faiss_index import IndexConfig
from llmrec.classic.recall.index import VectorIndex, _first
from llmrec.data import Candidates
from llmrec.errors import DataError, ModelError
from llmrec.testing import assert_same, expect_error

NAN = float("nan")
KINDS = ("flat", "ivf", "hnsw")
FLAT = IndexConfig(kind="flat")


def plain(vectors, queries, k, exclude=None, servable=None) -> Candidates:
    """Score everything."""
    there = ~np.isnan(queries).any(axis=2)
    products = np.nan_to_num(queries).astype(np.float64) @ vectors.T.astype(np.float64)
    scores = np.where(there[:, :, None], products, -np.inf).max(axis=1).astype(np.float32)
    if servable is not None:
        scores[:, ~servable] = -np.inf
    if exclude is not None:
        rows, places = np.nonzero(exclude >= 0)
        scores[rows, exclude[rows, places]] = -np.inf
    return Candidates.best(scores, k)


def random_vectors(n: int, q: int, m: int = 1, d: int = 8, seed: int = 0):
    rng = np.random.default_rng(seed)
    lengths = np.abs(rng.normal(size=(n, 1)))
    return (rng.normal(size=(n, d)) * lengths).astype(np.float32), rng.normal(size=(q, m, d)).astype(np.float32)


def test_inner_products_by_hand():
    """Scores of (1, 2): 3, 2, 4, 4, 0, of which 2 and 3 tie; (0, -1) gives -1, -1, 0, -2, 0, and the larger counts."""
    vectors = np.array([[1, 1], [0, 1], [4, 0], [0, 2], [0, 0]])
    for kind in KINDS:
        index = VectorIndex.build(vectors, config=IndexConfig(kind=kind))
        found = index.search(np.array([[[1.0, 2.0]]]), 4)
        assert found.items.tolist() == [[2, 3, 0, 1]]
        assert found.scores.tolist() == [[4, 4, 3, 2]]
        both = index.search(np.array([[[-1.0, -2.0], [0, -1]], [[NAN, 1], [NAN, NAN]]]), 3)
        assert both.items.tolist() == [[2, 4, 0], [-1, -1, -1]]
        assert both.scores[0].tolist() == [0, 0, -1]
        seen = index.search(np.array([[[1.0, 2.0]]]), 4, exclude=np.array([[-1, 3, 0, 3]]))
        assert seen.items.tolist() == [[2, 1, 4, -1]]


def test_the_first_of_a_row_by_hand():
    """-0.0 ties with 0.0, and what is never wanted (-inf) is padding, whatever its item."""
    items, scores = np.array([[7, 3, 5, 9, 1]]), np.array([[0.0, -0.0, -2.5, 8, -np.inf]], np.float32)
    for k, best in ((2, [9, 3]), (5, [9, 3, 7, 5, -1])):
        found, their = _first(items, scores, k)
        assert found.tolist() == [best]
        np.testing.assert_array_equal(their, np.array([[8, 0, 0, -2.5, np.nan][:k]], np.float32))


@given(st.integers(1, 60), st.integers(1, 3), st.integers(0, 20), st.sampled_from(KINDS), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_every_kind_is_exact_where_it_looks_at_everything(n, m, seen, kind, seed):
    rng = np.random.default_rng(seed)
    vectors, queries = random_vectors(n, 5, m, seed=seed)
    queries[rng.random(queries.shape[:2]) < 0.3] = np.nan
    servable = rng.random(n) < 0.8
    exclude = rng.integers(-1, n, (5, seen), dtype=np.int32)
    index = VectorIndex.build(vectors, servable, IndexConfig(kind=kind, nprobe=1000), seed=seed)
    k = int(rng.integers(1, n + 1))
    assert_same(index.search(queries, k, exclude=exclude), plain(vectors, queries, k, exclude, servable))


@pytest.mark.parametrize(("kind", "reached"), [("ivf", 0.9), ("hnsw", 0.9)])
def test_most_of_what_is_there_is_found(kind, reached):
    vectors, queries = random_vectors(20_000, 50, 2, seed=3)
    exclude = np.random.default_rng(1).integers(0, 20_000, (50, 30), dtype=np.int32)
    config = IndexConfig(kind=kind, ef_construction=40)
    found = VectorIndex.build(vectors, config=config).search(queries, 20, exclude=exclude)
    truth = plain(vectors, queries, 20, exclude)
    shares = [
        len(set(one) & set(two)) / 20 for one, two in zip(found.items.tolist(), truth.items.tolist(), strict=True)
    ]
    assert reached < np.mean(shares)
    flat = VectorIndex.build(vectors, config=FLAT).search(queries, 20, exclude=exclude)
    assert_same(flat, truth)


@pytest.mark.parametrize("kind", KINDS)
def test_k_places_are_filled_though_the_best_are_excluded(kind):
    """One cell of many is looked into, and all of it may be excluded."""
    vectors, queries = random_vectors(2000, 20, seed=5)
    best = plain(vectors, queries, 150).items
    found = VectorIndex.build(vectors, config=IndexConfig(kind=kind, nprobe=1)).search(queries, 100, exclude=best)
    assert (found.items >= 0).all()
    for row, seen in zip(found.items, best, strict=True):
        assert not set(row.tolist()) & set(seen.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_a_query_alone_gets_what_it_gets_in_company(kind):
    vectors, queries = random_vectors(3000, 40, 2, seed=7)
    rng = np.random.default_rng(2)
    exclude = np.where(rng.random((40, 25)) < rng.random((40, 1)), rng.integers(0, 3000, (40, 25)), -1).astype(np.int32)
    index = VectorIndex.build(vectors, config=IndexConfig(kind=kind, nprobe=4, ef_search=20, ef_construction=20))
    batch = index.search(queries, 30, exclude=exclude)
    for row in range(0, 40, 3):
        one = slice(row, row + 1)
        assert_same(index.search(queries[one], 30, exclude=exclude[one]), batch.select(one))


def test_blocks_change_nothing(monkeypatch):
    vectors, queries = random_vectors(300, 9, 2)
    index = VectorIndex.build(vectors)
    whole = index.search(queries, 10)
    monkeypatch.setattr("llmrec.classic.recall.index.BLOCK", 1)
    assert_same(index.search(queries, 10), whole)
    assert index.matches(vectors, np.ones(300, np.bool_))


@pytest.mark.parametrize("kind", KINDS)
def test_a_catalogue_of_one_item_and_of_none_that_can_be_served(kind):
    vectors = np.array([[2.0, 1.0]])
    index = VectorIndex.build(vectors, config=IndexConfig(kind=kind))
    assert index.search(np.array([[[1.0, 1.0]]]), 1).scores.tolist() == [[3]]
    assert index.search(np.array([[[1.0, 1.0]]]), 1, exclude=np.array([[0]])).items.tolist() == [[-1]]
    none = VectorIndex.build(vectors, np.array([False]), IndexConfig(kind=kind))
    assert none.search(np.array([[[1.0, 1.0]]]), 1).items.tolist() == [[-1]]
    assert none.search(np.zeros((0, 1, 2)), 1).items.shape == (0, 1)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_the_same_seed_is_the_same_index(kind, tmp_path):
    vectors, _ = random_vectors(4000, 5, seed=9)
    config = IndexConfig(kind=kind, ef_construction=20)
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        VectorIndex.build(vectors, config=config, seed=seed).save(tmp_path / name)
    one, two, three = ((tmp_path / name / "index.faiss").read_bytes() for name in ("one", "two", "three"))
    assert one == two
    assert one != three


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_index_comes_back(kind, tmp_path):
    vectors, queries = random_vectors(500, 6, 2)
    servable = np.arange(500) % 3 > 0
    index = VectorIndex.build(vectors, servable, IndexConfig(kind=kind))
    back = VectorIndex.load(index.save(tmp_path / "index"))
    assert back.config == index.config
    assert_same(back.search(queries, 20), index.search(queries, 20))
    assert back.matches(vectors, servable)
    assert back.matches(vectors * np.float32(1.00001), servable)
    assert not back.matches(vectors * np.float32(1.1), servable)
    assert not back.matches(vectors[::-1], servable)
    assert not back.matches(vectors, ~servable)
    assert not back.matches(vectors[:-1], servable[:-1])


@pytest.mark.parametrize("name", ["index.faiss", "vectors.npz"])
def test_a_damaged_index_is_refused(name, tmp_path):
    vectors, _ = random_vectors(50, 1)
    folder = VectorIndex.build(vectors).save(tmp_path / "index")
    content = (folder / name).read_bytes()
    for damaged in (content[: len(content) // 2], content[:-1] + bytes([content[-1] ^ 1]), b""):
        (folder / name).write_bytes(damaged)
        expect_error(ModelError, lambda: VectorIndex.load(folder), "digest", "save the model again")
    (folder / name).unlink()
    expect_error(ModelError, lambda: VectorIndex.load(folder), "digest", "save the model again")


def test_an_index_of_another_kind_or_version_is_refused(tmp_path):
    vectors, _ = random_vectors(50, 1)
    folder = VectorIndex.build(vectors).save(tmp_path / "index")
    about = json.loads((folder / "config.json").read_text())
    for key, value in (("kind", "recommender"), ("schema_version", 99)):
        (folder / "config.json").write_text(json.dumps(about | {key: value}))
        expect_error(ModelError, lambda k=key: VectorIndex.load(folder), key, "save the model again")
    (folder / "config.json").write_text(json.dumps(about | {"parameters": {"kind": "tree"}}))
    expect_error(ModelError, lambda: VectorIndex.load(folder), "parameters.kind = 'tree'")
    (folder / "config.json").unlink()
    expect_error(ModelError, lambda: VectorIndex.load(folder), "config.json", "a saved index")


def test_what_faiss_cannot_read_is_refused(tmp_path):
    (tmp_path / "index.faiss").write_bytes(b"what is this? no index of any kind")
    expect_error(ModelError, lambda: faiss_index.read(tmp_path / "index.faiss", 3), "cannot be read", "faiss")
    vectors, _ = random_vectors(50, 1)
    folder = VectorIndex.build(vectors).save(tmp_path / "index")
    expect_error(ModelError, lambda: faiss_index.read(folder / "index.faiss", 3), "50 points for 3 items")


def test_cells_and_effort_grow_with_the_catalogue():
    config = IndexConfig()
    assert [config.cells(n) for n in (1, 390, 10_000, 1_000_000)] == [1, 10, 256, 4000]
    assert IndexConfig(nlist=50).cells(7) == 7
    vectors, _ = random_vectors(39 * 64, 1)
    assert VectorIndex.build(vectors).effort == 32 + 64 // 32
    assert VectorIndex.build(vectors, config=IndexConfig(kind="hnsw", ef_construction=9)).effort == 400
    assert VectorIndex.build(vectors, config=IndexConfig(nprobe=5)).effort == 5


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_a_tuned_index_finds_what_was_asked_for_and_looks_no_harder(kind):
    vectors, queries = random_vectors(5000, 200, 2, d=32, seed=11)
    queries[::3, 1] = np.nan
    vectors = vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) if kind == "hnsw" else 1)
    config = IndexConfig(kind=kind, ef_construction=10, links=4)
    truth = plain(vectors, queries[:, :1], 100).items

    def share(index: VectorIndex) -> float:
        found = index.search(queries[:, :1], 100).items
        return float(np.mean([len(set(one) & set(two)) / 100 for one, two in zip(found, truth, strict=True)]))

    low = VectorIndex.build(vectors, config=config.model_copy(update={"recall": 0.8})).tune(queries)
    high = VectorIndex.build(vectors, config=config.model_copy(update={"recall": 0.98})).tune(queries)
    assert low.effort < high.effort < faiss_index.largest_effort(high.index)
    assert share(high) > 0.97
    assert share(low) < share(high)
    every = VectorIndex.build(vectors[:300], config=IndexConfig(kind=kind, recall=1.0)).tune(queries)
    assert every.effort <= faiss_index.largest_effort(every.index)


def test_a_graph_that_misses_too_much_is_refused():
    """The longest vectors have the largest products with all others: hardly a link leads to a short one."""
    vectors, queries = random_vectors(3000, 50)
    vectors *= np.random.default_rng(1).lognormal(0, 2, (3000, 1)).astype(np.float32)
    index = VectorIndex.build(vectors, config=IndexConfig(kind="hnsw", links=2, ef_construction=2))
    expect_error(ModelError, lambda: index.tune(queries), "hnsw finds", "recall = 0.96", "kind=ivf")
    assert VectorIndex.build(vectors).tune(queries).effort < 76


def test_an_effort_that_is_given_stays(tmp_path):
    vectors, queries = random_vectors(500, 20)
    for config, effort in ((IndexConfig(nprobe=3), 3), (IndexConfig(kind="hnsw", ef_search=5), 5), (FLAT, 0)):
        assert VectorIndex.build(vectors, config=config).tune(queries).effort == effort
    blank = np.full((3, 1, 8), np.nan, np.float32)
    index = VectorIndex.build(vectors).tune(blank)
    assert index.effort == 32
    index.effort = 7
    assert VectorIndex.load(index.save(tmp_path / "index")).effort == 7


def test_vectors_of_one_length_need_no_more_dimensions():
    vectors, _ = random_vectors(500, 1, d=16)
    assert VectorIndex.build(vectors).index.d == 32
    assert VectorIndex.build(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).index.d == 16


def test_what_does_not_fit_is_refused():
    vectors, queries = random_vectors(10, 2)
    index = VectorIndex.build(vectors)
    expect_error(DataError, lambda: index.search(queries, 11), "k = 11", "1 to 10")
    expect_error(DataError, lambda: index.search(queries[:, 0], 1), "(2, 8)", "(q, m, 8)")
    expect_error(DataError, lambda: index.search(queries[:, :, 1:], 1), "(2, 1, 7)", "(q, m, 8)")
    expect_error(DataError, lambda: index.search(queries, 1, exclude=np.array([[1]])), "1 rows to exclude", "q rows")
    expect_error(
        DataError, lambda: index.search(queries, 1, exclude=np.array([[1], [10]])), "item number 10", "below 10"
    )
    expect_error(DataError, lambda: index.search(queries * np.inf, 1), "infinite query vector", "finite vectors")
    expect_error(DataError, lambda: VectorIndex.build(vectors[0]), "shape (8,)", "(n_items, d)")
    expect_error(DataError, lambda: VectorIndex.build(vectors, np.ones(9, np.bool_)), "(9,)", "(n_items,)")
    expect_error(DataError, lambda: VectorIndex.build(vectors[:0]), "shape (0, 8)", "neither empty")
    vectors[4, 2] = np.inf
    expect_error(DataError, lambda: VectorIndex.build(vectors), "item number 4", "finite")
    VectorIndex.build(vectors, np.arange(10) != 4)
