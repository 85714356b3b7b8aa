"""Rankings of titles: numbered, bulleted and plain lists, JSON, separated by commas, behind a chain of thought."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from llmrec.prompts.answers.grounding import MARKER, WORD, Entry, Grounding, Titles, Words, quotes, words_of
from llmrec.prompts.answers.identifiers import parse_identifiers
from llmrec.prompts.answers.json_lists import split_json
from llmrec.prompts.answers.reading import Reading, bounded, refuses, spoken

_SEPARATOR = re.compile(r"[,;>|/]|\s[-\u2013\u2014]\s|:\s|\s(?=\(?\d{1,3}[.)]\s)")
_HEADING = re.compile(
    r"^(?:[^\w\n]|_)*(?:final\s+)?(?:ranking|answer)(?:[^\w\n]|_)*:[*_ ]*", re.IGNORECASE | re.MULTILINE
)
_FIRST = re.compile(r"^[^\S\n]*[*_(\[]*1[.)\]:]", re.MULTILINE)
_JOINED = 8
"""A title has at most so many separators: "Lock, Stock and Two Smoking Barrels" has one."""


def parse_ranking(text: str, candidates: Sequence[str]) -> Reading:
    """Read a ranked list of titles: one a line or separated by commas, numbered or not, or JSON (see ``split_json``).

    Where at least two lines are numbered (or, if none is, bulleted), they are the list: any other line counts only if
    it is a title and nothing else, so that remarks before, between and behind do no harm. ``Grounding`` says how an
    entry becomes a candidate. Of an answer the first 32,768 characters are read.
    """
    titles = Titles(candidates)
    text = bounded(spoken(text))
    written, rest = split_json(text)
    if written:
        found = Grounding([Entry(title, listed=True) for title in written], titles)
        outside = sum(titles.known(line) for line in rest.splitlines())
        if len(found.used) > outside:
            return _reading(found)
    found = Grounding(_entries(text, titles), titles)
    reading = _reading(found)
    return reading if reading.order else Reading((), reading.duplicates, reading.invented, refuses(text))


def parse_reasoned_ranking(text: str, candidates: Sequence[str]) -> Reading:
    """Read the ranked list that ends a chain of thought: what stands behind the last heading "Ranking:" or "Answer:".

    Without a heading it is what begins with the last line numbered 1; titles in the reasoning are not read.
    """
    text = spoken(text)
    starts = [match.end() for match in _HEADING.finditer(text)] or [match.start() for match in _FIRST.finditer(text)]
    if starts:
        return parse_ranking(text[starts[-1] :], candidates)
    return Reading((), refused=refuses(text))


PARSERS: dict[str, Callable[[str, Sequence[str]], Reading]] = {
    "ranking": parse_ranking,
    "reasoned-ranking": parse_reasoned_ranking,
    "identifiers": parse_identifiers,
}


def _reading(found: Grounding) -> Reading:
    """Return what was found; invented is what names nothing from the first to the last entry of the list."""
    numbers = range(len(found.entries))
    edges = [number for number in numbers if found.entries[number].listed or found.named(number)]
    within = range(edges[0], edges[-1] + 1) if edges else range(0)
    return Reading(
        tuple(place for places in found.found for place in places),
        sum(found.duplicates),
        sum(not found.named(number) for number in within),
    )


def _entries(text: str, titles: Titles) -> list[Entry]:
    lines = [line for line in text.splitlines() if WORD.search(line)]
    kinds = [_kind(line) for line in lines]
    for kind in ("number", "bullet"):
        marked = [line for line, each in zip(lines, kinds, strict=True) if each == kind]
        if len(marked) > 1 and any(_names(line, titles) for line in marked):
            lines = [line for line, each in zip(lines, kinds, strict=True) if each == kind or _whole(line, titles)]
            break
    return [entry for line in lines for entry in _split(line, titles)]


def _kind(line: str) -> str:
    """Return how a line is marked: ``number``, ``bullet`` or not at all."""
    marker = MARKER.match(line)
    return "" if marker is None else "number" if WORD.search(marker[0]) else "bullet"


def _whole(line: str, titles: Titles) -> bool:
    return titles.known(line) or titles.known(MARKER.sub("", line))


def _names(line: str, titles: Titles) -> bool:
    return _whole(line, titles) or any(map(titles.known, Entry(line, listed=True).parts))


def _split(line: str, titles: Titles) -> list[Entry]:
    """Return the entries of a line: itself, or what is separated or quoted in it, where that is known."""
    if not _whole(line, titles):
        unmarked = MARKER.sub("", line)
        pieces = _pieces(unmarked, titles)
        known = sum(map(titles.known, pieces))
        # All, or most of several: "Batman, Heat and more" and "Heat - a film" are left to the search inside a line.
        if known and (known == len(pieces) or known >= max(2, len(pieces) / 2)):
            return [Entry(piece, listed=True) for piece in pieces]
        if len(quoted := [text for text in quotes(unmarked) if titles.known(text)]) > 1:
            return [Entry(text, listed=True) for text in quoted]
    return [Entry(line, listed=bool(_kind(line)))]


def _pieces(line: str, titles: Titles) -> list[str]:
    """Return what is separated in a line, joined again where only that is a title; bare numbers are ranks."""
    found = [piece for piece in (MARKER.sub("", piece) for piece in _SEPARATOR.split(line)) if WORD.search(piece)]
    pieces, start = [], 0
    while start < len(found):
        ends = range(min(len(found), start + _JOINED), start, -1)
        end = next((end for end in ends if titles.known(" ".join(found[start:end]))), start + 1)
        piece, start = " ".join(found[start:end]), end
        if titles.known(piece) or not _is_rank(words_of(piece)):
            pieces.append(piece)
    return pieces


def _is_rank(words: Words) -> bool:
    return len(words) == 1 and words[0].isdigit()
