"""Prompts without answers: what a model that learns from rewards is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data import Split
from llmrec.data_prep.examples.recipe import draft_examples
from llmrec.data_prep.examples.table import make_frame, prompts_of, read_lines
from llmrec.errors import ConfigError, DataError, EngineError
from llmrec.llm.tokens import PromptTokenizer
from llmrec.train.recipe import Source
from llmrec.train.rows import ROW, SOURCE, TokenRows

Counts = Mapping[str, int]
Read = Callable[[NDArray[np.int64]], tuple[pl.DataFrame, Counts]]
_SPECIAL = 64
"""Tokens that a chat template and special tokens may add."""
_BLOCK = 1024
"""Rows that are read together where only some are wanted."""


def load_contexts(source: Source, tokens: PromptTokenizer, *, max_length: int, room: int, seed: int) -> TokenRows:
    """Return the different prompts of a source, with empty answers, in the order of the source.

    Prompts without a word and those of a file that are too long are left out and counted; histories and texts of a data
    set are cut at their old end or last words until they fit.

    Args:
        source: a file with ``prompt`` in each JSON line, whatever else it has, or a data set with examples.
        tokens: the model's.
        max_length: most tokens of prompt and answer.
        room: those that are kept for the answer.
        seed: of the draw where only some rows are wanted.

    Raises:
        ConfigError: there is no room for a prompt; or the source is neither a file nor a data set with examples.
        DataError: a file cannot be read, or there are too few prompts.
    """
    length = min(max_length, tokens.context or max_length) - room
    if length < 1:
        raise ConfigError(
            f"max_tokens = {room:,} of an answer",
            expected=f"less than the {length + room:,} tokens of prompt and answer",
            cure="lower max_tokens, or raise max_length where the model's context allows it",
        )
    n_rows, read = _open(source, tokens, length)
    order = np.arange(n_rows) if source.rows is None else np.random.default_rng(seed).permutation(n_rows)
    reader = _Reader(tokens, length, source)
    for begin in range(0, n_rows, _BLOCK):
        reader.take(*read(order[begin : begin + _BLOCK]))
        if source.rows is not None and len(reader.prompts) >= source.rows:
            break
    return reader.result()


class _Reader:
    """Collects the prompts that can be asked, each once."""

    def __init__(self, tokens: PromptTokenizer, length: int, source: Source) -> None:
        self.tokens, self.length, self.source = tokens, length, source
        self.prompts: dict[tuple[int, ...], None] = {}
        self.frames: list[pl.DataFrame] = []
        self.counts: Counter[str] = Counter()

    def take(self, frame: pl.DataFrame, counts: Counts) -> None:
        """Take those prompts of some rows that are new and fit; counts say what was left out of the rows before."""
        self.counts.update({name: count for name, count in counts.items() if count})
        kept = []
        for place, prompt in enumerate(prompts_of(frame)):
            if not f"{prompt.system}{prompt.user}".strip():
                self.counts["empty"] += 1
                continue
            ids: tuple[int, ...] = ()
            with suppress(EngineError):  # longer than the model's context
                ids = tuple(self.tokens.encode(prompt, room=0))
            if not ids or len(ids) > self.length:
                self.counts["longer_than_max_length"] += 1
            elif ids in self.prompts:
                self.counts["repeated"] += 1
            else:
                self.prompts[ids] = None
                kept.append(place)
        self.frames.append(frame[kept])

    def result(self) -> TokenRows:
        """Return them, as many as are wanted.

        Raises:
            DataError: there are not so many.
        """
        found, wanted = len(self.prompts), self.source.rows
        if found < (wanted or 1):
            reasons = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in self.counts.items())
            raise DataError(
                f"{found:,} prompts of {_name(self.source)} can be asked" + (f" ({reasons})" if reasons else ""),
                expected=f"at least {wanted or 1:,}",
                cure="give more data, raise max_length, or lower rows",
            )
        frame = pl.concat(self.frames, how="diagonal_relaxed").head(wanted or found)
        prompts = [list(ids) for ids in self.prompts][: len(frame)]
        order = frame[ROW].arg_sort().to_list()
        named = frame[order].with_columns(pl.lit(_name(self.source)).alias(SOURCE))
        return TokenRows([prompts[place] for place in order], [[] for _ in order], named, self.counts)


def _open(source: Source, tokens: PromptTokenizer, length: int) -> tuple[int, Read]:
    """Return how many rows a source has, and what reads some of them, numbered in ``ROW``."""
    if source.file is not None and source.dataset is None and source.examples is None:
        frame = _read_file(source.file)
        return len(frame), lambda numbers: (frame[numbers], {})
    if source.file is not None or source.dataset is None or source.examples is None:
        given = [name for name in ("file", "dataset", "examples") if getattr(source, name) is not None]
        raise ConfigError(
            f"prompts with {', '.join(given) or 'nothing'}",
            expected="a file, or a data set with examples",
            cure="write file: …, or dataset: … and examples: {kind: …}",
        )
    recipe = source.examples
    if recipe.max_tokens is None:
        recipe = recipe.model_copy(update={"max_tokens": max(1, length - _SPECIAL)})
    unwritten = draft_examples(Split.load(source.dataset / "split"), recipe, tokens.count).without_answers()

    def read(numbers: NDArray[np.int64]) -> tuple[pl.DataFrame, Counts]:
        frame, kept, counts = unwritten.write_rows(numbers)
        return frame.drop("completion").with_columns(pl.Series(ROW, kept, pl.UInt32)), counts

    return len(unwritten), read


def _read_file(path: Path) -> pl.DataFrame:
    """Return the rows of a file of JSON lines, each with a prompt."""
    try:
        with path.open(encoding="utf-8", newline="\n") as lines:
            rows = list(read_lines(lines, path.name))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{str(path)!r} cannot be read ({error})", expected="a file in UTF-8", cure="check the path"
        ) from None
    if not rows:
        raise _broken(f"{path.name} is empty")
    columns = {name: None for row in rows for name in row if name not in {"completion", "chosen", "rejected", "system"}}
    table: dict[str, list[object]] = {name: [row.get(name) for row in rows] for name in columns}
    table["system"] = [row.get("system") or "" for row in rows]
    try:
        return make_frame(table).with_row_index(ROW)
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise _broken(f"{path.name} mixes types in a column ({str(error).splitlines()[0]})") from None


def _broken(found: str) -> DataError:
    return DataError(found, expected="JSON lines with 'prompt'", cure="mend it, or write the prompts again")


def _name(source: Source) -> str:
    return (source.file or source.dataset or Path()).name
