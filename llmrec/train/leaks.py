"""Rows that give their own answer away: the target stands in its history."""

from __future__ import annotations

import re
from collections.abc import Iterator

import polars as pl

from llmrec.errors import DataError

_QUOTED = re.compile(r'"([^"\n]+)"')


class Leaks:
    """Leaves out rows whose target stands in its own history, and counts them.

    The target is the last title in quotes of a yes/no question, or else each line of the answer, where the row names an
    item (the options of a general instruction are no history); it stands in the history where the prompt has it as a
    line, a list entry or in quotes before.

    Args:
        wanted: how many rows are drawn: it takes more leaking ones than that to speak of most; 0 where all are taken.
    """

    def __init__(self, wanted: int = 0) -> None:
        self.wanted, self.seen, self.count = wanted, 0, 0

    def without(self, frame: pl.DataFrame, number: str) -> pl.DataFrame:
        """Return the rows that do not leak.

        Args:
            frame: examples with completions.
            number: the column of their numbers, from 0.

        Raises:
            DataError: more than half of the rows seen so far leak.
        """
        leaking = dict(_leaking(frame))
        self.seen += frame.height
        self.count += len(leaking)
        if leaking and self.count > max(self.wanted, self.seen - self.count):
            place, target = next(iter(leaking.items()))
            raise DataError(
                f"{self.count:,} of {self.seen:,} rows {'drawn ' if self.wanted else ''}have their target in their own "
                f"history ({target!r} in row {frame[number][place] + 1})",
                expected="targets that prompts do not give away",
                cure="split the data set again, or write repeats: true where people choose a thing again",
            )
        return frame[[place for place in range(frame.height) if place not in leaking]] if leaking else frame


def _leaking(frame: pl.DataFrame) -> Iterator[tuple[int, str]]:
    """Yield the place of each row that leaks, and its target."""
    blank = [None] * frame.height
    labels, items = (frame[name].to_list() if name in frame.columns else blank for name in ("label", "item"))
    columns = frame["prompt"].to_list(), frame["completion"].to_list(), labels, items
    for place, (prompt, answer, label, item) in enumerate(zip(*columns, strict=True)):
        if label is not None:
            quoted = _QUOTED.findall(prompt)
            targets = quoted[-1:]
        else:
            targets = (answer or "").strip().splitlines() if item is not None else []
        given = [target for target in targets if len(_mentions(target, prompt)) > (label is not None)]
        if given:
            yield place, given[0]


def _mentions(title: str, prompt: str) -> list[str]:
    if title not in prompt:
        return []
    return re.findall(rf'(?:^(?:- |\d+\. )?|"){re.escape(title)}(?:"|$)', prompt, re.MULTILINE)
