"""Who proposed what, and what each channel is worth: by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from llmrec.classic.recall.fuse import reciprocal_rank_fusion
from llmrec.classic.recall.fusion import channel_report as module
from llmrec.classic.recall.fusion.channel_report import channel_report
from llmrec.classic.recall.fusion.channels import Channels
from llmrec.data import Candidates, Queries, Targets
from llmrec.errors import DataError
from llmrec.testing import assert_same, expect_error, toy

NAN = float("nan")
ALS = Candidates([[4, 2, 5], [1, -1, -1]], [[3, 2, 1], [3, NAN, NAN]])
TEXT = Candidates([[2, 6], [3, 1]], [[2, 1], [2, 1]])
CHANNELS = Channels(("als", "text"), (ALS, TEXT))
QUERIES = Queries.from_histories([(0, 1), (2,)], [1, -1])


def fuse(channels: Channels) -> Candidates:
    """Of both: [2, 4, 6] and [1, 3]."""
    return reciprocal_rank_fusion(channels.lists, 3)


def test_ranks_by_hand():
    found = CHANNELS.provenance(Candidates([[2, 4, 0], [1, 3, -1]], [[3, 2, 1], [2, 1, NAN]]))
    assert found.channels == ("als", "text")
    assert found.ranks.tolist() == [[[2, 1], [1, -1], [-1, -1]], [[1, 2], [-1, 1], [-1, -1]]]
    assert found.ranks.dtype == np.int32


def test_the_table_names_channels_and_ranks():
    """Item 0 is of no channel, and padding has no row."""
    fused = Candidates([[0, 2, 4], [1, 3, -1]], [[3, 2, 1], [2, 1, NAN]])
    frame = CHANNELS.provenance(fused).to_frame(toy(), QUERIES)
    assert frame.drop("channels").equals(fused.to_frame(toy(), QUERIES))
    als, text = ({"channel": name} for name in CHANNELS.names)
    assert frame["channels"].to_list() == [
        [],
        [als | {"rank": 2}, text | {"rank": 1}],
        [als | {"rank": 1}],
        [als | {"rank": 1}, text | {"rank": 2}],
        [text | {"rank": 1}],
    ]


def test_tables_without_rows_or_channels_keep_their_type(tmp_path):
    none = CHANNELS.select(slice(0, 0))
    empty = none.provenance(ALS.select(slice(0, 0))).to_frame(toy(), QUERIES.select(slice(0, 0)))
    strange = CHANNELS.provenance(Candidates([[0], [0]], [[1], [1]])).to_frame(toy(), QUERIES)
    assert strange["channels"].to_list() == [[], []]
    known = CHANNELS.provenance(ALS).to_frame(toy(), QUERIES)
    assert empty.schema["channels"] == strange.schema["channels"] == known.schema["channels"]
    known.write_parquet(tmp_path / "known.parquet")
    assert pl.read_parquet(tmp_path / "known.parquet").equals(known)


def test_ranks_equal_a_plain_search():
    rng = np.random.default_rng(1)
    lists = [np.array([rng.permutation(40)[:width] for _ in range(25)]) for width in (12, 1, 30)]
    scores = [-np.arange(each.shape[1]) * np.ones((25, 1)) for each in lists]
    channels = Channels(("a", "b", "c"), tuple(map(Candidates, lists, scores)))
    asked = np.array([rng.permutation(45)[:20] for _ in range(25)])
    found = channels.provenance(Candidates(asked, np.zeros(asked.shape)))
    for row, place, number in np.ndindex(found.ranks.shape):
        held = lists[number][row].tolist()
        item = asked[row, place]
        assert found.ranks[row, place, number] == (held.index(item) + 1 if item in held else -1)


@pytest.mark.parametrize("block", [1, 1 << 22])  # a query at a time, and all at once
def test_a_report_by_hand(monkeypatch, block):
    """Fused: [2, 4, 6] and [1, 3]: five, of which als proposed 2 4 1 (4 alone) and text 2 6 1 3 (6 and 3 alone).

    als proposed 4, of which text has 2 and 1; text proposed 4 as well. Relevant: 6 and 5; 3. als finds 5 within 3, text
    6 and 3. The fusion finds 6 and 3, both from text alone. Without als all that text has: 6 and 3; without text 5.
    """
    monkeypatch.setattr(module, "BLOCK", block)
    targets = Targets(QUERIES, [[6, 5], [3, -1]])
    report = channel_report(CHANNELS, fuse, targets)
    assert report.to_dict(as_series=False) == {
        "channel": ["als", "text", "(all)"],
        "candidates": [2, 2, 2.5],
        "in fusion": [3 / 5, 4 / 5, 1],
        "alone": [1 / 5, 2 / 5, None],
        "shared with als": [1, 2 / 4, 3 / 5],
        "shared with text": [2 / 4, 1, 4 / 5],
        "hr@3": [1 / 2, 1, 1],
        "hr@3 without": [1, 1 / 2, None],
        "hits alone": [0, 1, None],
    }


def test_channels_are_judged_by_their_first_k():
    """Fused [2, 4] and [1, 3]; als has 4 2 and 1 (not 5), text 2 6 and 3 1: 4 is of als alone, 3 of text."""
    report = channel_report(CHANNELS, lambda some: reciprocal_rank_fusion(some.lists, 2))
    assert report.to_dict(as_series=False) == {
        "channel": ["als", "text", "(all)"],
        "candidates": [1.5, 2, 2],
        "in fusion": [3 / 4, 3 / 4, 1],
        "alone": [1 / 4, 1 / 4, None],
        "shared with als": [1, 2 / 4, 3 / 4],
        "shared with text": [2 / 3, 1, 3 / 4],
    }


def test_a_report_without_labels_says_what_is_shared():
    whole, part = channel_report(CHANNELS, fuse, Targets(QUERIES, [[6], [3]])), channel_report(CHANNELS, fuse)
    assert part.equals(whole.select(part.columns))
    assert set(whole.columns) - set(part.columns) == {"hr@3", "hr@3 without", "hits alone"}
    unlabelled = Targets(QUERIES, np.zeros((2, 0), np.int32))
    assert channel_report(CHANNELS, fuse, unlabelled).equals(part)


def test_a_relevant_item_named_twice_is_one_hit():
    once, twice = Targets(QUERIES, [[4, 6, -1], [3, -1, -1]]), Targets(QUERIES, [[4, 6, 4], [3, 3, -1]])
    report = channel_report(CHANNELS, fuse, twice)
    assert report.equals(channel_report(CHANNELS, fuse, once))
    assert report["hits alone"].to_list() == [1 / 3, 2 / 3, None]


def test_a_report_on_nobody_and_on_one_channel():
    nobody = Targets(QUERIES.select(slice(0, 0)), np.zeros((0, 1), np.int32))
    report = channel_report(CHANNELS.select(slice(0, 0)), fuse, nobody)
    assert report["candidates"].to_list() == [0, 0, 0]
    assert report["hr@3"].to_list() == [0, 0, 0]
    alone = channel_report(CHANNELS.without("text"), fuse, Targets(QUERIES, [[6], [3]]))
    assert alone["hr@3 without"].to_list() == [None, None]
    assert alone["alone"].to_list() == [1, None]


def test_channels_can_be_left_out():
    assert CHANNELS.without("als").names == ("text",)
    assert_same(CHANNELS.without("als").lists[0], TEXT)
    expect_error(DataError, lambda: CHANNELS.without("als").without("text"), "without names", "0 lists")


def test_what_does_not_fit_is_refused():
    expect_error(DataError, lambda: Channels(("als", "als"), (ALS, TEXT)), "als, als", "no two the same")
    expect_error(DataError, lambda: Channels(("als",), (ALS, TEXT)), "als for 2 lists", "a name for each")
    short = TEXT.select(slice(0, 1))
    expect_error(DataError, lambda: Channels(("als", "text"), (ALS, short)), "[2, 1] queries", "same queries")
    expect_error(DataError, lambda: CHANNELS.provenance(short), "1 rows", "2 queries", "fused to")
    few = Targets(QUERIES.select(slice(0, 1)), [[6]])
    expect_error(DataError, lambda: channel_report(CHANNELS, fuse, few), "1 targets", "2 queries")
