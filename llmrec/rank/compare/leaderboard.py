"""The leaderboard: quality with intervals and tests, cost, biases, and how answers could be read; one row a variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.eval.bias import PopularityBias, PositionBias
from llmrec.eval.evaluate import ALL, Evaluation
from llmrec.rank.compare.recipe import INCOMING, CompareRecipe, setting
from llmrec.rank.compare.run import Outcome

UNREADABLE = ("unread", "failed")
Row = dict[str, object]
QUALITY = ("mean", "low", "high", "difference", "diff_low", "diff_high", "p", "p_holm")
FACTS = pl.Schema(
    {
        "variant": pl.String(),
        "strategy": pl.String(),
        "template": pl.String(),
        "history": pl.Int64(),
        "engine": pl.String(),
        "prompts": pl.Int64(),
        "answers": pl.Int64(),
        "prompt_tokens": pl.Int64(),
        "output_tokens": pl.Int64(),
        "computed": pl.Int64(),
        "cached": pl.Int64(),
        "seconds": pl.Float64(),
        "users_per_second": pl.Float64(),
        "money": pl.Float64(),
        "unreadable": pl.Int64(),
        "counts": pl.String(),
        "order_kept": pl.Float64(),
        "popularity_shift": pl.Float64(),
        "error": pl.String(),
    }
)


def make_leaderboard(
    recipe: CompareRecipe,
    outcomes: Sequence[Outcome],
    evaluation: Evaluation,
    position: Mapping[str, PositionBias],
    popularity: Mapping[str, PopularityBias],
) -> pl.DataFrame:
    """Return a row for each variant and the incoming order, the best by the first metric first, failed ones last.

    Costs are of all that a variant asks for, whether it was computed or cached: prompts, answers (scored or written),
    tokens read and written, money. ``computed`` and ``cached`` count the answers of this run. ``order_kept`` is the
    mean correlation of ranks with the incoming order, ``popularity_shift`` by how many percentiles the first items are
    more popular than the candidates. Each metric ``m`` has the columns ``m mean``, ``m low`` and so on.
    """
    users = evaluation.table.filter(pl.col("group") == ALL)["queries"][0]
    rows = [{"variant": INCOMING, **_quality(evaluation, INCOMING)}]
    for outcome in outcomes:
        name = outcome.variant.name
        row = {**_identity(outcome), "error": outcome.error or None}
        if outcome.ranked is not None:
            row |= _cost(outcome, recipe, users) | _quality(evaluation, name)
            row |= {
                "order_kept": _mean(position[name].kept),
                "popularity_shift": _mean(popularity[name].shift),
            }
        rows.append(row)
    measured = {f"{metric} {name}": pl.Float64() for metric in evaluation.metrics for name in QUALITY}
    board = pl.DataFrame(rows, schema={**FACTS, **measured})
    return board.sort(f"{evaluation.metrics[0]} mean", descending=True, nulls_last=True, maintain_order=True)


def _identity(outcome: Outcome) -> Row:
    variant = outcome.variant
    return {
        "variant": variant.name,
        "strategy": variant.strategy.name,
        "template": setting(variant.strategy, "template"),
        "history": setting(variant.strategy, "history"),
        "engine": outcome.identity or variant.engine.name,
    }


def _cost(outcome: Outcome, recipe: CompareRecipe, users: int) -> Row:
    asked, counts = outcome.asked, outcome.counts or {}
    known = [counts[name] for name in UNREADABLE if name in counts]
    return {
        "prompts": asked.prompts,
        "answers": asked.cache_misses,
        "prompt_tokens": asked.prompt_tokens,
        "output_tokens": asked.output_tokens,
        "computed": outcome.spent.cache_misses,
        "cached": outcome.spent.cache_hits,
        "seconds": outcome.seconds,
        "users_per_second": users / outcome.seconds if outcome.seconds else None,
        "money": outcome.money(recipe.prices),
        "unreadable": sum(known) if known else None,
        "counts": ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or None,
    }


def _quality(evaluation: Evaluation, method: str) -> Row:
    table = evaluation.table.filter((pl.col("group") == ALL) & (pl.col("method") == method))
    return {f"{row['metric']} {name}": row[name] for row in table.iter_rows(named=True) for name in QUALITY}


def _mean(values: NDArray[np.float64]) -> float | None:
    real = values[np.isfinite(values)]
    return float(real.mean()) if len(real) else None
