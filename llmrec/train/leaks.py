"""Rows that give their own answer away: the target stands in its history."""

from __future__ import annotations

import re

from llmrec.data_prep.examples import Examples
from llmrec.errors import DataError

_QUOTED = re.compile(r'"([^"\n]+)"')


def without_leaks(examples: Examples) -> Examples:
    """Return the rows whose target does not stand in its own history, the others counted as ``leaking``.

    The target is the last title in quotes of a yes/no question, or else the answer, where the row names an item (the
    options of a general instruction are no history); it stands in the history where the prompt has it as a line, a list
    entry or in quotes before.

    Raises:
        DataError: that leaves fewer than half of the rows.
    """
    frame = examples.frame
    blank = [None] * len(frame)
    labels, items = (frame[name].to_list() if name in frame.columns else blank for name in ("label", "item"))
    leaking = {}
    columns = frame["prompt"].to_list(), frame["completion"].to_list(), labels, items
    for number, (prompt, answer, label, item) in enumerate(zip(*columns, strict=True)):
        if label is not None:
            quoted = _QUOTED.findall(prompt)
            target = quoted[-1] if quoted else ""
        else:
            target = (answer or "").strip() if item is not None else ""
        if target and len(_mentions(target, prompt)) > (label is not None):
            leaking[number] = target
    if not leaking:
        return examples
    if 2 * len(leaking) > len(examples):
        number, target = next(iter(leaking.items()))
        raise DataError(
            f"{len(leaking):,} of {len(examples):,} rows have their target in their own history "
            f"({target!r} in row {number + 1})",
            expected="targets that prompts do not give away",
            cure="split the data set again, or write repeats: true where people choose a thing again",
        )
    kept = [number for number in range(len(examples)) if number not in leaking]
    return Examples(frame[kept], {**examples.counts, "leaking": len(leaking)})


def _mentions(title: str, prompt: str) -> list[str]:
    if title not in prompt:
        return []
    return re.findall(rf'(?:^(?:- |\d+\. )?|"){re.escape(title)}(?:"|$)', prompt, re.MULTILINE)
