"""From the sources of a recipe to rows, all checked before a model is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from llmrec.data import Split
from llmrec.data_prep.examples.recipe import draft_examples
from llmrec.data_prep.examples.table import nothing_left
from llmrec.errors import ConfigError, DataError
from llmrec.llm.tokens import PromptTokenizer
from llmrec.train.drawing import draw
from llmrec.train.recipe import Source
from llmrec.train.rows import ROW, TokenRows, encode_rows
from llmrec.train.tables import DraftTable, FileTable, Numbers, Table

_SPECIAL = 64
"""Tokens that a chat template and special tokens may add."""


def load_rows(
    source: Source,
    tokens: PromptTokenizer,
    max_length: int,
    seed: int,
    *,
    pairs: bool = False,
    cut: bool = False,
) -> TokenRows:
    """Return the rows of one source in their order; where only some are wanted, no others of a data set are written.

    Args:
        source: the recipe's.
        tokens: the model's.
        max_length: most tokens of prompt and answer.
        seed: of the draw.
        pairs: whether rows are to have a chosen answer and rejected ones.
        cut: shorten prompts that are too long (``encode_text``).

    Raises:
        ConfigError: it names neither a file nor a data set with examples, or both.
        DataError: a file cannot be read, there are too few rows, one has no answer, or its target leaks.
    """
    table = _open(source, tokens, max_length, pairs=pairs)
    name = (source.file or source.dataset or Path()).name

    def read(numbers: Numbers) -> TokenRows:
        return encode_rows(table.read(numbers), tokens, max_length, source=name, cut=cut)

    if source.rows is None:
        rows = read(table.numbers)
    else:
        drawn = join_rows(draw(table.numbers, table.labels, source.rows, seed, read))
        rows = drawn.select(drawn.frame[ROW].arg_sort().to_list())
    counts = table.counts + rows.counts
    if not len(rows):
        raise _none_usable(len(table.numbers), rows.counts, max_length) or nothing_left(counts)
    return replace(rows, counts=counts)


def join_rows(parts: Sequence[TokenRows]) -> TokenRows:
    """Return the rows of several sources one after the other."""
    if len(parts) == 1:
        return parts[0]
    counts: Counter[str] = Counter()
    for part in parts:
        counts.update(part.counts)
    return TokenRows(
        [ids for part in parts for ids in part.prompts],
        [ids for part in parts for ids in part.answers],
        pl.concat([part.frame for part in parts], how="diagonal_relaxed"),
        counts,
        [those for part in parts for those in part.rejected or []] if parts[0].rejected is not None else None,
    )


def _open(source: Source, tokens: PromptTokenizer, max_length: int, *, pairs: bool) -> Table:
    if source.file is not None and source.dataset is None and source.examples is None:
        return FileTable(source.file, repeats=source.repeats, pairs=pairs)
    if source.file is None and source.dataset is not None and source.examples is not None:
        recipe = source.examples
        if recipe.max_tokens is None:
            recipe = recipe.model_copy(update={"max_tokens": max(1, max_length - _SPECIAL)})
        unwritten = draft_examples(Split.load(source.dataset / "split"), recipe, tokens.count)
        return DraftTable(unwritten, repeats=source.repeats, wanted=source.rows or 0, pairs=pairs)
    given = [name for name in ("file", "dataset", "examples") if getattr(source, name) is not None]
    raise ConfigError(
        f"a source with {', '.join(given) or 'nothing'}",
        expected="a file, or a data set with examples",
        cure="write file: …, or dataset: … and examples: {kind: …}",
    )


def _none_usable(n: int, counts: Mapping[str, int], max_length: int) -> DataError | None:
    """Return the error for n rows of which none can be used, where these were too long or pairs of equal texts."""
    if counts["longer_than_max_length"]:
        return DataError(
            f"no row of {n:,} has at most {max_length:,} tokens",
            expected="some that fit",
            cure="raise max_length, or make examples with a shorter history",
        )
    if counts["equal_texts"]:
        return DataError(
            f"{n:,} rows whose rejected answers are the chosen one",
            expected="answers that differ",
            cure="reject other answers",
        )
    return None
