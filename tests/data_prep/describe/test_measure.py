import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc

from llmrec.data import Dataset, Impressions, Interactions, Queries, Split, Targets, Vocabulary
from llmrec.data_prep.describe import describe
from llmrec.data_prep.describe.description import Bars, Description, LongTail, Part, Shown, Spread, TextColumn, Timeline
from llmrec.data_prep.movielens import load_movielens
from llmrec.testing import toy

DAY = 86400


def of_events(users=(), items=(), times=None, values=None, **extra) -> Dataset:
    """A data set of four users and twelve items."""
    times = np.zeros(len(users)) if times is None else times
    return Dataset(
        name="small",
        interactions=Interactions.sort(users, items, times, values),
        users=Vocabulary(range(4)),
        items=Vocabulary(range(12)),
        item_table=extra.pop("item_table", pl.DataFrame(height=12)),
        **extra,
    )


def of_popularity(counts: list[int]) -> LongTail:
    """The long tail of items with so many events each."""
    items = np.repeat(np.arange(len(counts)), counts)
    events = Interactions.sort(np.zeros(len(items)), items, np.arange(len(items)))
    table = pl.DataFrame(height=len(counts))
    tail = describe(Dataset("p", events, Vocabulary([0]), Vocabulary(range(len(counts))), table)).long_tail
    assert tail is not None
    return tail


def test_the_toy_data_set_by_hand():
    found = describe(toy())
    assert found.counts == {
        "users": 5,
        "items": 7,
        "interactions": 16,
        "impressions": 0,
        "users_with_events": 5,
        "items_with_events": 6,
    }
    assert (found.name, found.source, found.licence, found.clock) == ("toy", "made by hand", "CC0", True)
    assert found.density == 16 / (5 * 6)
    assert found.repeated_pairs == 0
    # Events per user 4 3 3 3 3; per item 3 3 4 2 3 1: sorted 1 2 3 3 3 4, the lower quartile a quarter past the second.
    assert found.per_user == Spread(3, 3, 3, 3.2, 3, 4)
    assert found.per_item == Spread(1, 2.25, 3, 16 / 6, 3, 4)
    tail = found.long_tail
    assert (tail.top_1_percent, tail.top_10_percent, tail.top_20_percent) == (4 / 16, 4 / 16, 7 / 16)
    assert tail.items_for_80_percent == 4  # 4 + 3 + 3 + 3 = 13 of 16; three make 10, less than 12.8
    # 2 (1·1 + 2·2 + 3·3 + 4·3 + 5·3 + 6·4) / (6 · 16) - 7 / 6
    assert tail.gini == pytest.approx(3 / 16)
    assert tail.ranks.x == (1, 2, 3, 4, 5, 6)
    assert tail.ranks.y == (4, 3, 3, 3, 2, 1)
    assert tail.shares.y == tuple(np.array([0, 4, 7, 10, 13, 15, 16]) / 16)
    assert found.users_by_events == Bars((3, 4, 6), (4, 1), logarithmic=True)


def test_shares_count_whole_items_rounded_up():
    tail = of_popularity([1] * 700)
    # 1 % of 700 is 7; as a float it is a little more, and would become 8.
    assert (tail.top_1_percent, tail.top_10_percent, tail.top_20_percent) == (7 / 700, 70 / 700, 140 / 700)
    assert tail.items_for_80_percent == 560
    assert of_popularity([1] * 701).top_1_percent == 8 / 701


def test_many_events_are_counted_in_steps(monkeypatch):
    whole = describe(toy())
    monkeypatch.setattr(
        "llmrec.data_prep.describe.measure.STEP", 3
    )  # of at least seven events, as there are seven items
    assert describe(toy()) == whole


def test_users_fall_into_bars_that_grow():
    users = np.repeat([0, 1, 2, 3], [1, 5, 6, 11])
    found = describe(of_events(users, np.zeros(23)))
    assert found.users_by_events == Bars((1, 2, 3, 4, 6, 8, 11, 16), (1, 0, 0, 1, 1, 0, 1), logarithmic=True)


def test_repeated_pairs_and_density():
    # Pairs (0, 0) three times, (1, 0) once, (0, 1) twice: six events, three cells of two by two.
    found = describe(of_events([0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 1]))
    assert found.repeated_pairs == 3
    assert found.density == 3 / 4


def test_events_that_share_a_second_with_another_of_the_same_user():
    found = describe(of_events([0, 0, 0, 1, 1, 2, 0], [0, 1, 2, 0, 1, 0, 3], [5, 5, 5, 5, 6, 5, 7]))
    assert found.time.shared_seconds == 3


