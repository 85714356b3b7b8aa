"""The noun of examples: a table that trl trains on, with what it holds and what was left out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from llmrec.data.files import atomic_file, require_columns, write_json
from llmrec.errors import DataError, require
from llmrec.protocols import Prompt

if TYPE_CHECKING:
    import datasets

TYPES: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("prompt", "system", "completion", "chosen"), pl.String),
    "label": pl.Boolean,
    "time": pl.Int64,
}
TALLREC = ("instruction", "input", "output")
_DROPPED = {
    "short_history": "with too few earlier events",
    "not_liked": "not liked",
    "unlabelled": "unlabelled",
    "no_click": "without a click",
    "no_answer": "without an answer or a negative",
    "no_prompt": "without a history or text",
    "too_long": "too long",
}


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples for language models, one a row.

    Columns: ``prompt``, the whole text before the answer, and ``system``, the instructions that it begins with (may be
    empty); then ``completion``, or ``chosen`` and ``rejected`` (a text, or a list of texts); ``label`` where there is a
    yes or no; ``user``, ``item`` and ``time`` (Unix seconds), null where unknown. Prompts end without a space; answers
    begin with one or with a line break, or follow one.

    Attributes:
        frame: the table.
        counts: what was dropped, by reason, and how many histories were ``truncated``; empty for a file.

    Raises:
        DataError: no row, or neither completions nor pairs.
    """

    frame: pl.DataFrame
    counts: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        answers = ("chosen", "rejected") if "chosen" in self.frame.columns else ("completion",)
        require_columns(self.frame, ("prompt", "system", *answers), where="the table of examples")
        if self.frame.is_empty():
            raise nothing_left(self.counts)

    @property
    def balance(self) -> dict[str, int]:
        """How many rows have the label yes and no; empty where rows have no label."""
        if "label" not in self.frame.columns:
            return {}
        yes = int(self.frame["label"].sum())
        return {"yes": yes, "no": len(self) - yes}

    def summary(self) -> dict[str, int | float]:
        """Return the counts of rows, labels and what was left out, and the share of yes."""
        yes = {"yes_share": self.balance["yes"] / len(self)} if self.balance else {}
        return {"rows": len(self), **self.balance, **yes, **self.counts}

    def __str__(self) -> str:
        parts = [f"{len(self):,} example{'s' if len(self) != 1 else ''}"]
        if self.balance:
            parts.append(f"{self.balance['yes']:,} yes ({self.balance['yes'] / len(self):.1%})")
        if self.counts.get("truncated"):
            parts.append(f"{self.counts['truncated']:,} cut to fit")
        dropped = _dropped(self.counts)
        return "; ".join([", ".join(parts), *(["left out: " + ", ".join(dropped)] if dropped else [])])

    def __len__(self) -> int:
        return self.frame.height

    def prompts(self) -> list[Prompt]:
        """Return each row's prompt, instructions and request apart."""
        return prompts_of(self.frame)

    def to_dataset(self, *, chat: bool = False) -> datasets.Dataset:
        """Return a ``datasets.Dataset`` as trl takes it: texts, or with ``chat`` lists of messages.

        Raises:
            MissingPackageError: the package datasets is not installed.
        """
        package = require("datasets", extra="train", purpose="a datasets.Dataset")
        made: datasets.Dataset = package.Dataset.from_polars(self._messages() if chat else self.frame)
        return made

    def _messages(self) -> pl.DataFrame:
        system, user = _message("system", "system"), _message("user", "_user")
        frame = self.frame.with_columns(_user=_user_part()).with_columns(
            prompt=pl.when(pl.col("system") == "").then(pl.concat_list(user)).otherwise(pl.concat_list(system, user))
        )
        answers = [
            pl.concat_list(_message("assistant", name)).alias(name)
            for name in ("completion", "chosen", "rejected")
            if name in frame.columns and frame[name].dtype == pl.String
        ]
        return frame.with_columns(answers).drop("_user", "system")

    def to_tallrec(self) -> list[dict[str, str]]:
        """Return rows of instruction, input and output, the form of TALLRec and Alpaca.

        Raises:
            DataError: the rows are pairs.
        """
        require_columns(self.frame, ("completion",), where="a table of pairs")
        rows = self.frame.select(
            instruction="system", input=_user_part(), output=pl.col("completion").str.strip_chars()
        )
        return rows.to_dicts()

    def save_tallrec(self, path: Path | str) -> Path:
        """Write ``to_tallrec`` as one JSON array, whole or not at all."""
        write_json(Path(path), self.to_tallrec())
        return Path(path)

    def save(self, path: Path | str) -> Path:
        """Write one JSON object a line, whole or not at all."""
        with atomic_file(Path(path)) as temporary:
            self.frame.write_ndjson(temporary)
        return Path(path)

    @classmethod
    def load(cls, path: Path | str) -> Examples:
        """Read JSON lines that ``save`` wrote, or a JSON array of TALLRec's instruction, input and output.

        Raises:
            DataError: the file is missing, is no such JSON, or lacks a key.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"{str(path)!r} cannot be read ({error})", expected="a file in UTF-8", cure="check the path"
            ) from None
        if text.lstrip().startswith("["):
            return cls(_from_tallrec(text, str(path)))
        return cls(_table(list(read_lines(text.split("\n"), str(path))), str(path)))


def make_frame(columns: Mapping[str, Sequence[Any] | pl.Series]) -> pl.DataFrame:
    """Return the table with each column's type fixed, also where every value is null."""
    frame = pl.DataFrame(columns)
    kinds = {name: TYPES.get(name, pl.String if kind == pl.Null else kind) for name, kind in frame.schema.items()}
    return frame.select(pl.col(name).cast(kind) for name, kind in kinds.items())


