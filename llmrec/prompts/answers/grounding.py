"""From entries of a list, as written, to candidates: each entry one candidate, each candidate one entry."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process
from scipy.optimize import linear_sum_assignment

MARKER = re.compile(r"""^[\s*_"'`{(\[#]*(?:[-*•·\u2013]\s+|\d{1,3}["'*_]*[.)\]:]["'*_]*\s*(?!\d))""")
QUOTED = re.compile(r'"([^"]{1,300})"|\u201c([^\u201d]{1,300})\u201d|\*\*(.{1,300}?)\*\*|`([^`]{1,300})`')
WORD = re.compile(r"[^\W_]+")
_REMARK = re.compile(r"\s[-\u2013\u2014]\s|:\s|\s\(")
_IN_BRACKETS = re.compile(r"\s*\([^()]*\)\s*$")
_DRESS = " \t\"'`*_,;\u201c\u201d"
_NUMBER = re.compile(r"\d+|[ivx]+")
_CUTOFF = 90.0
_SHORT = 6
"""A title of one word shorter than this must stand alone in its entry, or before a remark: "It" and "Go" occur in any
sentence."""

Key = TypeVar("Key", bound=Hashable)
Words = tuple[str, ...]
Places = Sequence[int]


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands where a title should.

    Attributes:
        text: as written, with its list marker.
        listed: whether it is marked, quoted or separated as an entry, and is no line like any other.
    """

    text: str
    listed: bool

    @property
    def unmarked(self) -> str:
        """The text without its list marker."""
        return MARKER.sub("", self.text)

    @property
    def wholes(self) -> tuple[str, str]:
        """What may be the title as it is, the marker first as part of it: "12. 12 Monkeys" has two numbers."""
        return self.text, self.unmarked

    @property
    def parts(self) -> list[str]:
        """What may be the title in it: all before a remark, and what is quoted or bold."""
        unmarked = self.unmarked
        return [_REMARK.split(unmarked)[0], *quotes(unmarked)]


class Titles:
    """The candidates' titles, found by what is written of them.

    Args:
        candidates: the titles.
    """

    def __init__(self, candidates: Sequence[str]) -> None:
        self.words = [words_of(title) for title in candidates]
        self.exact = _places(title.strip() for title in candidates)
        self.same = _places(self.words)
        # A year or remark in brackets may be left out where no other candidate is called so.
        cut = _places(words_of(_IN_BRACKETS.sub("", title)) for title in candidates)
        self.short = {words: places for words, places in cut.items() if len(places) == 1 and words not in self.same}
        for empty in (self.same, self.short):
            empty.pop((), None)
        self.lengths = sorted({len(words) for words in self.same}, reverse=True)

    def known(self, text: str) -> bool:
        """Return whether a text is a title, up to case, accents and punctuation."""
        words = words_of(text)
        return words in self.same or words in self.short

    def inside(self, text: str) -> list[Words]:
        """Return the titles in a text, the longest first where they overlap, in the text's order."""
        words = words_of(text)
        head = words_of(_REMARK.split(text)[0])
        free = [True] * len(words)
        hits: list[tuple[int, Words]] = []
        for length in self.lengths:
            for start in range(len(words) - length + 1):
                span = slice(start, start + length)
                title = words[span]
                short = length == 1 and len(title[0]) < _SHORT and (start or title != head)
                if title in self.same and all(free[span]) and not short:
                    free[span] = [False] * length
                    hits.append((start, title))
        return [title for _, title in sorted(hits)]


