"""Which channels are worth keeping: what each brings to a fusion that no other does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmrec.classic.recall.fusion.channels import Channels
from llmrec.classic.recall.fusion.union import union
from llmrec.data import Candidates, Targets
from llmrec.data.split import first_in_row
from llmrec.errors import DataError
from llmrec.eval.metrics import compute

BLOCK = 1 << 22  # items of all lists that are compared at once
ALL, SHARED = "(all)", "shared with "
Counts = NDArray[np.float64]


def channel_report(
    channels: Channels, fuse: Callable[[Channels], Candidates], targets: Targets | None = None
) -> pl.DataFrame:
    """Return one row for each channel, and one for all of them fused.

    Each channel is judged by its first k candidates, k being the width of the fusion: what it would give if it were
    the only one.

    ===================  ===========================================================================================
    column               meaning
    ===================  ===========================================================================================
    channel              its name; ``(all)`` in the last row, which is of the fused candidates
    candidates           how many it has for a query, on average
    in fusion            share of the fused candidates that it has
    alone                share of the fused candidates that it alone has
    shared with X        share of its candidates that channel X has as well
    hr@k                 share of queries with a relevant item among them
    hits alone           share of the relevant items found by the fusion that it alone has
    hr@k without         hr@k of the fusion of the other channels: where it is no lower, the channel can go
    ===================  ===========================================================================================

    The last three are there with labelled targets only. ``hr@k without`` fuses the lists again, once for each channel.

    Args:
        channels: what was fused.
        fuse: how; called with all channels, and with all but one.
        targets: the same queries with their relevant items, or None.

    Raises:
        DataError: there are not as many targets as queries.
    """
    fused = fuse(channels)
    labels = targets if targets is not None and targets.labelled else None
    if targets is not None and len(targets) != len(fused):
        raise DataError(
            f"{len(targets)} targets for channels of {len(fused)} queries",
            expected="the same queries",
            cure="report on the part that was recalled for",
        )
    first = Channels(channels.names, tuple(one.top(fused.items.shape[1]) for one in channels.lists))
    shared, alone, hits_alone, hits = _count(first, fused, labels)
    size = np.maximum(np.diag(shared), 1)
    columns: dict[str, object] = {
        "channel": [*channels.names, ALL],
        "candidates": np.diag(shared) / max(len(fused), 1),
        "in fusion": shared[:, -1] / size[-1],
        "alone": [*alone / size[-1], None],
    }
    columns |= {f"{SHARED}{name}": shared[:, number] / size for number, name in enumerate(channels.names)}
    if labels is not None:
        columns |= _hit_rates(channels, fuse, fused, labels)
        columns["hits alone"] = [*hits_alone / max(hits, 1), None]
    return pl.DataFrame(columns)


def _count(channels: Channels, fused: Candidates, labels: Targets | None) -> tuple[Counts, Counts, Counts, float]:
    """Return what is counted over all queries.

    Returns:
        Candidates that each two lists share (m + 1, m + 1), the fused one last; fused candidates that each channel
        alone has (m,); how many of these are hits (m,); hits of the fusion.
    """
    m = len(channels.names)
    shared, alone, hits_alone, hits = np.zeros((m + 1, m + 1)), np.zeros(m), np.zeros(m), 0.0
    width = sum(one.items.shape[1] for one in (*channels.lists, fused))
    step = max(1, BLOCK // max(1, width * (m + 2)))
    for start in range(0, len(fused), step):
        rows = slice(start, start + step)
        lists = [*channels.select(rows).lists, fused.select(rows)]
        if labels is not None:
            relevant = first_in_row(labels.relevant[rows])
            lists.append(Candidates(relevant, np.zeros(relevant.shape, np.float32)))
        held = _membership(lists)
        here = held[:, : m + 1]
        shared += here.T @ here
        only = here[:, :m] * ((here[:, :m].sum(axis=1) == 1) & (here[:, m] > 0))[:, None]
        alone += only.sum(axis=0)
        if labels is not None:
            hits += float(here[:, m] @ held[:, -1])
            hits_alone += only.T @ held[:, -1]
    return shared, alone, hits_alone, hits


def _membership(lists: list[Candidates]) -> Counts:
    """Return 1 where a list holds an item of a row, (items of all rows, lists)."""
    items, columns = union(lists)
    held = np.zeros((len(items), items.shape[1] + 1, len(lists)))
    for number, column in enumerate(columns):
        np.put_along_axis(held[:, :, number], column, 1, axis=1)
    return np.asarray(held[:, :-1][items >= 0])


def _hit_rates(
    channels: Channels, fuse: Callable[[Channels], Candidates], fused: Candidates, labels: Targets
) -> dict[str, object]:
    """Return the hit rates of each channel and of the fusion, and those of the fusion without each."""
    metric = f"hr@{fused.items.shape[1]}"

    def rate(candidates: Candidates) -> float:
        return float(compute(candidates, labels, [metric])[metric].mean()) if len(labels) else 0.0

    without = [rate(fuse(channels.without(name))) if len(channels.names) > 1 else None for name in channels.names]
    return {metric: [rate(one) for one in (*channels.lists, fused)], f"{metric} without": [*without, None]}
