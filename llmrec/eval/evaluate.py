"""Compare methods on the same targets: means with intervals, paired tests against a baseline, groups apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.data import Candidates, Dataset, Targets
from llmrec.data.files import atomic_file, write_json
from llmrec.errors import DataError, UnknownNameError, did_you_mean
from llmrec.eval.lists import ItemFacts, list_metrics
from llmrec.eval.metrics import FORMULAS, LISTS, WHOLE, Metric, PerQuery, compute, coverage, gini
from llmrec.eval.significance import bootstrap_interval, holm, paired_test

METRICS = ("hr@10", "recall@10", "precision@10", "ndcg@10", "mrr@10", "map@10", "coverage@10")
LOWER_IS_BETTER = ("gini", "lift")
ALL = "all"
TABLE = pl.Schema(
    {
        "method": pl.String(),
        "metric": pl.String(),
        "group": pl.String(),
        "mean": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "difference": pl.Float64(),
        "diff_low": pl.Float64(),
        "diff_high": pl.Float64(),
        "p": pl.Float64(),
        "p_holm": pl.Float64(),
        "queries": pl.Int64(),
    }
)

Mask = NDArray[np.bool_]
_Row = dict[str, object]
_Runs = tuple[Candidates, ...]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What ``evaluate`` found.

    Attributes:
        table: a row for each method, metric and group (``all`` and those asked for): ``mean`` with its 95 % interval
            (``low``, ``high``); against the baseline the mean ``difference`` with its interval (``diff_low``,
            ``diff_high``), the ``p`` of the paired test and ``p_holm``, corrected for the number of methods compared
            on that metric in that group; how many ``queries``. Null: there is no such number (the baseline against
            itself, a coverage's interval, an empty group).
        per_query: a row for each query number, method and metric with its value over all relevant items.
        baseline: the method that the others are compared with, or None.
        lower_is_better: the metrics of which the lowest value is the best.
    """

    table: pl.DataFrame
    per_query: pl.DataFrame
    baseline: str | None = None
    lower_is_better: tuple[str, ...] = ()

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods in the order given."""
        return tuple(self.table["method"].unique(maintain_order=True))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics in the order given."""
        return tuple(self.table["metric"].unique(maintain_order=True))

    @property
    def groups(self) -> tuple[str, ...]:
        """``all``, then the other groups in the order given."""
        return tuple(self.table["group"].unique(maintain_order=True))

    def save(self, folder: Path | str) -> Path:
        """Write ``metrics.parquet`` and ``metrics.json`` (the table) and ``per_query.parquet`` into ``folder``."""
        folder = Path(folder)
        for name, frame in (("metrics.parquet", self.table), ("per_query.parquet", self.per_query)):
            with atomic_file(folder / name) as temporary:
                frame.write_parquet(temporary)
        write_json(folder / "metrics.json", {"baseline": self.baseline, "metrics": self.table.to_dicts()})
        return folder


def evaluate(
    methods: Mapping[str, Candidates | Sequence[Candidates]],
    targets: Targets,
    *,
    n_items: int,
    metrics: Sequence[str] = METRICS,
    baseline: str | None = None,
    groups: Mapping[str, Mask] | None = None,
    facts: ItemFacts | None = None,
    seed: int = 0,
) -> Evaluation:
    """Evaluate candidates of several methods for the same targets.

    Args:
        methods: name -> candidates (q, k'), or several of them, such as those of several seeds: what a method is worth
            at a query is then their mean.
        targets: q queries with their relevant items.
        n_items: size of the catalogue, for coverage and gini.
        metrics: names such as ``ndcg@10``.
        baseline: the method that all others are compared with.
        facts: what is known of items, for diversity, novelty, lift and serendipity.
        seed: of the bootstrap and the paired test.
        groups: name -> mask, reported apart from ``all``. A mask (q,) chooses queries. A mask of the shape of
            ``targets.relevant`` chooses relevant items: the others do not count, and queries without any are left out.

    Raises:
        DataError: nothing to evaluate, candidates for other targets, a mask of another shape, or no facts for a
            metric that asks them.
        UnknownNameError: no such metric or baseline.
    """
    parsed, rows = [Metric.parse(name) for name in dict.fromkeys(metrics)], []
    runs = {name: (each,) if isinstance(each, Candidates) else tuple(each) for name, each in methods.items()}
    _check(runs, targets, baseline)
    for group, part, chosen in _parts(targets, groups or {}):
        found = {name: tuple(run.select(chosen) for run in each) for name, each in runs.items()}
        values = {name: _values(each, part, parsed, facts) for name, each in found.items()}
        for metric in parsed:
            if metric.kind in WHOLE:
                cells = _compare_whole(found, metric, n_items, baseline)
            else:
                cells = _compare(values, str(metric), baseline, seed)
            about = {"metric": str(metric), "group": group, "queries": len(part)}
            rows += [{"method": name, **about, **cell} for name, cell in cells.items()]
    lower = tuple(str(metric) for metric in parsed if metric.kind in LOWER_IS_BETTER)
    return Evaluation(pl.DataFrame(rows, schema=TABLE), _long(runs, targets, parsed, facts), baseline, lower)


