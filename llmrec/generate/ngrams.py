"""What texts have in common, by the n words in a row that they hold: exact, with sparse matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]
_BLOCK = 64
"""Texts that are compared with all others at once."""
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Grams:
    """All n-grams of some texts, in order.

    Attributes:
        owner: (m,) number of the text.
        code: (m,) equal for equal n-grams, from 0.
    """

    owner: Numbers
    code: Numbers

    def distinct(self) -> Grams:
        """Return each text's n-grams once."""
        width = int(self.code.max(initial=0)) + 1
        owner, code = np.divmod(np.unique(self.owner * width + self.code), width)
        return Grams(owner, code)


def count_words(texts: Sequence[str]) -> Numbers:
    """Return how many words each text has."""
    return _words(texts).list.len().to_numpy().astype(np.int64)


def ngrams(texts: Sequence[str], n: int, *, whole: bool = False) -> Grams:
    """Return the n-grams of words in lower case, signs left out.

    Args:
        texts: all texts that are to be compared.
        n: words of an n-gram.
        whole: take a text with fewer words, but not none, as one n-gram.
    """
    words = _words(texts)
    lengths = words.list.len().to_numpy().astype(np.int64)
    codes = words.explode(empty_as_null=False).rank("dense").to_numpy().astype(np.int64)
    if whole:  # what is short is filled up with 0, which is no word
        longer = np.where(lengths > 0, np.maximum(lengths, n), 0)
        filled = np.zeros(int(longer.sum()), np.int64)
        filled[_places(_starts(longer), lengths)] = codes
        codes, lengths = filled, longer
    counts = np.maximum(lengths - n + 1, 0)
    begin, found = _places(_starts(lengths), counts), np.zeros(int(counts.sum()), np.int64)
    width = int(codes.max(initial=0)) + 1
    for step in range(n):
        found = np.unique(found * width + codes[begin + step], return_inverse=True)[1].reshape(-1)
    return Grams(np.repeat(np.arange(len(lengths)), counts), found)


def shared(texts: Sequence[str], sources: Sequence[str], source_of: Numbers | None, *, n: int) -> NDArray[np.float64]:
    """Return which share of each text's distinct n-grams its source holds, (t,); NaN for less than n words.

    Args:
        texts: t texts.
        sources: what they may be copied from.
        source_of: (t,) number of each text's source; None for any of them.
        n: words of an n-gram.
    """
    grams = ngrams([*texts, *sources], n).distinct()
    written = grams.owner < len(texts)
    owner, code = grams.owner[written], grams.code[written]
    source, there = grams.owner[~written] - len(texts), grams.code[~written]
    if source_of is None:
        copied = np.isin(code, there)
    else:
        width = int(grams.code.max(initial=0)) + 1
        copied = np.isin(source_of[owner] * width + code, source * width + there)
    all_of_it = np.bincount(owner, minlength=len(texts))
    held = np.bincount(owner, weights=copied, minlength=len(texts))
    return np.where(all_of_it > 0, held / np.maximum(all_of_it, 1), np.nan)


def near_duplicates(texts: Sequence[str], contexts: Numbers, *, n: int, threshold: float) -> Mask:
    """Return which texts are nearly the same as one of another context, (t,): n-gram sets with a Jaccard index so high.

    All pairs, exactly: two sets can be so alike only if they share one of their rarest n-grams (Bayardo, Ma, Srikant,
    Scaling Up All Pairs Similarity Search, WWW 2007), so that what most texts say compares no pair. Jaccard on 5-grams,
    0.8 or more: Lee et al., Deduplicating Training Data Makes Language Models Better, ACL 2022.

    Args:
        texts: t texts; those without a word are like none.
        contexts: (t,) number of each text's context.
        n: words of an n-gram; a text with fewer is one n-gram.
        threshold: Jaccard index from which on two are nearly the same, in (0, 1].
    """
    grams = ngrams(texts, n, whole=True).distinct()
    group, first = _equal_sets(grams, len(texts))
    if not len(first):
        return np.zeros(len(texts), np.bool_)
    lowest = np.full(len(first), np.iinfo(np.int64).max)
    highest = np.full(len(first), -1)
    np.minimum.at(lowest, group[group >= 0], contexts[group >= 0])
    np.maximum.at(highest, group[group >= 0], contexts[group >= 0])
    several = lowest != highest
    sets = _matrix(grams, first, len(texts))
    alike = _alike(sets, _rarest(sets, threshold), lowest, several, threshold)
    return (group >= 0) & alike[group]


