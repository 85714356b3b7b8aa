"""Reading what a model wrote. A parser sees the text and the candidates, never which one is relevant."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz, process

_MARKER = re.compile(r"""^[\s*_"'`{(\[#]*(?:[-*•·\u2013]\s+|\d{1,3}["'*_]*[.)\]:]["'*_]*\s*(?!\d))""")
_SEPARATOR = re.compile(r"[,;>|/]|\s[-\u2013\u2014]\s|:\s|\s(?=\(?\d{1,3}[.)]\s)")
_REMARK = re.compile(r"\s[-\u2013\u2014]\s|:\s|\s\(")
_QUOTED = re.compile(r'"([^"]+)"|\u201c([^\u201d]+)\u201d|\*\*(.+?)\*\*|`([^`]+)`')
_IN_BRACKETS = re.compile(r"\s*\([^()]*\)\s*$")
_HEADING = re.compile(r"^[\W_]*(?:final\s+)?(?:ranking|answer)[\W_]*:[*_ ]*", re.IGNORECASE | re.MULTILINE)
_FIRST = re.compile(r"^[\s*_(\[]*1[.)\]:]", re.MULTILINE)
_REFUSAL = re.compile(
    r"\b(?:I(?:['\u2019]?m| am) sorry|I apologi[sz]e|as an AI|unable to"
    r"|I (?:can(?:not|[' \u2019]*t)|won['\u2019]?t|am not able))\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+")
_FUZZY_CUTOFF = 90.0
_SHORT = 6
"""A title of one word shorter than this must stand alone in its line or list, or before a remark: "It" and "Go" occur
in any sentence."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A ranking as read.

    Attributes:
        order: places of the candidates named, best first; each at most once.
        duplicates: how often one was named that had been named before.
        invented: lines that named no candidate.
        refused: whether nothing was named and the text says that it will not answer.
    """

    order: tuple[int, ...]
    duplicates: int = 0
    invented: int = 0
    refused: bool = False


def parse_ranking(text: str, candidates: Sequence[str]) -> Reading:
    """Read a ranked list of titles, one a line or separated by commas, numbered or not.

    A line is matched whole, then without its list marker, then piece by piece, then by what is quoted or bold in it,
    then by the longest titles that it contains (titles contain one another: "Alien" must not take the line of "Alien
    Resurrection"), then by spelling. A year or remark in brackets behind a title may be left out where no other
    candidate is called so. Among candidates of one title the first unused one is taken.
    """
    finder = _Finder(candidates)
    invented = sum(not finder.read(line) for line in text.splitlines() if _WORD.search(line))
    refused = not finder.order and bool(_REFUSAL.search(text))
    return Reading(tuple(finder.order), finder.duplicates, invented, refused)


def parse_reasoned_ranking(text: str, candidates: Sequence[str]) -> Reading:
    """Read the ranked list that ends a chain of thought: what stands behind the last heading "Ranking:" or "Answer:".

    Without a heading it is what begins with the last line numbered 1; titles in the reasoning are not read.
    """
    starts = [match.end() for match in _HEADING.finditer(text)] or [match.start() for match in _FIRST.finditer(text)]
    if starts:
        return parse_ranking(text[starts[-1] :], candidates)
    return Reading((), refused=bool(_REFUSAL.search(text)))


PARSERS: dict[str, Callable[[str, Sequence[str]], Reading]] = {
    "ranking": parse_ranking,
    "reasoned-ranking": parse_reasoned_ranking,
}


class _Finder:
    def __init__(self, candidates: Sequence[str]) -> None:
        self.order: list[int] = []
        self.duplicates = 0
        self.places: dict[tuple[str, ...], list[int]] = {}
        for place, title in enumerate(candidates):
            if words := _words(title):
                self.places.setdefault(words, []).append(place)
        self.by_length = sorted(self.places, key=len, reverse=True)
        short = [_words(_IN_BRACKETS.sub("", title)) for title in candidates]
        self.places |= {
            words: [place]
            for place, words in enumerate(short)
            if words and words not in self.places and short.count(words) == 1
        }

    def read(self, line: str) -> bool:
        """Take the candidates that a line names; return whether it named any, used before or not."""
        unmarked = _MARKER.sub("", line)
        return (
            self._whole(line)
            or self._whole(unmarked)
            or self._pieces(unmarked)
            or self._quoted(unmarked)
            or self._contained(unmarked)
            or self._alike(unmarked)
        )

    def _whole(self, text: str) -> bool:
        words = _words(text)
        if words not in self.places:
            return False
        self._take(words)
        return True

    def _pieces(self, line: str) -> bool:
        pieces = [_MARKER.sub("", piece) for piece in _SEPARATOR.split(line)]
        # Bare numbers are ranks: {"1": "Heat", "2": "Alien"}.
        found = [words for words in map(_words, pieces) if words and (words in self.places or not _is_rank(words))]
        # All pieces or none: "Batman, Heat and more" is left to the search for contained titles.
        if not found or any(words not in self.places for words in found):
            return False
        for words in found:
            self._take(words)
        return True

    def _quoted(self, line: str) -> bool:
        quotes = [_words(_MARKER.sub("", "".join(groups))) for groups in _QUOTED.findall(line)]
        found = [words for words in quotes if words in self.places]
        for words in found:
            self._take(words)
        return bool(found)

    def _contained(self, line: str) -> bool:
        words = _words(line)
        head = _words(_REMARK.split(line)[0])
        free = [True] * len(words)
        hits: list[tuple[int, tuple[str, ...]]] = []
        for title in self.by_length:
            alone = len(title) == 1 and len(title[0]) < _SHORT
            # A short one counts only where it begins the line and a remark follows: "Heat: a great film".
            starts = range(title == head) if alone else range(len(words) - len(title) + 1)
            for start in starts:
                span = slice(start, start + len(title))
                if words[span] == title and all(free[span]):
                    free[span] = [False] * len(title)
                    hits.append((start, title))
        for _, title in sorted(hits):
            self._take(title)
        return bool(hits)

    def _alike(self, line: str) -> bool:
        titles = [" ".join(words) for words in self.by_length]
        best = process.extractOne(" ".join(_words(line)), titles, scorer=fuzz.ratio, score_cutoff=_FUZZY_CUTOFF)
        if best is None:
            return False
        self._take(tuple(best[0].split(" ")))
        return True

    def _take(self, words: tuple[str, ...]) -> None:
        for place in self.places[words]:
            if place not in self.order:
                self.order.append(place)
                return
        self.duplicates += 1


def _is_rank(words: tuple[str, ...]) -> bool:
    return len(words) == 1 and words[0].isdigit()


def _words(text: str) -> tuple[str, ...]:
    """Return the words of a text: accents, case and punctuation do not count."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return tuple(_WORD.findall(plain.casefold()))
