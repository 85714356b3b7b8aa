"""Where pairs and generated texts come from: files of labelled examples, a data set's choices, ``llmrec generate``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.classic.recall.text import item_texts
from llmrec.data import Split
from llmrec.data.files import read_parquet, require_columns
from llmrec.data_prep.examples import Examples, ExamplesRecipe, draw_negatives
from llmrec.data_prep.examples.recipe import draft_examples
from llmrec.data_prep.examples.table import nothing_left
from llmrec.errors import ConfigError, DataError
from llmrec.generate.enhance_pairs import PARTS, Corpus, Numbers, make_corpus
from llmrec.generate.enhance_recipe import EnhanceRecipe

KINDS = ("describe-item", "cv-posting", "next-item")
_COLUMNS = ("part", "prompt", "system", "user", "item", "label")


def read_corpus(recipe: EnhanceRecipe) -> Corpus:
    """Return the pairs of a recipe.

    Raises:
        ConfigError: it names neither three files nor a data set with examples, or examples of an unfit kind.
        DataError: a file or data set cannot be used, or a part has one label only.
    """
    files = {part: path for part in PARTS if (path := getattr(recipe, part)) is not None}
    examples = recipe.examples
    if recipe.dataset is not None and examples is not None and not files:
        return _of_split(Split.load(recipe.dataset / "split"), examples, recipe)
    if recipe.dataset is None and examples is None and len(files) == len(PARTS):
        return _of_files(files)
    given = [name for name in ("dataset", "examples", *PARTS) if getattr(recipe, name) is not None]
    raise ConfigError(
        f"pairs from {', '.join(given) or 'nowhere'}",
        expected="train, valid (training stops by it) and test, or a data set with examples",
        cure="write train: …, valid: … and test: …, or dataset: … and examples: {kind: …}",
    )


def _of_files(files: Mapping[str, Path]) -> Corpus:
    """Return the pairs of labelled examples; equal completions are one item."""
    rows = pl.concat(_labelled(path, part) for part, path in files.items())
    items = rows.unique("text", keep="first", maintain_order=True).with_row_index("number")
    rows = rows.join(items.select("text", "number"), on="text", maintain_order="left")
    trained = np.zeros(items.height, np.bool_)
    trained[rows.filter((pl.col("part") == "train") & pl.col("label"))["number"].to_numpy()] = True
    numbered = rows.with_columns(item=pl.col("number")).select(_COLUMNS)
    return make_corpus(numbered, items["text"].to_list(), items["item"], trained)


def _labelled(path: Path, part: str) -> pl.DataFrame:
    frame, where = Examples.load(path).frame, str(path)
    require_columns(frame, ("prompt", "completion", "label"), where=where)
    blank = int((frame["completion"].str.strip_chars() == "").sum())
    if frame["label"].dtype != pl.Boolean or frame["label"].null_count() or blank:
        raise DataError(
            f"{where} has {frame['label'].null_count():,} rows without a label and {blank:,} without a completion",
            expected="an item's text, and true or false, in each",
            cure="write the examples with mismatches, or leave those rows out",
        )
    unknown = [pl.lit(None, pl.String).alias(name) for name in ("user", "item") if name not in frame.columns]
    named = frame.with_columns(*unknown, text=pl.col("completion").str.strip_chars(), part=pl.lit(part))
    return named.select(*_COLUMNS, "text").cast({"user": pl.String, "item": pl.String})


def _of_split(split: Split, examples: ExamplesRecipe, recipe: EnhanceRecipe) -> Corpus:
    """Return what was chosen in each part, with negatives drawn beside it."""
    if examples.kind not in KINDS or examples.mismatches:
        raise ConfigError(
            f"examples of kind {examples.kind!r}" + (" with mismatches" if examples.mismatches else ""),
            expected=f"what was chosen: {', '.join(KINDS)}; negatives are drawn beside it",
            cure="choose one of these, or write labelled examples to files: train, valid, test",
        )
    drawn = [_chosen(split, examples, recipe, place) for place in range(len(PARTS))]
    width = max(history.shape[1] for _, history in drawn)
    histories = [np.pad(each, ((0, 0), (width - each.shape[1], 0)), constant_values=-1) for _, each in drawn]
    data = split.train
    trained = np.bincount(data.interactions.items, minlength=len(data.items)) > 0
    ids, texts = data.items.ids.cast(pl.String), item_texts(data, recipe.columns)
    return make_corpus(pl.concat([frame for frame, _ in drawn]), texts, ids, trained, np.concatenate(histories))


def _chosen(split: Split, examples: ExamplesRecipe, recipe: EnhanceRecipe, place: int) -> tuple[pl.DataFrame, Numbers]:
    """Return the pairs of one part as rows, and the history of each."""
    draft = draft_examples(split, examples.model_copy(update={"part": PARTS[place]}))
    frame, at, counts = draft.write_rows(np.arange(len(draft)))
    if frame.is_empty():
        raise nothing_left({**draft.counts, **counts})
    users, history, chosen = (each[at] for each in (draft.rows.users, draft.rows.history, draft.rows.chosen))
    no = draw_negatives(
        split.train,
        users,
        exclude=np.concatenate([history, chosen], axis=1),
        rule=recipe.rule,
        n=recipe.negatives,
        seed=recipe.seed + place,
    )
    items = np.concatenate([draft.items[at][:, None], no], axis=1)
    rows, places = np.nonzero(items >= 0)
    pairs = frame[rows].with_columns(
        part=pl.lit(PARTS[place]), user=pl.col("user").cast(pl.String), item=items[rows, places], label=places == 0
    )
    return pairs.select(_COLUMNS), history[rows]


@dataclass(frozen=True, eq=False)
class GeneratedTexts:
    """What was generated for contexts.

    Attributes:
        texts: m of them.
        contexts: int64 (m,), whose each is; a context may have several, or none.
        counts: ``texts`` used, those ``of no context`` and ``blank`` ones left out, ``contexts without a text``.
    """

    texts: list[str]
    contexts: NDArray[np.int64]
    counts: Mapping[str, int]


def read_texts(path: Path, corpus: Corpus, by: str) -> GeneratedTexts:
    """Return the generated texts of contexts; blank ones and those of no context are left out and counted.

    Args:
        path: Parquet file with ``text`` and ``by``.
        corpus: the contexts.
        by: ``prompt`` or ``user``.

    Raises:
        DataError: the file cannot be read, a column is missing, or no context has a text.
    """
    frame, n = read_parquet(path, ("text", by)), corpus.contexts.height
    if frame["text"].dtype != pl.String:
        raise DataError(f"{str(path)!r} has texts of type {frame['text'].dtype}", expected="texts", cure="cast them")
    written = frame.select(pl.col(by).cast(pl.String), "text").filter(pl.col("text").str.contains(r"\S"))
    owners = corpus.contexts.select(by).with_row_index("context")
    found = owners.join(written, on=by, maintain_order="left_right")
    if found.is_empty():
        other = "user" if by == "prompt" else "prompt"
        raise DataError(
            f"no {by} of the {written.height:,} texts in {str(path)!r} is one of the {n:,} contexts",
            expected="texts that were generated for these contexts",
            cure=f"generate them from the same examples, or match them with texts_by={other}",
        )
    stray = written.join(owners, on=by, how="anti").height
    counts = {
        "texts": found.height,
        "texts of no context": stray,
        "blank texts": frame.height - written.height,
        "contexts without a text": n - found["context"].n_unique(),
    }
    return GeneratedTexts(found["text"].to_list(), found["context"].to_numpy().astype(np.int64), counts)
