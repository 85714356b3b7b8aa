"""JSON in an answer: a list of titles, of objects with title and rank, or an object of ranks and titles."""

from __future__ import annotations

import json
from typing import Any

_ATTEMPTS = 64
"""Brackets that begin no JSON, after which no more are tried."""
_TITLE_KEYS = ("title", "name", "item", "candidate")
_RANK_KEYS = ("rank", "position", "place")


class _Object(list[tuple[str, Any]]):
    """The pairs of a JSON object; a key may stand twice in what a model writes."""


_DECODER = json.JSONDecoder(object_pairs_hook=_Object)


def split_json(text: str) -> tuple[list[str], str]:
    """Return the entries of the JSON list in a text, best first, and the text without JSON.

    Read are ``["a", "b"]``, ``[{"title": "a", "rank": 1}, …]`` (by rank where each has its own), ``{"1": "a", "2":
    "b"}`` (by number), ``{"a": 1, "b": 2}``, each also as the value of a key, in a code fence, behind or before other
    text. Of several lists the last counts; objects of one entry each, one after the other, are one list.
    """
    values, rest, start, failed = [], [], 0, 0
    while failed < _ATTEMPTS and (at := _opening(text, start)) >= 0:
        rest.append(text[start:at])
        try:
            value, start = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            rest.append(text[at])
            failed, start = failed + 1, at + 1
        else:
            values.append(_titles(value))
    rest.append(text[start:])
    lists = [value for value in values if len(value) > 1]
    return lists[-1] if lists else [title for value in values for title in value], "".join(rest)


def _opening(text: str, start: int) -> int:
    places = [place for place in (text.find(bracket, start) for bracket in "[{") if place >= 0]
    return min(places, default=-1)


def _titles(value: object) -> list[str]:
    """Return the titles of a JSON value in their order."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, _Object):
        return _of_object(value)
    if not isinstance(value, list):
        return []
    ranks = [_rank(one) for one in value]
    if len({rank for rank in ranks if rank is not None}) == len(ranks):
        value = [one for _, one in sorted(zip(ranks, value, strict=True), key=lambda pair: pair[0] or 0.0)]
    return [title for one in value for title in (_titles(one)[:1] if isinstance(one, _Object) else _titles(one))]


def _of_object(pairs: _Object) -> list[str]:
    by_key = {key.casefold(): value for key, value in pairs if isinstance(value, str)}
    for key in _TITLE_KEYS:
        if key in by_key:
            return [by_key[key]]
    if nested := [value for _, value in pairs if isinstance(value, list)]:
        return [title for value in nested for title in _titles(value)]
    if pairs and all(_is_number(value) for _, value in pairs):
        return [key for key, _ in sorted(pairs, key=lambda pair: pair[1])]
    texts = [(key, value) for key, value in pairs if isinstance(value, str)]
    if texts and all(key.strip().isdecimal() for key, _ in texts):
        texts.sort(key=lambda pair: int(pair[0]))
    return [value for _, value in texts]


def _rank(value: object) -> float | None:
    if not isinstance(value, _Object):
        return None
    by_key = {key.casefold(): number for key, number in value}
    found = [by_key[key] for key in _RANK_KEYS if key in by_key and _is_number(by_key[key])]
    return float(found[0]) if found else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
