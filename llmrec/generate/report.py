"""How a file of generated texts is: copies, near-duplicates, variety, length, what is empty or cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from llmrec.config import Config
from llmrec.data_prep.examples.table import Examples
from llmrec.generate.ngrams import count_words, near_duplicates, ngrams, shared


class ReportRecipe(Config):
    """When a text counts as a copy."""

    ngram: int = Field(5, ge=1)
    """Words in a row that are compared."""
    near_duplicate: float = Field(0.8, gt=0, le=1)
    """Two texts are nearly the same whose n-grams have a Jaccard index so high."""
    copied: float = Field(0.5, gt=0, le=1)
    """A text is a copy if so large a share of its n-grams stands in what it is compared with."""
    answers: Path | None = None
    """JSON lines from ``llmrec examples``: the answers that the model was trained on, compared with too."""


@dataclass(frozen=True, slots=True)
class TextReport:
    """What some generated texts are like. Shares are of the texts that the engine gave; None: of no text.

    Attributes:
        texts: how many the engine gave.
        failed: how many it did not.
        empty: share without a word.
        cut: share that ended at the length limit.
        mean_tokens: their mean length in the engine's tokens.
        mean_words: the same in words.
        distinct_1: different words by all words of all texts (Li et al., NAACL 2016).
        distinct_2: the same of two words in a row.
        near_duplicates: share of the texts with words that are nearly the same as one of another context.
        context_share: mean share of a text's n-grams that stand in its context, of texts with n words or more.
        copied_from_context: share of these texts that are copies of it.
        answers_share: the same with any training answer; None also where none were given.
        copied_from_answers: share that are made of them.
    """

    texts: int
    failed: int
    empty: float | None
    cut: float | None
    mean_tokens: float | None
    mean_words: float | None
    distinct_1: float | None
    distinct_2: float | None
    near_duplicates: float | None
    context_share: float | None
    copied_from_context: float | None
    answers_share: float | None = None
    copied_from_answers: float | None = None

    def table(self) -> pl.DataFrame:
        """Return what is known, a row for each number."""
        known = {name.replace("_", " "): float(value) for name, value in asdict(self).items() if value is not None}
        return pl.DataFrame({"of the texts": list(known), "": list(known.values())})


def report_texts(texts: pl.DataFrame, recipe: ReportRecipe, answers: Sequence[str] | None = None) -> TextReport:
    """Return what texts are like.

    Args:
        texts: with the columns ``prompt``, ``text``, ``tokens`` and ``finish``.
        recipe: when a text counts as a copy.
        answers: those that the model was trained on, or None.
    """
    given = texts.filter(pl.col("finish") != "error")
    written: list[str] = given["text"].to_list()
    prompts = given["prompt"].unique(maintain_order=True)
    context = pl.Series("number", range(len(prompts)), pl.Int64)
    numbers = given["prompt"].replace_strict(prompts, context, return_dtype=pl.Int64).to_numpy()
    n, words = recipe.ngram, count_words(written)
    alike = near_duplicates(written, numbers, n=n, threshold=recipe.near_duplicate)
    from_context = shared(written, prompts.to_list(), numbers, n=n)
    from_answers = np.full(len(written), np.nan) if answers is None else shared(written, answers, None, n=n)
    return TextReport(
        texts=len(written),
        failed=len(texts) - len(written),
        empty=_mean(words == 0),
        cut=_mean((given["finish"] == "length").to_numpy()),
        mean_tokens=_mean(given["tokens"].to_numpy()),
        mean_words=_mean(words),
        distinct_1=_distinct(written, 1),
        distinct_2=_distinct(written, 2),
        near_duplicates=_mean(alike[words > 0]),
        context_share=_mean(_known(from_context)),
        copied_from_context=_mean(_known(from_context) >= recipe.copied),
        answers_share=_mean(_known(from_answers)),
        copied_from_answers=_mean(_known(from_answers) >= recipe.copied),
    )


def read_answers(path: Path | None) -> list[str] | None:
    """Return the answers of a file of examples, the chosen ones of pairs, each once; None for no file.

    Raises:
        DataError: it is no such file.
    """
    if path is None:
        return None
    frame = Examples.load(path).frame
    column = frame["chosen" if "chosen" in frame.columns else "completion"]
    found: list[str] = column.drop_nulls().unique(maintain_order=True).to_list()
    return found


def _distinct(texts: Sequence[str], n: int) -> float | None:
    codes = ngrams(texts, n).code
    return len(np.unique(codes)) / len(codes) if len(codes) else None


def _known(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    known: NDArray[np.float64] = shares[~np.isnan(shares)]
    return known


def _mean(values: NDArray[np.float64] | NDArray[np.int64] | NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None
