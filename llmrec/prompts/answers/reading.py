"""What comes out of an answer, and what all parsers know of one."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LONGEST = 32_768
"""Characters of an answer that are read; 400 tokens, what a ranking may take, are about 2,000."""
_THOUGHT = ("<think>", "</think>")
_REFUSAL = re.compile(
    r"\b(?:I(?:['\u2019]?m| am) sorry|I apologi[sz]e|as an AI|unable to"
    r"|I (?:can(?:not|[' \u2019]*t)|won['\u2019]?t|am not able))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Reading:
    """A ranking as read.

    Attributes:
        order: places of the candidates named, best first; each at most once.
        duplicates: how often one was named that had been named before.
        invented: entries of the list that named no candidate. Text before and behind the list is none, nor are remarks
            between the lines of a marked one.
        refused: whether nothing was named and the text says that it will not answer.
    """

    order: tuple[int, ...]
    duplicates: int = 0
    invented: int = 0
    refused: bool = False


def bounded(text: str) -> str:
    """Return what is read of an answer: its beginning, which is all of any real one."""
    return text[:_LONGEST]


def spoken(text: str) -> str:
    """Return an answer without what a reasoning model thought before it: nothing where it never stopped thinking."""
    begin, end = _THOUGHT
    said = text.rpartition(end)[2]
    return said.partition(begin)[0]


def refuses(text: str) -> bool:
    """Return whether a text says that it will not answer."""
    return bool(_REFUSAL.search(bounded(text)))
