"""Lint of events: what training and histories have from the future, and targets that hang on the order of ties."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from llmrec.data_prep.lint.evidence import EXAMPLES, NEVER, NOWHERE, PARTS, TEST, TRAIN, VALID, Evidence, Finding

WHOLE_SECONDS = frozenset({"global-time-cut", "impression-time", "per-user-ratio"})
"""Rules in which an event without a side was met before or not clicked; elsewhere it competes for the place."""


def event_findings(evidence: Evidence) -> Iterator[Finding]:
    """Yield the findings of ``future-in-training``, ``future-in-history``, ``others-future``, ``unstable-ties``."""
    yield from _future_in_training(evidence)
    yield from _future_in_history(evidence)
    yield from _others_future(evidence)
    yield from _unstable_ties(evidence)


def _future_in_training(evidence: Evidence) -> Iterator[Finding]:
    split, train = evidence.split, evidence.split.train.interactions
    first = np.full(len(evidence.data.users), NEVER)
    for part in PARTS:
        users = split.part(part).queries.users
        np.minimum.at(first, users[users >= 0], evidence.moments[part][users >= 0])
    late = np.flatnonzero(train.times >= first[train.users])
    if len(late):
        yield Finding(
            "future-in-training",
            "leak",
            len(late),
            f"{len(late)} training events lie at or after a target of their user",
            tuple(
                f"{evidence.name(train.users[row], train.items[row])} at {train.times[row]}, "
                f"target at {first[train.users[row]]}"
                for row in late[:EXAMPLES]
            ),
        )


def _future_in_history(evidence: Evidence) -> Iterator[Finding]:
    for part in PARTS:
        early = _unlived(evidence, part)
        if early.height:
            count = early["row"].n_unique()
            yield Finding(
                "future-in-history",
                "leak",
                count,
                f"{count} {part} queries have items in their history that their user had not met before the target",
                tuple(evidence.name(row["user"], row["item"]) for row in early.head(EXAMPLES).iter_rows(named=True)),
            )


def _unlived(evidence: Evidence, part: str) -> pl.DataFrame:
    """Return row, user, item where a history holds an item more often than its user has events before the moment."""
    queries, moments = evidence.split.part(part).queries, evidence.moments[part]
    row, column = np.nonzero((queries.history >= 0) & ((queries.users >= 0) & (moments < NEVER))[:, None])
    held = (
        pl.DataFrame({"row": row, "item": queries.history[row, column]})
        .with_columns(user=queries.users[row], moment=moments[row])
        .group_by("row", "user", "item", "moment")
        .len("held")
    )
    lived = (
        held.join(evidence.events, on=["user", "item"], how="left")
        .group_by("row", "user", "item", "held")
        .agg(lived=(pl.col("time") < pl.col("moment")).sum())
    )
    return lived.filter(pl.col("held") > pl.col("lived")).sort("row", "item")


def _others_future(evidence: Evidence) -> Iterator[Finding]:
    if not evidence.data.clock:
        return
    parts = PARTS if evidence.by_time else ("test",)
    first = min(int(evidence.moments[part].min(initial=NEVER)) for part in parts)
    train = evidence.split.train
    count = int((train.interactions.times >= first).sum())
    if train.impressions is not None:
        count += int((train.impressions.times >= first).sum())
    if count:
        yield Finding(
            "others-future",
            "leak" if evidence.by_time else "caution",
            count,
            f"{count} training events lie at or after the first {'or '.join(f'{part} ' for part in parts)}target, at "
            f"{first}: " + ("a cut by time keeps none" if evidence.by_time else "training knows what others did later"),
        )


def _unstable_ties(evidence: Evidence) -> Iterator[Finding]:
    together = (
        evidence.events.join(evidence.targets, on=["user", "time"], how="semi")
        .group_by("user", "time")
        .agg(pl.col("side").unique().alias("sides"))
    )
    competes = evidence.split.rule.get("name") not in WHOLE_SECONDS
    rivals = [TRAIN, VALID, TEST, *([NOWHERE] if competes else [])]
    torn = (
        evidence.targets.join(together, on=["user", "time"], how="inner", maintain_order="left")
        .explode("sides")
        .filter(pl.col("sides").is_in(rivals) & (pl.col("sides") != pl.col("side")))
        .unique(["side", "row", "item"], maintain_order=True)
    )
    if torn.height:
        yield Finding(
            "unstable-ties",
            "caution",
            torn.height,
            f"{torn.height} targets share their time with an event of their user on another side: an unstable sort "
            "would exchange them",
            tuple(
                f"{evidence.name(row['user'], row['item'])} at {row['time']}"
                for row in torn.head(EXAMPLES).iter_rows(named=True)
            ),
        )