def user_groups(train: Dataset, targets: Targets) -> dict[str, Mask]:
    """Return masks (q,) of ``head users`` and ``tail users``: those with a history shorter than the median query's.

    The length of a history is the user's number of training events or what the query carries, whichever is more: a
    query's history may be cut to its newest items, and an unseen user has no training events.
    """
    queries = targets.queries
    counts = np.bincount(train.interactions.users, minlength=len(train.users))
    trained = np.append(counts, 0)[queries.users]  # -1, an unseen user, reads the 0 at the end
    length = np.maximum(trained, (queries.history >= 0).sum(axis=1))
    tail = length < np.median(length) if len(length) else np.zeros(0, np.bool_)
    return {"head users": ~tail, "tail users": tail}


def item_groups(train: Dataset, targets: Targets) -> dict[str, Mask]:
    """Return masks (q, r) of ``warm items`` and ``cold items``: relevant items with and without a training event."""
    counts = np.bincount(train.interactions.items, minlength=len(train.items))
    real = targets.relevant >= 0
    warm = real & (np.append(counts, 0)[targets.relevant] > 0)
    return {"warm items": warm, "cold items": real & ~warm}


def history_groups(targets: Targets, parts: int = 3) -> dict[str, Mask]:
    """Return masks (q,) of queries with short to long histories, about as many in each; none where all are as long.

    A length counts what the query carries, which may be cut to the newest items.
    """
    length = (targets.queries.history >= 0).sum(axis=1)
    if not len(length):
        return {}
    # A group ends with a length that occurs, so that no length is in two and none is empty.
    ends = np.unique(np.quantile(length, np.arange(1, parts + 1) / parts, method="inverted_cdf"))
    starts = [int(length.min()), *(int(length[length > end].min()) for end in ends[:-1])]
    if len(ends) < 2:
        return {}
    return {
        f"history {start}" if start == end else f"history {start} to {end}": (length >= start) & (length <= end)
        for start, end in zip(starts, ends.astype(int).tolist(), strict=True)
    }


def standard_groups(train: Dataset, targets: Targets) -> dict[str, Mask]:
    """Return head and tail users and warm and cold items."""
    return user_groups(train, targets) | item_groups(train, targets)


def _check(methods: Mapping[str, _Runs], targets: Targets, baseline: str | None) -> None:
    if not methods or not all(methods.values()) or not len(targets):
        raise DataError(
            f"{sum(map(bool, methods.values()))} methods on {len(targets)} targets",
            expected="at least one of each",
            cure="pass candidates and the targets that they were made for",
        )
    if baseline is not None and baseline not in methods:
        raise UnknownNameError(
            f"unknown baseline {baseline!r}", expected="one of the methods", cure=did_you_mean(baseline, methods)
        )
    for name, runs in methods.items():
        wrong = next((run for run in runs if len(run) != len(targets)), None)
        if wrong is not None:
            raise DataError(
                f"method {name!r} has {len(wrong)} rows of candidates for {len(targets)} targets",
                expected="one row for each query",
                cure="evaluate the targets that the candidates were made for",
            )