def _alike(sets: Any, rarest: Any, context: Numbers, several: Mask, threshold: float) -> Mask:  # noqa: ANN401 - scipy is untyped
    """Return which of some distinct sets have one nearly the same in another context.

    Args:
        sets: (g, n-grams), 1 where a set holds one.
        rarest: the same with the rarest of each set alone.
        context: (g,) each set's context, the lowest of ``several``.
        several: (g,) whether it stands in several, and so is alike anyhow.
        threshold: of the Jaccard index.
    """
    alike, sizes = several.copy(), np.diff(sets.indptr)
    for begin in range(0, len(alike), _BLOCK):
        rows = begin + np.flatnonzero(~alike[begin : begin + _BLOCK])
        if not len(rows):
            continue  # where all say the same, the first block has found it
        others = np.unique((rarest[rows] @ rarest.T).indices)
        both = (sets[rows] @ sets[others].T).tocoo()
        row, other = rows[both.row], others[both.col]
        near = both.data >= threshold * (sizes[row] + sizes[other] - both.data) - _ROUNDING
        apart = near & (context[row] != context[other])
        alike[row[apart | (near & several[other])]] = True
        alike[other[apart]] = True
    return alike


def _equal_sets(grams: Grams, n_texts: int) -> tuple[Numbers, Numbers]:
    """Return the number of each text's set, -1 for an empty one, and the first text of each set."""
    ends = np.searchsorted(grams.owner, np.arange(n_texts + 1))
    known: dict[bytes, int] = {}
    first: list[int] = []
    group = np.full(n_texts, -1, np.int64)
    for text in np.flatnonzero(np.diff(ends)).tolist():
        key = grams.code[ends[text] : ends[text + 1]].tobytes()
        if key not in known:
            known[key] = len(first)
            first.append(text)
        group[text] = known[key]
    return group, np.array(first, np.int64)


def _matrix(grams: Grams, rows: Numbers, n_texts: int) -> Any:  # noqa: ANN401
    """Return the sets of some texts as a sparse matrix (rows, n-grams), the rarest n-grams in the first columns."""
    place = np.full(n_texts, -1)
    place[rows] = np.arange(len(rows))
    kept = place[grams.owner] >= 0
    owner, code = place[grams.owner[kept]], grams.code[kept]
    rank = np.empty(int(code.max(initial=-1)) + 1, np.int64)
    rank[np.argsort(np.bincount(code), kind="stable")] = np.arange(len(rank))
    made = sparse.csr_matrix((np.ones(len(code), np.int32), (owner, rank[code])), shape=(len(rows), len(rank)))
    made.sort_indices()
    return made


def _rarest(sets: Any, threshold: float) -> Any:  # noqa: ANN401
    """Return so many of each set's rarest n-grams that sets as alike as ``threshold`` share one of them."""
    sizes = np.diff(sets.indptr)
    counts = sizes - np.ceil(threshold * sizes - _ROUNDING).astype(np.int64) + 1
    kept = _places(sets.indptr[:-1].astype(np.int64), np.minimum(counts, sizes))
    bounds = np.concatenate([[0], np.cumsum(np.minimum(counts, sizes))])
    return sparse.csr_matrix((sets.data[kept], sets.indices[kept], bounds), shape=sets.shape)


def _words(texts: Sequence[str]) -> pl.Series:
    return pl.Series("text", texts, pl.String).str.to_lowercase().str.extract_all(r"\w+")


def _starts(lengths: Numbers) -> Numbers:
    starts: Numbers = np.cumsum(lengths) - lengths
    return starts


def _places(starts: Numbers, lengths: Numbers) -> Numbers:
    """Return ``starts[i]``, ``starts[i] + 1``, … for ``lengths[i]`` steps, one run after the other."""
    places: Numbers = np.repeat(starts - _starts(lengths), lengths) + np.arange(int(lengths.sum()))
    return places
