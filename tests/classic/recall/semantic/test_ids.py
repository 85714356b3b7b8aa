"""Semantic ids and their trie: collisions by hand, and a search whose every beam is an item."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.classic.recall.semantic.beam_search import TrieBeams
from llmrec.classic.recall.semantic.ids import SemanticIds, Trie, given_codes
from llmrec.classic.recall.semantic.seq2seq import Seq2Seq, Seq2SeqConfig, Writer
from llmrec.errors import DataError
from llmrec.testing import expect_error, toy


def test_collisions_by_hand():
    """Items 0, 2 and 5 share (1, 2), items 1 and 4 share (0, 0), item 3 has no id: three collide."""
    codes = np.array([[1, 2], [0, 0], [1, 2], [-1, -1], [0, 0], [1, 2], [2, 1]])
    ids = SemanticIds.of(codes, np.array([3, 3]))
    assert ids.collisions == 3
    assert ids.tokens.tolist() == [[1, 2, 0], [0, 0, 0], [1, 2, 1], [-1, -1, -1], [0, 0, 1], [1, 2, 2], [2, 1, 0]]
    assert ids.sizes.tolist() == [3, 3, 3]
    assert ids.known.tolist() == [True, True, True, False, True, True, True]


def test_without_a_collision_there_is_no_further_token():
    codes = np.array([[0, 1], [-1, -1], [1, 0], [-1, -1]])
    ids = SemanticIds.of(codes, np.array([4, 4]))
    assert ids.collisions == 0
    assert ids.tokens.tolist() == codes.tolist()
    assert ids.sizes.tolist() == [4, 4]


@pytest.mark.parametrize(
    ("tokens", "sizes"),
    [
        ([[0], [2]], [2]),
        ([[0], [-2]], [2]),
        ([[0], [0]], [2]),
        ([[0, -1]], [2, 2]),
        ([[-1, 0]], [2, 2]),
        ([[0]], [2, 2]),
    ],
)
def test_ids_that_are_none_are_refused(tokens, sizes):
    with pytest.raises(ValueError, match="token"):
        SemanticIds(np.array(tokens), np.array(sizes), 0)


catalogues = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(st.integers(0, 3), min_size=width, max_size=width), min_size=1, max_size=30).map(
        np.array
    )
)


@settings(deadline=None)
@given(catalogues)
def test_every_item_gets_an_id_of_its_own_that_begins_with_its_codes(codes):
    ids = SemanticIds.of(codes, np.full(codes.shape[1], 4))
    assert len(np.unique(ids.tokens, axis=0)) == len(codes)
    np.testing.assert_array_equal(ids.tokens[:, : codes.shape[1]], codes)
    assert ids.collisions == len(codes) - len(np.unique(codes, axis=0))
    assert (ids.tokens < ids.sizes).all()


@settings(deadline=None)
@given(catalogues)
def test_the_trie_is_the_set_of_prefixes(codes):
    tokens = np.unique(codes, axis=0)
    trie = Trie.of(tokens)
    prefixes = [()]
    for place, level in enumerate(trie.levels):
        found = [
            (*prefix, int(level.tokens[child]))
            for parent, prefix in enumerate(prefixes)
            for child in range(level.starts[parent], level.starts[parent + 1])
        ]
        assert found == sorted({tuple(row[: place + 1]) for row in tokens.tolist()})
        assert level.fan == max(np.diff(level.starts))
        prefixes = found
    assert [tuple(tokens[item]) for item in trie.items] == prefixes


@settings(max_examples=60, deadline=None)
@given(catalogues, st.integers(1, 40), st.integers(0, 2**16))
def test_every_beam_is_an_item_whatever_the_model_says(codes, beams, seed):
    """Random tables of log-probabilities, some very small: never an illegal beam, never one twice, best first."""
    ids = SemanticIds.of(codes, np.full(codes.shape[1], 4))
    generator = torch.Generator().manual_seed(seed)
    tables = [torch.log_softmax(20 * torch.randn(3, size, generator=generator), 1) for size in ids.sizes.tolist()]
    place = iter(range(len(tables)))

    def step(tokens, _parents):
        return tables[next(place)].unsqueeze(1).expand(-1, tokens.shape[1], -1)

    items, scores = TrieBeams(Trie.of(ids.tokens)).search(step, 3, beams)
    assert items.shape == (3, min(beams, len(codes)))
    by_hand = sum(table[:, ids.tokens[:, place]] for place, table in enumerate(tables))
    for query in range(3):
        found = items[query].tolist()
        assert len(set(found)) == len(found)
        np.testing.assert_allclose(scores[query], by_hand[query, found], rtol=1e-4, atol=1e-4)
        assert (np.diff(scores[query]) <= 0).all()
    if beams >= len(codes):
        np.testing.assert_allclose(scores, by_hand.sort(dim=1, descending=True)[0], rtol=1e-4, atol=1e-4)


def test_beams_follow_their_own_prefix():
    """After token 0 only 1 is likely, after token 1 only 0: a search that mixed its beams up would swap the items."""
    tokens = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    first, second = torch.tensor([0.4, 0.6]).log(), torch.tensor([[0.1, 0.9], [0.7, 0.3]]).log()
    asked = []

    def step(newest, parents):
        asked.append((newest.tolist(), parents.tolist()))
        return first.expand(1, 1, 2) if len(asked) == 1 else second[newest]

    items, scores = TrieBeams(Trie.of(tokens)).search(step, 1, 2)
    assert asked == [([[-1]], [[0]]), ([[1, 0]], [[0, 0]])]
    assert items.tolist() == [[2, 1]]
    np.testing.assert_allclose(scores.exp(), [[0.42, 0.36]], rtol=1e-5)


def test_what_beams_remember_is_their_own():
    """Writing token by token with shuffled beams gives what teacher forcing gives for each item."""
    codes = np.array([[0, 1, 2], [0, 1, 0], [2, 0, 0], [2, 2, 1], [1, 1, 1], [1, 0, 2]])
    ids = SemanticIds.of(codes, np.full(3, 3))
    torch.manual_seed(0)
    module = Seq2Seq(Seq2SeqConfig(embedding_dim=16, heads=2, blocks=2, history=4), ids).eval()
    history = torch.tensor([[-1, 3, 1], [0, 2, 5]])
    with torch.inference_mode():
        for beams in (3, 6):
            items, scores = TrieBeams(Trie.of(ids.tokens)).search(Writer(module, history), 2, beams)
            for row in range(2):
                each = module.logprobs(history[row].expand(beams, -1), items[row])
                torch.testing.assert_close(scores[row], each, rtol=1e-4, atol=1e-5)


def with_codes(values) -> pl.Series:
    data = replace(toy(), item_table=pl.DataFrame({"codes": values}, strict=False))
    return given_codes(data, "codes")


def test_given_codes_are_numbered_from_0_in_each_level():
    codes, sizes = with_codes(
        [["<a_9>", "<b_1>"], ["<a_10>", "<b_1>"], [], ["<a_9>", "<b_7>"], None, ["z", "z"], ["z", "<b_1>"]]
    )
    assert codes.tolist() == [[1, 0], [0, 0], [-1, -1], [1, 1], [-1, -1], [2, 2], [2, 0]]
    assert sizes.tolist() == [3, 3]


def test_given_codes_of_different_lengths_or_none_are_errors():
    expect_error(
        DataError, lambda: with_codes([["a"], ["a", "b"], *[["c"]] * 5]), "1 and 2 codes an item", "same number"
    )
    expect_error(DataError, lambda: with_codes([[]] * 7), "no codes an item")
    expect_error(DataError, lambda: given_codes(toy(), "codes"), "codes", "title")


@pytest.mark.data
def test_the_published_ids_of_amazon_industrial_collide(data_folder):
    """Its info file says that some items share an id; counted there by Polars."""
    path = data_folder / "amazon-industrial" / "info" / "Industrial_and_Scientific_5_2016-10-2018-11.txt"
    lines = pl.read_csv(path, separator="\t", has_header=False, quote_char=None, new_columns=["sid", "title", "item"])
    tokens = lines["sid"].str.extract_all(r"<[a-z]_\d+>")
    base = toy()
    data = replace(base, items=type(base.items)(lines["item"]), item_table=pl.DataFrame({"codes": tokens}))
    ids = SemanticIds.of(*given_codes(data, "codes"))
    assert ids.collisions == len(lines) - lines["sid"].n_unique() > 0
    assert ids.sizes[-1] == lines["sid"].value_counts()["count"].max()