class Grounding:
    """Gives the entries of one answer to candidates, the surest first.

    An exact title takes its candidate wherever it stands; then what is equal up to case, accents and punctuation, or
    without a bracket behind it; then what stands before a remark or in quotes. What is left is assigned to the free
    candidates by spelling so that the sum of the similarities is largest (titles of other numbers are never alike:
    "Rocky II" is not "Rocky III"). Last, titles are looked for inside what is left, the longest first.

    Args:
        entries: in the order of the answer.
        titles: the candidates.

    Attributes:
        found: the places that each entry names, none or one, several where titles stand inside it.
        used: the places that some entry names.
        duplicates: how often an entry named one that another had, for each entry.
    """

    def __init__(self, entries: Sequence[Entry], titles: Titles) -> None:
        self.entries, self.titles = entries, titles
        self.found: list[list[int]] = [[] for _ in entries]
        self.duplicates = [0] * len(entries)
        self.used: set[int] = set()
        written = {number: _as_written(entry) for number, entry in enumerate(entries)}
        self._claim(titles.exact, written, repeats=False)  # another of the same words may be free
        wholes = {number: [words_of(text) for text in entry.wholes] for number, entry in enumerate(entries)}
        self._claim(titles.same, wholes)
        self._claim(titles.short, wholes)
        parts = {number: [words_of(text) for text in entries[number].parts] for number in self._open()}
        self._claim(titles.same, parts)
        self._claim(titles.short, parts)
        self._assign({number: {wholes[number][1], *parts[number]} for number in self._open()})
        for number in self._open():
            for words in titles.inside(entries[number].unmarked):
                self._take(number, titles.same[words])

    def named(self, number: int) -> bool:
        """Return whether an entry names a candidate, taken before or not."""
        return bool(self.found[number] or self.duplicates[number])

    def _open(self) -> list[int]:
        return [number for number in range(len(self.entries)) if not self.named(number)]

    def _claim(self, places: Mapping[Key, Places], keys: Mapping[int, Iterable[Key]], *, repeats: bool = True) -> None:
        """Give each open entry the first candidate that stands under one of its keys."""
        for number in self._open():
            for key in keys[number]:
                if key in places and (repeats or not self.used.issuperset(places[key])):
                    self._take(number, places[key])
                    break

    def _take(self, number: int, places: Places) -> None:
        for place in places:
            if place not in self.used:
                self.used.add(place)
                self.found[number].append(place)
                return
        self.duplicates[number] += 1

    def _assign(self, texts: Mapping[int, Iterable[Words]]) -> None:
        """Give open entries candidates of like spelling, one each, so that the sum of similarities is largest."""
        open_ = list(texts)
        alike = self._similarities(list(texts.values()))
        rows = np.flatnonzero(alike.any(axis=1))
        free = np.array([place not in self.used for place in range(alike.shape[1])], np.bool_)
        weights = alike[rows] * free
        for row, place in zip(*linear_sum_assignment(weights, maximize=True), strict=True):
            if weights[row, place] > 0:
                self._take(open_[rows[row]], [int(place)])
        for row in rows:
            if not self.named(open_[row]):  # the one that it is most like went to another entry
                self._take(open_[row], [int(alike[row].argmax())])

    def _similarities(self, entries: Sequence[Iterable[Words]]) -> NDArray[np.float32]:
        """Return (n, candidates) similarities of spelling, 0 below the cut-off and between titles of other numbers."""
        alike = np.zeros((len(entries), len(self.titles.words)), np.float32)
        longest = 1.25 * max((sum(map(len, words)) + len(words) for words in self.titles.words), default=0)
        texts = [
            (row, words)
            for row, entry in enumerate(entries)
            for words in entry
            if words and sum(map(len, words)) <= longest
        ]
        if texts:
            choices = [" ".join(words) for words in self.titles.words]
            scores = process.cdist(
                [" ".join(words) for _, words in texts], choices, scorer=fuzz.ratio, score_cutoff=_CUTOFF
            )
            for text, place in np.argwhere(scores):
                row, words = texts[text]
                if _numbers(words) == _numbers(self.titles.words[place]):
                    alike[row, place] = max(alike[row, place], scores[text, place])
        return alike


def _as_written(entry: Entry) -> list[str]:
    texts = (entry.text, entry.unmarked)
    return [text.strip(dress) for text in texts for dress in (None, _DRESS)]


def words_of(text: str) -> Words:
    """Return the words of a text: accents, case and punctuation do not count."""
    if not text.isascii():
        text = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return tuple(WORD.findall(text.casefold()))


def quotes(text: str) -> list[str]:
    """Return what is quoted or bold in a text, without list markers."""
    return [MARKER.sub("", "".join(groups)) for groups in QUOTED.findall(text)]


def _numbers(words: Words) -> list[str]:
    return sorted(word for word in words if _NUMBER.fullmatch(word))


def _places(keys: Iterable[Key]) -> dict[Key, list[int]]:
    found: dict[Key, list[int]] = {}
    for place, key in enumerate(keys):
        found.setdefault(key, []).append(place)
    return found
