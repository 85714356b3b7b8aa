"""Examples as tokens, drawn, checked and counted."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data_prep.examples import Examples
from llmrec.errors import DataError, EngineError
from llmrec.llm.tokens import PromptTokenizer

_QUOTED = re.compile(r'"([^"\n]+)"')


@dataclass(frozen=True, eq=False)
class TokenRows:
    """Rows that a model learns from or is asked.

    Attributes:
        prompts: token ids of each prompt, special ones too.
        answers: token ids of each answer, with an end where the text has none of its own.
        frame: the examples that they are of, in the same order.
        counts: what was left out, by reason.
    """

    prompts: list[list[int]]
    answers: list[list[int]]
    frame: pl.DataFrame
    counts: Counter[str]

    @property
    def labels(self) -> NDArray[np.bool_] | None:
        """Yes or no of each row (n,); None where one has none."""
        if "label" not in self.frame.columns or self.frame["label"].null_count():
            return None
        values: NDArray[np.bool_] = self.frame["label"].to_numpy()
        return values

    def __len__(self) -> int:
        return len(self.prompts)

    def first_tokens(self) -> tuple[int, int]:
        """Return the tokens that a no and a yes begin with.

        Raises:
            DataError: there are no labels or only one of them, or the answers of a label begin in several ways or both
                in the same one.
        """
        labels = self.labels
        if labels is None:
            raise DataError("rows without labels", expected="yes or no for each", cure="take yes-no examples")
        begins = [{self.answers[row][0] for row in np.flatnonzero(labels == label)} for label in (False, True)]
        if not all(begins):
            raise DataError(
                f"{len(self):,} rows that all say {'no' if begins[0] else 'yes'}",
                expected="some of each",
                cure="draw more rows, or change like_above",
            )
        if any(len(each) > 1 for each in begins) or begins[0] == begins[1]:
            words = sorted(set(self.frame["completion"].to_list()))[:4]
            raise DataError(
                f"answers {', '.join(map(repr, words))}",
                expected="one first token for yes and another one for no",
                cure="change the labels of the template",
            )
        return begins[0].pop(), begins[1].pop()


def encode_rows(examples: Examples, tokens: PromptTokenizer, max_length: int) -> TokenRows:
    """Return examples as tokens, those that are too long left out and counted.

    Prompt and answer are tokenised as engines do it, so that a tuned model is asked what it has learnt. An answer that
    does not end with a line break gets the model's end token.

    Raises:
        DataError: rows have pairs instead of completions, a row has no answer, or none is short enough.
    """
    frame = examples.frame
    if "completion" not in frame.columns:
        raise DataError("rows of chosen and rejected answers", expected="completions", cure="take another kind of rows")
    kept, prompts, answers = [], [], []
    for number, (prompt, text) in enumerate(zip(examples.prompts(), frame["completion"].to_list(), strict=True)):
        if not (text or "").strip():
            raise DataError(f"row {number + 1} has no answer", expected="a text", cure="mend or drop that row")
        answer = tokens.encode_answers(prompt, [text])[0] + _end(tokens, text)
        with suppress(EngineError):  # longer than the model's context
            before = tokens.encode(prompt, room=len(answer))
            if len(before) + len(answer) <= max_length:
                kept.append(number)
                prompts.append(before)
                answers.append(answer)
    if not kept:
        raise DataError(
            f"no row of {len(examples):,} has at most {max_length:,} tokens",
            expected="some that fit",
            cure="raise max_length, or make examples with a shorter history",
        )
    counts = Counter({**examples.counts, "longer_than_max_length": len(examples) - len(kept)})
    return TokenRows(prompts, answers, frame[kept], counts)


def draw_rows(examples: Examples, n: int, seed: int) -> Examples:
    """Return n examples drawn at random, in their order; where they have labels as many yes as no (one more no if odd).

    Raises:
        DataError: there are not so many, in all or of a label.
    """
    rng, frame = np.random.default_rng(seed), examples.frame
    labels = frame["label"].to_numpy() if "label" in frame.columns else np.zeros(len(frame), bool)
    wanted = {False: n - n // 2, True: n // 2} if "label" in frame.columns else {False: n}
    drawn = []
    for label, count in wanted.items():
        rows = np.flatnonzero(labels == label)
        if len(rows) < count:
            which = f" that say {'yes' if label else 'no'}" if "label" in frame.columns else ""
            raise DataError(
                f"{len(rows):,} rows{which}",
                expected=f"at least {count:,} to draw from (rows = {n:,})",
                cure="lower rows, or give more data",
            )
        drawn.append(rng.choice(rows, count, replace=False))
    return Examples(frame[np.sort(np.concatenate(drawn))], examples.counts)


def without_leaks(examples: Examples) -> Examples:
    """Return the rows whose target does not stand in its own history, the others counted as ``leaking``.

    The target is the answer, or in a yes/no question the last title in quotes; it stands in the history where the
    prompt has it as a line, a list entry or in quotes before.

    Raises:
        DataError: that leaves fewer than half of the rows.
    """
    labelled = "label" in examples.frame.columns
    columns = examples.frame["prompt"].to_list(), examples.frame["completion"].to_list()
    leaking = {}
    for number, (prompt, answer) in enumerate(zip(*columns, strict=True)):
        quoted = _QUOTED.findall(prompt) if labelled else [(answer or "").strip()]
        target = quoted[-1] if quoted else ""
        if target and len(_mentions(target, prompt)) > labelled:
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
    return Examples(examples.frame[kept], {**examples.counts, "leaking": len(leaking)})


def _mentions(title: str, prompt: str) -> list[str]:
    if title not in prompt:
        return []
    return re.findall(rf'(?:^(?:- |\d+\. )?|"){re.escape(title)}(?:"|$)', prompt, re.MULTILINE)


def _end(tokens: PromptTokenizer, text: str) -> list[int]:
    end = tokens.tokenizer.eos_token_id
    return [] if text.endswith("\n") or end is None else [end]