def test_a_timeline_has_the_largest_unit_with_enough_bars():
    day = 1_577_836_800  # 2020-01-01
    found = describe(of_events([0, 1, 2], [0, 1, 2], [day + 3 * DAY + 3600, day, day + 24 * DAY + 7]))
    span = found.time
    assert (span.first, span.last, span.days) == ("2020-01-01", "2020-01-25", 24 + 7 / DAY)
    assert span.timeline.unit == "day"
    assert span.timeline.starts[:2] == ("2020-01-01T00:00:00", "2020-01-02T00:00:00")
    assert span.timeline.starts[-1] == "2020-01-25T00:00:00"
    assert span.timeline.counts == (1, 0, 0, 1, *[0] * 20, 1)
    months = describe(of_events([0, 0], [0, 1], [day - 1, day + 23 * 31 * DAY])).time.timeline
    assert months.unit == "month"
    assert months.starts[:2] == ("2019-12-01T00:00:00", "2020-01-01T00:00:00")
    assert sum(months.counts) == 2
    second = describe(of_events([0], [0], [day + 61])).time
    assert second.timeline == Timeline("minute", ("2020-01-01T00:01:00",), (1,))


def test_a_clock_that_never_was_gives_no_timeline():
    milliseconds = [1_577_836_800_000, 1_577_836_900_000]
    span = describe(of_events([0, 0], [0, 1], milliseconds)).time
    assert span.first.startswith("51969-")
    assert span.timeline is None


def test_without_a_clock_there_is_no_time():
    assert describe(of_events([0, 0], [0, 1], [1, 2], clock=False)).time is None


def test_few_values_are_counted_each():
    found = describe(of_events([0] * 5, range(5), values=[0.1, 5, 0.1, np.nan, 3])).values
    assert (found.distinct, found.missing, found.bars) == (3, 1, None)
    assert found.levels == ((0.1, 2), (3, 1), (5, 1))
    assert found.spread.median == pytest.approx(1.55)


def test_many_values_are_counted_in_bars():
    found = describe(of_events([0] * 21, np.arange(21) % 12, values=range(21))).values
    assert (found.distinct, found.levels) == (21, ())
    assert found.bars == Bars(tuple(range(21)), (*[1] * 19, 2), logarithmic=False)
    far = describe(of_events([0] * 24, np.arange(24) % 12, values=[*np.arange(100, 123) / 100, 1000])).values
    assert far.bars.logarithmic
    assert far.bars.edges[1] / far.bars.edges[0] == pytest.approx(1000 ** (1 / 20))
    assert (far.bars.counts[0], far.bars.counts[-1]) == (23, 1)


def test_text_is_what_is_not_blank():
    items = pl.DataFrame(
        {
            "title": ["abc", " a ", *[""] * 8, "  ", None],
            "genres": [["a", "b"], [], None, ["c"], *[[]] * 8],
            "year": range(12),
            "kind": pl.Series(["long", *["x"] * 11], dtype=pl.Categorical),
            "nothing": pl.Series([None] * 12, dtype=pl.String),
        }
    )
    users = pl.DataFrame({"about": ["hello", None, None, None]})
    found = describe(of_events(item_table=items, user_table=users)).text
    assert found == (
        TextColumn("item", "title", "characters", 2 / 12, 2),
        TextColumn("item", "genres", "entries", 2 / 12, 1.5),
        TextColumn("item", "kind", "characters", 1, 1),
        TextColumn("item", "nothing", "characters", 0, None),
        TextColumn("user", "about", "characters", 1 / 4, 5),
    )


def test_clicks_are_counted_where_they_are_known():
    shown = Impressions(
        users=[0, 1, 2],
        times=[1, 2, 3],
        offsets=[0, 2, 5, 9],
        items=range(9),
        clicked=[True, False, False, False, True, *[False] * 4],
        labelled=[True, True, False],
    )
    found = describe(of_events(impressions=shown))
    assert found.counts["impressions"] == 3
    assert found.impressions == Shown(3, 2, Spread(2, 2.5, 3, 3, 3.5, 4), 2 / 5)
    unknown = describe(of_events(impressions=replace(shown, clicked=[False] * 9, labelled=[False] * 3)))
    assert unknown.impressions.click_through_rate is None


