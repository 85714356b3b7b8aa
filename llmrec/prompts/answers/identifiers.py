"""Rankings of identifiers: the letters or numbers that candidates are called by."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmrec.prompts.answers.reading import Reading, bounded, refuses, spoken

_WORD = re.compile(r"[^\W_]+")
_MARKER = re.compile(r"^(?:[^\w\n]|_)*\d{1,3}[.):]\s+", re.MULTILINE)
_MARKED_NUMBER = re.compile(r"^(?:[^\w\n]|_)*\d{1,3}[.):][^\S\n]+(?:[^\w\n]|_)*(\d+)(?:[^\w\n]|_)*$", re.MULTILINE)
_LEADING = re.compile(r"^(?:[^\w\n]|_)*([^\W_]+)(?:[^\w\s]*[.):\]]|[^\S\n][-\u2013\u2014][^\S\n])", re.MULTILINE)


def parse_identifiers(text: str, candidates: Sequence[str]) -> Reading:
    """Read an order of identifiers such as "B > A > C", "B, A, C", "[2] > [1]" (RankGPT's form), "B A C" or "BAC".

    The list is the longest run of identifiers with nothing but punctuation and blanks between them; where more lines
    begin with one ("B. Heat"), it is these. Letters and numbers in a run that are no candidate's are invented.

    Paper: Sun et al., Is ChatGPT Good at Search? Investigating Large Language Models as Re-Ranking Agents (RankGPT),
    EMNLP 2023.

    Args:
        text: what the model wrote.
        candidates: what each candidate is called by, distinct, in the order in which they were shown.
    """
    text = bounded(spoken(text))
    places = {"".join(_WORD.findall(name)): place for place, name in enumerate(candidates)}
    numbers = all(name.isdecimal() for name in places)
    plain = _MARKED_NUMBER.sub(r"\1", text) if numbers else _MARKER.sub("", text)
    leading = [match[1] for match in _LEADING.finditer(plain) if match[1] in places]
    runs = _runs(plain, places, numbers=numbers)
    best = max([*runs, leading], key=lambda run: len(places.keys() & set(run)))
    known = [places[name] for name in best if name in places]
    order = tuple(dict.fromkeys(known))
    return Reading(
        order,
        duplicates=len(known) - len(order),
        invented=len(best) - len(known) if order else 0,
        refused=not order and refuses(text),
    )


def _runs(text: str, places: dict[str, int], *, numbers: bool) -> list[list[str]]:
    """Return what looks like identifiers, parted by any other word; the last run may be empty."""
    words = _WORD.findall(text)
    if len(words) == 1 and words[0] not in places and places.keys() >= set(words[0]):
        return [list(words[0])]  # "BAC" and nothing else
    runs: list[list[str]] = [[]]
    for word in words:
        if word in places or (word.isdecimal() if numbers else len(word) == 1 and word.isupper()):
            runs[-1].append(word)
        elif runs[-1]:
            runs.append([])
    return runs
