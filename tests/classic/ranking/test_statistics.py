"""Statistics of a moment: by hand, by counting, and never of later events."""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.classic.ranking.base.examples import ExamplesConfig, event_rows
from llmrec.classic.ranking.base.rows import Rows
from llmrec.classic.ranking.encoding import learn_features
from llmrec.classic.ranking.features import FeatureConfig
from llmrec.data import Dataset, Impressions, Interactions, Vocabulary
from llmrec.errors import DataError
from llmrec.protocols import UNWATCHED
from llmrec.testing import expect_error, toy

RATINGS = ExamplesConfig(labels="ratings")
KINDS = [["a"], ["a", "b"], ["b"], []]
ALL = FeatureConfig(categories=("item.categories",), min_count=1, history=2)


def rated(events) -> Dataset:
    """Return the data set of (user, item, time, value), four items with the categories of ``KINDS``."""
    users, items, times, values = zip(*events, strict=True)
    return Dataset(
        "rated",
        Interactions.sort(users, items, times, values),
        Vocabulary(range(3)),
        Vocabulary(range(4)),
        pl.DataFrame({"categories": KINDS}, schema={"categories": pl.List(pl.String)}),
    )


def unscaled(data: Dataset, config: FeatureConfig = ALL, examples: ExamplesConfig = RATINGS):
    """Return the rows of a data set, and its statistics by name before they are scaled."""
    rows = event_rows(data, examples, np.random.default_rng(0))
    space, scaled = learn_features(data, rows, config, examples, UNWATCHED)
    mean, scale = space.arrays["features.mean"], space.arrays["features.scale"]
    raw = np.where(scale > 0, scaled / np.where(scale > 0, scale, 1), 0) + mean
    return rows, dict(zip(space.number_names, raw.T, strict=True))


def test_statistics_by_hand():
    """User 0: item 0 liked at 10, items 1 (liked) and 2 (not) both at 20, item 1 again at 30; user 1: item 0 at 20."""
    data = rated([(0, 0, 10, 5), (0, 1, 20, 5), (0, 2, 20, 1), (1, 0, 20, 1), (0, 1, 30, 2)])
    rows, found = unscaled(data)
    assert rows.items.tolist() == [0, 1, 2, 1, 0]
    assert rows.labels.tolist() == [1, 1, 0, 0, 0]
    # Events before: none; one of item 0; the same; four, one of them item 1's; one, item 0's own.
    np.testing.assert_allclose(found["item-popularity"], np.log1p([0, 0, 0, 1 * 4 / 4, 1 * 4 / 1]), rtol=1e-5)
    # (own likes + 10 m) / (own events + 10), m the share of likes among all events before: ½, 1, 1, 2/4, 1.
    np.testing.assert_allclose(found["item-rate"], [0.5, 1, 1, (1 + 5) / 11, (1 + 10) / 11], rtol=1e-5)
    np.testing.assert_allclose(found["user-activity"], np.log1p([0, 1, 1, 2, 0]), rtol=1e-5)
    # The newest two events before 30 are items 1 and 2: one liked.
    np.testing.assert_allclose(found["user-rate"], [0.5, 2 / 3, 2 / 3, 2 / 4, 0.5], rtol=1e-5)
    # Item 1 is of a and b, had had a: (1 + 0) / 2; item 2 of b: 0; items 1 and 2 had a once and b twice: (½ + 1) / 2.
    np.testing.assert_allclose(found["user-category-share"], [0, 0.5, 0, 0.75, 0], rtol=1e-5, atol=1e-7)
    # a: item 1 liked; b: item 1 liked, item 2 not: (2 + 1) / (3 + 2).
    np.testing.assert_allclose(found["user-category-rate"], [0.5, 2 / 3, 0.5, 3 / 5, 0.5], rtol=1e-5)


EVENTS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 6), st.sampled_from([1.0, 5.0])),
    min_size=4,
    max_size=25,
)


def both(events) -> bool:
    return len({value for *_, value in events}) == 2


@settings(max_examples=60)
@given(EVENTS.filter(both), EVENTS, st.integers(1, 6))
def test_what_comes_later_or_in_the_same_second_changes_nothing(events, later, cut):
    """Rows before a moment keep their statistics, and rows at it do, whatever else happens from that second on."""
    early = [event for event in events if event[2] < cut]
    if not early or not both(early):
        return
    extended = early + [(user, item, max(time, cut - 1), value) for user, item, time, value in later]
    there = unscaled(rated(early))
    more = unscaled(rated(extended))
    for name, values in there[1].items():
        before = _by_event(there[0], values)
        after = _by_event(more[0], more[1][name])
        last = cut - 1
        for key, value in before.items():
            if key[2] <= last:
                np.testing.assert_allclose(after[key], value, rtol=1e-4, atol=1e-5, err_msg=f"{name} of {key}")