def nothing_left(counts: Mapping[str, int]) -> DataError:
    """Return the error for examples of which none is left, with what was dropped by reason."""
    return DataError(
        f"no example is left ({', '.join(_dropped(counts)) or 'the table is empty'})",
        expected="at least one",
        cure="take more data, a shorter window or a larger max_tokens",
    )


def _dropped(counts: Mapping[str, int]) -> list[str]:
    return [f"{counts[key]:,} {words}" for key, words in _DROPPED.items() if counts.get(key)]


def read_lines(lines: Iterable[str], where: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON object of each line that is not blank.

    Args:
        lines: of a file.
        where: what it is called in messages.

    Raises:
        DataError: a line is no JSON object with a text ``prompt``.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise _broken(f"{where} line {number} ({error})") from None
        if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
            raise _broken(f"{where} line {number} has no text 'prompt': {line[:60]!r}")
        yield row


def _from_tallrec(text: str, where: str) -> pl.DataFrame:
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise _broken(f"{where} ({error})") from None
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in TALLREC):
            raise _broken(f"{where} row {number} lacks a text of {', '.join(TALLREC)}")
    outputs = {row["output"] for row in rows}
    # A yes or no, in TALLRec's own words, is a label too.
    label = [{"label": row["output"] == "Yes."} for row in rows] if outputs <= {"Yes.", "No."} else [{}] * len(rows)
    return _table(
        [
            {
                "prompt": "\n\n".join(part for part in (row["instruction"], row["input"].rstrip(" ")) if part),
                "system": row["instruction"],
                "completion": f" {row['output']}",
                **extra,
            }
            for row, extra in zip(rows, label, strict=True)
        ],
        where,
    )


def _table(rows: list[dict[str, Any]], where: str) -> pl.DataFrame:
    if not rows:
        raise _broken(f"{where} is empty")
    try:
        return make_frame({name: [row.get(name) for row in rows] for name in rows[0]})
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise _broken(f"{where} mixes types in a column ({str(error).splitlines()[0]})") from None


def _broken(found: str) -> DataError:
    return DataError(
        found,
        expected="JSON lines with 'prompt' and answers, or a JSON array of instruction, input and output",
        cure="mend it, or write the examples again",
    )


def prompts_of(frame: pl.DataFrame) -> list[Prompt]:
    """Return the prompt of each row of a table of examples, instructions and request apart."""
    return [_prompt(*row) for row in frame.select("prompt", pl.col("system").fill_null("")).iter_rows()]


def _prompt(text: str, system: str) -> Prompt:
    """Return the prompt that a model without a chat template reads as ``text``."""
    instructions = f"{system}\n\n"
    if not system or not text.startswith(instructions) or text == instructions:
        return Prompt(text)
    return Prompt(text.removeprefix(instructions), system)


def _user_part() -> pl.Expr:
    """Return the prompt without its instructions."""
    instructions = pl.col("system") + "\n\n"
    return (
        pl.when(pl.col("system") == "")
        .then(pl.col("prompt"))
        .otherwise(pl.col("prompt").str.strip_prefix(instructions))
    )


def _message(role: str, column: str) -> pl.Expr:
    text = pl.col(column).str.strip_chars() if role == "assistant" else pl.col(column)
    return pl.struct(pl.lit(role).alias("role"), text.alias("content"))
