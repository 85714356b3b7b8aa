"""Features learned from a data set: codes of categories, scales of numbers, statistics of each moment, text vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast, get_args

import numpy as np
import polars as pl

from llmrec.classic.ranking.base.categories import PADDING, UNKNOWN, column_codes, id_codes
from llmrec.classic.ranking.base.examples import ExamplesConfig, chosen_labels, likes_above
from llmrec.classic.ranking.base.rows import Rows
from llmrec.classic.ranking.base.statistics import Tally, Totals, popularity, rate
from llmrec.classic.ranking.features import PREFIX, Arrays, FeatureConfig, FeatureSpace, Statistic
from llmrec.classic.recall.base.side import USUAL_COLUMNS
from llmrec.classic.recall.text import embed_texts, item_texts
from llmrec.data import Dataset
from llmrec.data.files import require_columns
from llmrec.errors import ConfigError, DataError
from llmrec.llm.embedding import make_embedder
from llmrec.protocols import FloatArray, Watch

USER_COLUMNS = ("gender", "age", "occupation")
Tallies = dict[str, tuple[Tally, Callable[[Totals], FloatArray]]]


def learn_features(
    data: Dataset, rows: Rows, config: FeatureConfig, examples: ExamplesConfig, watch: Watch
) -> tuple[FeatureSpace, FloatArray]:
    """Return the features of a data set and the numeric ones of its training rows, float32 (n, number_names).

    An item's statistics at a row are those of its moment; the space keeps what they are after all events. A number
    that is missing, and one that is the same everywhere, is 0 after scaling: it says nothing.

    Raises:
        ConfigError: a name that is no feature.
        DataError: a column is missing or of another kind, or the data has no clock for an item's statistics.
    """
    config = resolve(data, config, examples)
    tallies, n_items = _tallies(data, config, examples), len(data.items)
    arrays = {**_categories(data, config), **_numbers(data, config)}
    arrays |= {PREFIX + name: formula(tally.final) for name, (tally, formula) in tallies.items()}
    if config.category is not None:
        everywhere, where = np.ones(n_items, np.int64), _where(data, "item")
        codes, _ = column_codes(data.item_table, config.category, everywhere, where=where, buckets=None, min_count=0)
        arrays[PREFIX + "members"] = np.where(codes > UNKNOWN, codes, -1)
    if config.texts:
        vectors = embed_texts(make_embedder(config.embedder), item_texts(data, config.texts), watch)
        arrays[PREFIX + "texts"] = np.concatenate([np.zeros_like(vectors[:1]), vectors])
    columns = len(config.numbers) + len(config.statistics or ())
    unscaled = FeatureSpace(config, {**arrays, **_scales(np.zeros((1, columns), np.float32))})
    raw = unscaled.raw(rows, lambda name: _at_moment(tallies[name], rows))
    scales = _scales(raw)
    space = FeatureSpace(config, {**_filled(arrays, scales[PREFIX + "mean"]), **scales})
    return space, space.scaled(raw)


def resolve(data: Dataset, config: FeatureConfig, examples: ExamplesConfig) -> FeatureConfig:
    """Return the config with what its nulls stand for in this data set, and numbers of users before those of items.

    Raises:
        ConfigError: a name is no feature, or buckets are given for what is no category.
        DataError: a statistic needs what the data set lacks.
    """
    category = config.category or next((name for name in USUAL_COLUMNS if name in data.item_table.columns), None)
    possible = _possible(data, examples, category)
    statistics = tuple(name for name in get_args(Statistic) if name in possible)
    if config.statistics is not None:
        statistics = config.statistics
        if wrong := [name for name in statistics if name not in possible]:
            raise DataError(
                f"statistic {wrong[0]!r} of {data.name!r}",
                expected="a clock for those of items, values that differ for rates, an item column for categories",
                cure=f"choose from {', '.join(sorted(possible))}",
            )
    categories = _usual(data) if config.categories is None else config.categories
    for name in (*categories, *config.numbers):
        owner, _, column = name.partition(".")
        if owner not in {"user", "item"} or (not column and name in config.numbers):
            raise ConfigError(
                f"feature {name!r}", expected="user.COLUMN or item.COLUMN", cure="say whose column it is, as item.year"
            )
    if strange := sorted(config.buckets.keys() - set(categories)):
        raise ConfigError(f"buckets of {strange[0]!r}", expected="one of the categories", cure="add it to them")
    used = category if any("category" in name for name in statistics) else None
    numbers = tuple(sorted(config.numbers, key=lambda name: not name.startswith("user.")))
    found = {"categories": categories, "numbers": numbers, "statistics": statistics, "category": used}
    return config.model_copy(update=found)


def _possible(data: Dataset, examples: ExamplesConfig, category: str | None) -> set[str]:
    """Return the statistics that a data set allows."""
    rated = likes_above(data, examples) is not None
    shown = chosen_labels(data, examples) == "impressions"
    found = {"user-activity"}
    found |= {"user-rate"} if rated else set()
    found |= {"item-popularity"} if data.clock else set()
    found |= {"item-rate"} if data.clock and (rated or shown) else set()
    found |= {"user-category-share"} if category else set()
    return found | ({"user-category-rate"} if category and rated else set())


def _usual(data: Dataset) -> tuple[str, ...]:
    users = () if data.user_table is None else data.user_table.columns
    of_users = [f"user.{name}" for name in USER_COLUMNS if name in users]
    of_items = [f"item.{name}" for name in USUAL_COLUMNS if name in data.item_table.columns]
    return ("user", "item", *of_users, *of_items)


def _tallies(data: Dataset, config: FeatureConfig, examples: ExamplesConfig) -> Tallies:
    """Return what the wanted statistics of items are counted from."""
    names, n_items, events, found = config.statistics or (), len(data.items), data.interactions, Tallies()
    if "item-popularity" in names:
        tally = Tally(events.items, events.times, np.ones(len(events), np.bool_), n_items)
        found["item-popularity"] = tally, lambda totals: popularity(totals, n_items)
    if "item-rate" in names:
        shown = data.impressions
        if chosen_labels(data, examples) == "impressions" and shown is not None:
            lists = np.repeat(np.arange(len(shown)), np.diff(shown.offsets))
            there = shown.labelled[lists]
            tally = Tally(shown.items[there], shown.times[lists[there]], shown.clicked[there], n_items)
        else:
            tally = Tally(events.items, events.times, events.values > examples.like_above, n_items)
        found["item-rate"] = tally, rate
    return found


def _at_moment(counted: tuple[Tally, Callable[[Totals], FloatArray]], rows: Rows) -> FloatArray:
    tally, formula = counted
    return formula(tally.final)[rows.items] if rows.times is None else formula(tally.before(rows.items, rows.times))


def _categories(data: Dataset, config: FeatureConfig) -> Arrays:
    """Return codes and sizes of the categories; the first row of an unseen user is unknown, that of no item padding."""
    events, arrays = data.interactions, {}
    counts = {
        "user": np.bincount(events.users, minlength=len(data.users)),
        "item": np.bincount(events.items, minlength=len(data.items)),
    }
    for name in config.categories or ():
        owner, _, column = name.partition(".")
        buckets = config.buckets.get(name)
        if column:
            table, where = _table(data, owner), _where(data, owner)
            codes, size = column_codes(
                table, column, counts[owner], where=where, buckets=buckets, min_count=config.min_count
            )
        else:
            codes, size = id_codes(counts[owner], buckets=buckets, min_count=config.min_count)
        nobody = np.full((1, codes.shape[1]), PADDING, np.int32)
        nobody[0, -1] = UNKNOWN if owner == "user" else PADDING
        arrays[f"{PREFIX}codes.{name}"] = np.concatenate([nobody, codes])
        arrays[f"{PREFIX}size.{name}"] = np.array(size)
    return arrays


def _numbers(data: Dataset, config: FeatureConfig) -> dict[str, FloatArray]:
    """Return the columns of numbers of users and items, NaN where missing, the first row of nobody."""
    made = {}
    for owner, n in (("user", len(data.users)), ("item", len(data.items))):
        columns = [name.partition(".")[2] for name in config.numbers if name.startswith(f"{owner}.")]
        values = np.full((n + 1, len(columns)), np.nan, np.float32)
        for place, column in enumerate(columns):
            values[1:, place] = _numeric(_table(data, owner), column, where=_where(data, owner))
        made[f"{PREFIX}{owner}_numbers"] = values
    return made


def _numeric(table: pl.DataFrame, column: str, *, where: str) -> FloatArray:
    require_columns(table, [column], where=where)
    series = table[column]
    if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
        raise DataError(
            f"column {column!r} of {where} holds {series.dtype}", expected="numbers", cure="make it a category instead"
        )
    values = series.cast(pl.Float32).fill_null(np.nan).to_numpy()
    return cast("FloatArray", np.where(np.isfinite(values), values, np.float32(np.nan)))


def _scales(raw: FloatArray) -> Arrays:
    """Return the mean of each column and what makes its deviation 1, missing values left out; 0 where none differ."""
    there = ~np.isnan(raw)
    values, counts = np.where(there, raw, 0).astype(np.float64), np.maximum(there.sum(axis=0), 1)
    mean = values.sum(axis=0) / counts
    std = np.sqrt((np.where(there, values - mean, 0) ** 2).sum(axis=0) / counts)
    says = std > 1e-6 * np.maximum(np.abs(mean), 1)
    scale = np.where(says, 1 / np.where(says, std, 1), 0)
    return {PREFIX + "mean": mean.astype(np.float32), PREFIX + "scale": scale.astype(np.float32)}


def _filled(arrays: Arrays, mean: FloatArray) -> dict[str, FloatArray]:
    """Return the arrays with the mean for each number that is missing."""
    filled, start = dict(arrays), 0
    for name in (f"{PREFIX}user_numbers", f"{PREFIX}item_numbers"):
        end = start + arrays[name].shape[1]
        filled[name] = np.where(np.isnan(arrays[name]), mean[start:end], arrays[name])
        start = end
    return filled


def _table(data: Dataset, owner: str) -> pl.DataFrame:
    table = data.item_table if owner == "item" else data.user_table
    if table is None:
        raise DataError(
            f"data set {data.name!r} without a user table", expected="one with the column", cure="drop user.… features"
        )
    return table


def _where(data: Dataset, owner: str) -> str:
    return f"the {owner} table of {data.name!r}"
