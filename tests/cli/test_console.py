"""Progress as plain log lines: how far, at what pace, and how long still."""

import logging

import pytest

from llmrec.cli import console


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(console, "time", clock)
    return clock


def test_lines_tell_what_is_left_at_the_pace_of_this_run(clock, caplog):
    caplog.set_level(logging.INFO, logger="llmrec")
    meter = console.Meter("ranking", None)
    clock.now += 5  # a model that loads says nothing of the pace
    meter(400, 1000)  # done before
    for seconds, done in ((10, 500), (10, 600), (3, 630), (7, 700), (30, 1000)):
        clock.now += seconds
        meter(done, 1000, "9 prompts")
    assert caplog.messages == [
        "ranking: 9 prompts: 500 of 1,000, 0:00:50 left",  # a hundred in ten seconds: five hundred take fifty
        "ranking: 9 prompts: 700 of 1,000, 0:00:30 left",
        "ranking: 9 prompts: 1,000 of 1,000",
    ]


def test_a_first_line_without_a_pace_says_nothing_of_time(clock, caplog):
    caplog.set_level(logging.INFO, logger="llmrec")
    meter = console.Meter("ranking", None)
    clock.now += 20
    meter(0, 10)
    clock.now += 20
    meter(0, 10)
    assert caplog.messages == ["ranking: 0 of 10"] * 2