def _parts(targets: Targets, groups: Mapping[str, Mask]) -> Iterator[tuple[str, Targets, Mask]]:
    """Yield each group's name, its targets and the mask (q,) of its queries; ``all`` comes first."""
    yield ALL, targets, np.ones(len(targets), np.bool_)
    for name, given in groups.items():
        mask = np.asarray(given)
        if mask.dtype != np.bool_ or mask.shape not in {(len(targets),), targets.relevant.shape} or name == ALL:
            raise DataError(
                f"group {name!r} with a {mask.dtype} mask of shape {mask.shape}",
                expected=f"a name other than {ALL!r} and a bool mask of shape ({len(targets)},) for queries "
                f"or {targets.relevant.shape} for relevant items",
                cure="compute the mask from the same targets",
            )
        if mask.ndim == 1:
            yield name, targets.select(mask), mask
        else:
            relevant = np.where(mask, targets.relevant, -1)
            chosen = np.asarray((relevant >= 0).any(axis=1), np.bool_)
            yield name, Targets(targets.queries.select(chosen), relevant[chosen]), chosen


def _values(runs: _Runs, targets: Targets, metrics: Sequence[Metric], facts: ItemFacts | None) -> dict[str, PerQuery]:
    """Return the per-query values of the metrics that have some, means over the runs."""
    of_lists = [str(metric) for metric in metrics if metric.kind in LISTS]
    if of_lists and facts is None:
        raise DataError(
            f"metric {of_lists[0]!r} without facts about items",
            expected="how many users had each item, and what items are compared by",
            cure="pass facts=ItemFacts.of(train, vectors)",
        )
    found = [compute(run, targets, [str(metric) for metric in metrics if metric.kind in FORMULAS]) for run in runs]
    if facts is not None:
        of_runs = (list_metrics(run, targets, of_lists, facts) for run in runs)
        found = [{**one, **more} for one, more in zip(found, of_runs, strict=True)]
    return {name: np.asarray(np.mean([each[name] for each in found], axis=0), np.float64) for name in found[0]}


def _compare(
    by_metric: Mapping[str, Mapping[str, PerQuery]], metric: str, baseline: str | None, seed: int
) -> dict[str, _Row]:
    """Return the numbers of one metric in one group for each method; no query, no numbers."""
    values = {name: found[metric] for name, found in by_metric.items()}
    if not len(next(iter(values.values()))):
        return {name: {} for name in values}
    cells: dict[str, _Row] = {}
    p_values: dict[str, float] = {}
    for name, found in values.items():
        low, high = bootstrap_interval(found, seed=seed)
        # fsum: the mean does not depend on the order of the queries, not even in its last digit.
        cells[name] = {"mean": math.fsum(found) / len(found), "low": low, "high": high}
        if baseline is not None and name != baseline:
            test = paired_test(found, values[baseline], seed=seed)
            p_values[name] = test.p
            against = {"difference": test.difference, "diff_low": test.low, "diff_high": test.high, "p": test.p}
            cells[name] |= against
    for name, corrected in zip(p_values, holm(list(p_values.values())), strict=True):
        cells[name]["p_holm"] = float(corrected)
    return cells


def _compare_whole(methods: Mapping[str, _Runs], metric: Metric, n_items: int, baseline: str | None) -> dict[str, _Row]:
    """Return a coverage or Gini for each method: one number a batch; a resampled one covers less, so no interval."""
    cells: dict[str, _Row] = {name: {} for name in methods}
    formula = {"coverage": coverage, "gini": gini}[metric.kind]
    values = {
        name: math.fsum(formula(run, metric.k, n_items) for run in runs) / len(runs)
        for name, runs in methods.items()
        if len(runs[0])
    }
    for name, value in values.items():
        cells[name]["mean"] = value
        if baseline is not None and name != baseline:
            cells[name]["difference"] = value - values[baseline]
    return cells


def _long(
    methods: Mapping[str, _Runs], targets: Targets, metrics: Sequence[Metric], facts: ItemFacts | None
) -> pl.DataFrame:
    """Return the long table query, method, metric, value."""
    schema = {"query": pl.Int32, "method": pl.String, "metric": pl.String, "value": pl.Float64}
    parts = [
        pl.DataFrame({"query": np.arange(len(found), dtype=np.int32), "value": found}).select(
            "query", method=pl.lit(method), metric=pl.lit(metric), value="value"
        )
        for method, runs in methods.items()
        for metric, found in _values(runs, targets, metrics, facts).items()
    ]
    return pl.concat([pl.DataFrame(schema=schema), *parts])
