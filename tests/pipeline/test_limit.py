"""Calls that are late: their caller goes on, they end by themselves, and the next one waits for its turn."""

import subprocess
import sys
import threading
import time

import pytest

from llmrec.errors import EngineError
from llmrec.pipeline.limit import TimeLimit, Turn
from llmrec.testing import expect_error


class Held:
    """A call that ends when it is told to, and says when it has begun and ended."""

    def __init__(self):
        self.begun, self.release, self.ended = threading.Event(), threading.Event(), threading.Event()

    def __call__(self):
        self.begun.set()
        assert self.release.wait(60)
        self.ended.set()
        return "late"


def test_what_is_in_time_is_returned_and_what_is_raised_is_raised():
    limit = TimeLimit(60)
    assert limit.call(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        limit.call(lambda: 1 // 0)

    def fail():
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):  # the call's own, not ours
        limit.call(fail)


def test_a_late_call_is_left_and_its_result_dropped():
    limit, held = TimeLimit(0.3), Held()
    expect_error(EngineError, lambda: limit.call(held), "no result after 0.3 s", "timeout")
    assert held.begun.is_set()
    assert not held.ended.is_set()
    assert not limit.turn.wanted
    held.release.set()
    assert TimeLimit(60, limit.turn).call(lambda: "next") == "next"
    assert held.ended.is_set()


def test_no_two_calls_run_side_by_side():
    turn, held, ran = Turn(), Held(), []
    expect_error(EngineError, lambda: TimeLimit(0.3, turn).call(held), "no result")
    # The second never begins, even when its turn would come: nobody waits for it.
    expect_error(EngineError, lambda: TimeLimit(0.05, turn).call(lambda: ran.append(1)), "waiting for a late call")
    assert not turn.wanted  # the first one still runs, and still nobody waits for it
    held.release.set()
    assert TimeLimit(None, turn).call(lambda: "third") == "third"
    assert ran == []
    assert turn.wanted


def test_each_limit_has_a_turn_of_its_own_unless_told_otherwise():
    held = Held()
    expect_error(EngineError, lambda: TimeLimit(0.3).call(held), "no result")
    assert TimeLimit(60).call(lambda: 1) == 1
    held.release.set()


def test_a_call_can_ask_whether_it_is_still_wanted_and_stop():
    limit, stopped = TimeLimit(0.3), threading.Event()

    def work():
        while limit.turn.wanted:
            time.sleep(0.01)
        stopped.set()
        raise RuntimeError("nobody waits")

    expect_error(EngineError, lambda: limit.call(work), "no result")
    limit.turn.settle(60)
    assert stopped.is_set()
    assert TimeLimit(60, limit.turn).call(lambda: limit.turn.wanted)


def test_settling_waits_no_longer_than_asked():
    limit, held = TimeLimit(0.3), Held()
    limit.turn.settle(60)  # nothing is late: at once
    expect_error(EngineError, lambda: limit.call(held), "no result")
    start = time.monotonic()
    limit.turn.settle(0.05)
    assert time.monotonic() - start < 30
    assert not held.ended.is_set()
    held.release.set()


LATE = """
import atexit, threading, time
from llmrec.errors import EngineError
from llmrec.pipeline.limit import TimeLimit

def work():
    while True:
        {step}

atexit.register(lambda: print("running:", threading.active_count() - 1))  # the last to register is the first
try:
    TimeLimit(0.3).call(work)
except EngineError:
    print("left")
"""


@pytest.mark.parametrize(("step", "running"), [("pass", 0), ("time.sleep(600)", 1)])
def test_a_process_ends_late_calls_where_it_can_and_does_not_wait_for_others(step, running):
    command = [sys.executable, "-c", LATE.format(step=step)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (0, f"left\nrunning: {running}\n"), ended.stderr