def test_targets_are_cold_whose_user_or_item_is_not_in_training():
    data = toy()
    events = data.interactions
    train = data.with_interactions(events.select((events.users != 3) & (events.items != 5)))  # no user 3, no Fargo
    queries = Queries(np.array([-1, 0, 3]), np.full((3, 0), -1))
    test = Targets(queries, np.array([[5, -1], [0, 5], [6, -1]]))
    split = Split(train, Targets(queries, np.zeros((3, 0))), test, {"name": "by hand"})
    cut = describe(data, split).split
    assert cut.train_events == 12
    assert cut.test == Part(queries=3, targets=4, cold_users=2 / 4, cold_items=3 / 4)
    assert cut.valid == Part(queries=3, targets=0, cold_users=None, cold_items=None)
    assert cut.rule == {"name": "by hand"}


def test_nothing_at_all():
    nobody = Dataset(
        "empty", Interactions.sort([], [], []), Vocabulary([]), Vocabulary([]), pl.DataFrame({"title": []})
    )
    found = describe(nobody)
    assert set(found.counts.values()) == {0}
    assert found.values.distinct == 0
    nothing = (found.density, found.per_user, found.per_item, found.long_tail, found.time, found.values.spread)
    assert nothing == (None,) * 6


def test_it_goes_to_json_and_back():
    data = toy()
    shown = Impressions(users=[0], times=[1], offsets=[0, 2], items=[1, 2], clicked=[True, False])
    found = describe(replace(data, impressions=shown), Split(data, *[Targets(data.queries([0]), [[1]])] * 2))
    plain = found.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert set(plain) == set(Description.__dataclass_fields__)
    assert plain["split"]["test"] == {"queries": 1, "targets": 1, "cold_users": 0, "cold_items": 0}
    assert plain["long_tail"]["ranks"]["y"] == [4, 3, 3, 3, 2, 1]


popularity = st.lists(st.integers(1, 60), min_size=1, max_size=150)


@given(popularity)
def test_the_long_tail_keeps_its_bounds(counts):
    tail = of_popularity(counts)
    assert 0 <= tail.gini < 1
    assert 0 < tail.top_1_percent <= tail.top_10_percent <= tail.top_20_percent <= 1
    assert 1 <= tail.items_for_80_percent <= len(counts)
    assert (np.diff(tail.shares.y) > 0).all()
    assert (tail.shares.x[0], tail.shares.y[0], tail.shares.x[-1], tail.shares.y[-1]) == (0, 0, 1, 1)
    ordered = sorted(counts, reverse=True)
    fewer = sum(ordered[: tail.items_for_80_percent - 1])
    assert 10 * fewer < 8 * sum(counts) <= 10 * (fewer + ordered[tail.items_for_80_percent - 1])


@given(popularity)
def test_gini_agrees_with_its_definition_and_with_the_area_under_the_curve(counts):
    tail, events = of_popularity(counts), np.array(counts)
    differences = np.abs(events[:, None] - events).mean()
    assert tail.gini == pytest.approx(differences / (2 * events.mean()), abs=1e-12)
    assert tail.gini == pytest.approx(2 * auc(tail.shares.x, tail.shares.y) - 1, abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 11), st.integers(0, 99)), min_size=1), st.randoms())
def test_only_counts_matter_not_the_order_of_rows_nor_the_numbers(rows, random):
    other_items = random.sample(range(12), 12)
    shuffled = random.sample(rows, len(rows))
    one = describe(of_events(*zip(*rows, strict=True)))
    users, items, times = zip(*shuffled, strict=True)
    assert describe(of_events(users, [other_items[item] for item in items], times)) == one
    pairs = [(user, item) for user, item, _ in rows]
    assert one.repeated_pairs == len(pairs) - len(set(pairs))
    seconds = [(user, time) for user, _, time in rows]
    assert one.time.shared_seconds == sum(seconds.count(second) > 1 for second in seconds)
    assert sum(one.time.timeline.counts) == len(rows)
    assert sum(one.users_by_events.counts) == len({user for user, _, _ in rows})


@pytest.mark.data
def test_movielens_latest_small(data_folder):
    found = describe(load_movielens(data_folder / "movielens-latest-small"))
    # As its README counts them, and as pandas does: 9,724 films with ratings, from March 1996 to September 2018.
    assert found.counts["users"] == 610
    assert found.counts["interactions"] == 100_836
    assert (found.counts["items"], found.counts["items_with_events"]) == (9742, 9724)
    assert (found.time.first, found.time.last) == ("1996-03-29", "2018-09-24")
    assert found.per_user.minimum == 20
    assert [level for level, _ in found.values.levels] == [half / 2 for half in range(1, 11)]
