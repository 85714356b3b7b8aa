"""What texts are generated from: contexts read block by block from a file of examples or a data set."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from llmrec.config import Config
from llmrec.data import Dataset, Split
from llmrec.data_prep.examples.recipe import ExamplesRecipe, draft_examples
from llmrec.data_prep.examples.table import make_frame, prompts_of, read_lines
from llmrec.errors import ConfigError, DataError
from llmrec.protocols import Engine, Prompt

OVERHEAD = 64
"""Tokens that a chat template and special tokens may add."""
Part = Literal["train", "valid", "test"]
_COLUMNS = ("user", "system", "prompt")
_Blocks = Callable[[int], Iterator[pl.DataFrame]]


class ContextSource(Config):
    """Where contexts come from: a file, or a data set with ``examples``."""

    file: Path | None = None
    """JSON lines with ``prompt``, such as ``llmrec examples`` writes; answers are not read."""
    dataset: Path | None = None
    """Data set folder from ``llmrec prepare``; goes with ``examples``."""
    examples: ExamplesRecipe | None = None
    """Whose prompts to take; histories and CVs are cut to what the model's context leaves unless it says otherwise."""
    parts: tuple[Part, ...] = ()
    """Several parts of the split one after the other, in place of the examples' own; ``enhance`` needs all three."""


class Contexts:
    """The contexts of a source, of which those that cannot be asked are left out and counted.

    A prompt without a word (``no_prompt``) and one of a file that is too long (``too_long``) cannot; histories and CVs
    of a data set are cut at their old end or last words instead (``truncated``). A user's equal prompts count once
    (``repeated``).

    Args:
        source: the file or data set.
        engine: what is to be asked.
        room: tokens that must fit behind a prompt.

    Attributes:
        counts: what was left out or cut by the last pass over ``blocks``.

    Raises:
        ConfigError: there is no room for a prompt; or the source is neither a file nor a data set with examples.
        DataError: the file or the data set cannot be read.
    """

    def __init__(self, source: ContextSource, engine: Engine, room: int) -> None:
        self.engine, self.counts = engine, Counter[str]()
        self.length = None if engine.context is None else engine.context - room - OVERHEAD
        if self.length is not None and self.length < 1:
            raise ConfigError(
                f"max_tokens = {room:,}",
                expected=f"{OVERHEAD} tokens and a prompt less than {engine.context or 0:,}, the context of "
                f"{engine.identity}",
                cure="lower max_tokens",
            )
        self._n_rows, self._read = self._open(source)

    def __len__(self) -> int:
        """Return how many rows the source has, which is at least as many as contexts."""
        return self._n_rows

    def blocks(self, size: int) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield contexts, with the columns ``user`` (as text), ``system`` and ``prompt``, behind the rows read so far.

        Args:
            size: rows that are read for a block.

        Raises:
            DataError: there are none.
        """
        self.counts.clear()
        seen: set[bytes] = set()
        done = found = 0
        for frame in self._read(size):
            block = frame.filter(self._asked(frame, seen))
            done, found = min(done + size, self._n_rows), found + len(block)
            if len(block):
                yield done, block
        if not found:
            reasons = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in self.counts.items())
            raise DataError(
                f"no context can be asked ({reasons})",
                expected="at least one",
                cure="give more data, lower max_tokens, or take a model with a longer context",
            )

    def _open(self, source: ContextSource) -> tuple[int, _Blocks]:
        if source.file is not None and source.dataset is None and source.examples is None:
            return _open_file(source.file)
        if source.file is None and source.dataset is not None and source.examples is not None:
            return self._open_dataset(source.dataset, source.examples, source.parts)
        given = [name for name in ("file", "dataset", "examples") if getattr(source, name) is not None]
        raise ConfigError(
            f"contexts of {' and '.join(given) or 'nothing'}",
            expected="a file, or a data set with examples",
            cure="write file: …, or dataset: … and examples: {kind: …}",
        )

    def _open_dataset(self, folder: Path, recipe: ExamplesRecipe, parts: Sequence[Part]) -> tuple[int, _Blocks]:
        if recipe.max_tokens is None and self.length is not None:
            recipe = recipe.model_copy(update={"max_tokens": self.length})
        data = Split.load(folder / "split") if (folder / "split").exists() else Dataset.load(folder)
        every = [
            draft_examples(data, recipe.model_copy(update={"part": part}), self.engine.count_tokens).without_answers()
            for part in parts or (recipe.part,)
        ]

        def read(size: int) -> Iterator[pl.DataFrame]:
            for unwritten in every:
                for begin in range(0, len(unwritten), size):
                    frame, _, counts = unwritten.write_rows(np.arange(begin, min(begin + size, len(unwritten))))
                    self.counts.update({reason: count for reason, count in counts.items() if count})
                    yield frame.select(pl.col("user").cast(pl.String), "system", "prompt")

        return sum(map(len, every)), read

    def _asked(self, frame: pl.DataFrame, seen: set[bytes]) -> pl.Series:
        """Return which rows are asked, and remember them in ``seen``."""
        asked = []
        for prompt, row in zip(prompts_of(frame), frame.iter_rows(), strict=True):
            key = hashlib.blake2b(repr(row).encode("utf-8", "surrogatepass"), digest_size=16).digest()
            _, system, text = row
            reason = ""
            if not text.removeprefix(system).strip():
                reason = "no_prompt"
            elif key in seen:
                reason = "repeated"
            elif not self._fits(prompt):
                reason = "too_long"
            seen.add(key)
            self.counts.update([reason] if reason else [])
            asked.append(not reason)
        return pl.Series(asked, dtype=pl.Boolean)

    def _fits(self, prompt: Prompt) -> bool:
        texts = (prompt.system, prompt.user)
        # A token is at least a byte: most prompts are known to fit without being tokenised.
        if self.length is None or sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) <= self.length:
            return True
        return sum(self.engine.count_tokens(texts)) <= self.length


def _open_file(path: Path) -> tuple[int, _Blocks]:
    """Return how many rows a file has, all of them checked, and what reads them."""
    n_rows = sum(1 for _ in _rows(path))
    if not n_rows:
        raise DataError(f"{str(path)!r} is empty", expected="JSON lines with 'prompt'", cure="write the examples again")

    def read(size: int) -> Iterator[pl.DataFrame]:
        every = _rows(path)
        while rows := list(islice(every, size)):
            yield make_frame(dict(zip(_COLUMNS, zip(*rows, strict=True), strict=True))).cast(pl.String)

    return n_rows, read


def _rows(path: Path) -> Iterator[tuple[str | None, str, str]]:
    """Yield user, instructions and prompt of each row of a file."""
    try:
        with path.open(encoding="utf-8", newline="\n") as lines:
            for row in read_lines(lines, str(path)):
                user, system = row.get("user"), row.get("system") or ""
                if not isinstance(system, str):
                    raise DataError(
                        f"{str(path)!r} has a 'system' that is no text ({system!r})"[:200],
                        expected="the instructions that its prompt begins with",
                        cure="mend it, or drop it",
                    )
                yield None if user is None else str(user), system, row["prompt"]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{str(path)!r} cannot be read ({error})", expected="a file in UTF-8", cure="check the path"
        ) from None