def _by_event(rows: Rows, values):
    """Return the statistic of each user, item and second: the same for all events of it."""
    return dict(zip(zip(rows.users, rows.items, rows.times.tolist(), strict=True), values, strict=True))


@settings(max_examples=40)
@given(EVENTS.filter(both))
def test_statistics_are_what_counting_event_by_event_gives(events):
    rows, found = unscaled(rated(events), ALL.model_copy(update={"history": 3}))
    ordered = sorted(events, key=lambda event: event[2])
    for row in range(len(rows)):
        user, item, time = int(rows.users[row]), int(rows.items[row]), int(rows.times[row])
        before = [event for event in ordered if event[2] < time]
        own = [event for event in before if event[1] == item]
        mine = [event for event in before if event[0] == user][-3:]
        mean = sum(event[3] > 3 for event in before) / len(before) if before else 0.5
        rate = (sum(event[3] > 3 for event in own) + 10 * mean) / (len(own) + 10)
        assert found["item-rate"][row] == pytest.approx(rate, abs=1e-5)
        popularity = np.log1p(len(own) * 4 / len(before)) if before else 0
        assert found["item-popularity"][row] == pytest.approx(popularity, abs=1e-5)
        pairs = [(event, kind) for event in mine for kind in KINDS[item] if kind in KINDS[event[1]]]
        share = len(pairs) / max(len(mine) * len(KINDS[item]), 1)
        assert found["user-category-share"][row] == pytest.approx(share, abs=1e-5)
        liked = sum(event[3] > 3 for event, _ in pairs)
        assert found["user-category-rate"][row] == pytest.approx((liked + 1) / (len(pairs) + 2), abs=1e-5)


def test_clicks_of_impressions_give_the_rate():
    data = toy()
    shown = Impressions([0, 1, 2], [50, 60, 60], [0, 2, 4, 5], [4, 5, 4, 6, 4], [True, False, False, True, True])
    data = Dataset("shown", data.interactions, data.users, data.items, data.item_table, impressions=shown)
    rows, found = unscaled(data, FeatureConfig(min_count=1), ExamplesConfig())
    assert rows.labels.tolist() == [1, 0, 0, 1, 1]
    assert rows.lists.tolist() == [0, 0, 1, 1, 2]
    # Nothing was shown before 50; then item 4 once, clicked, and item 5 once, not: half of all.
    np.testing.assert_allclose(found["item-rate"], [0.5, 0.5, 6 / 11, 5 / 10, 6 / 11], rtol=1e-5)
    assert (rows.last - rows.first).tolist() == [4, 4, 3, 3, 3]


def test_serving_counts_all_training_events():
    data = rated([(0, 0, 10, 5), (0, 1, 20, 5), (0, 2, 20, 1), (1, 0, 20, 1), (0, 1, 30, 2)])
    rows = event_rows(data, RATINGS, np.random.default_rng(0))
    space, _ = learn_features(data, rows, ALL, RATINGS, UNWATCHED)
    np.testing.assert_allclose(space.arrays["features.item-popularity"], np.log1p(np.array([2, 2, 1, 0]) * 4 / 5))
    rate = [(1 + 4) / 12, (1 + 4) / 12, 4 / 11, 4 / 10]  # two of five events were liked
    np.testing.assert_allclose(space.arrays["features.item-rate"], rate, rtol=1e-6)


def test_statistics_that_the_data_does_not_allow_are_named():
    no_clock = Dataset("ordered", toy().interactions, toy().users, toy().items, toy().item_table, clock=False)
    rows = event_rows(no_clock, ExamplesConfig(), np.random.default_rng(0))
    space, _ = learn_features(no_clock, rows, FeatureConfig(), ExamplesConfig(), UNWATCHED)
    assert space.config.statistics == ("user-activity",)
    for name in ("item-popularity", "user-rate", "user-category-share"):
        config = FeatureConfig(statistics=(name,))
        expect_error(
            DataError, partial(learn_features, no_clock, rows, config, ExamplesConfig(), UNWATCHED), name, "clock"
        )
