"""Which items are cold and what is known at the cut: by hand, and what cannot be simulated."""

from dataclasses import replace

import pytest
from cold import TITLES, cut, films, world

from llmrec.coldstart.items import ColdStart
from llmrec.data import Interactions
from llmrec.data_prep.split import leave_last_out
from llmrec.errors import DataError
from llmrec.testing import expect_error


def test_what_is_known_at_the_cut():
    known = world()
    assert known.items.tolist() == [4, 5, 6, 7, 9]  # 5 has no event at all: its being no target must not show
    assert known.untitled == 1
    assert known.users.tolist() == [0, 1, 2]
    assert known.activity.tolist() == [4, 2, 1]
    assert known.queries([0, 1, 3], 3).lists() == [[1, 2, 3], [1, 0], []]
    assert known.train.interactions.times.max() < 107


def test_events_of_untitled_items_are_no_history():
    known = world(titles=("Alien", "", "Casablanca", " \x00 ", *TITLES[4:]))
    assert known.users.tolist() == [0, 1]  # user 2 had item 3 only
    assert known.queries([0, 1], 50).lists() == [[0, 2], [0]]
    assert known.activity.tolist() == [2, 1]


def test_cold_items_are_told_by_what_is_there():
    known = world()
    told = known.texts(("title", "description"))
    assert [told[item] for item in (5, 6, 7, 9)] == ["Fargo. Snow.", "Gattaca. Genes in space.", "Ran", "Solaris"]
    assert told[:4] == ["Alien", "Brazil", "Casablanca", "Dune"]  # histories are told by titles
    assert known.texts(("title", "plot")) == known.texts(("title",)) == known.texts(("plot",)) == list(TITLES)


def test_without_a_moment_that_cuts_for_all():
    split = leave_last_out(films(), short_users="train")
    expect_error(DataError, lambda: ColdStart.of(split), "'leave-last-out'", "one moment for all", "global-time-cut")


def test_a_training_event_at_the_cut_is_refused():
    split = cut()
    later = replace(split, rule={**split.rule, "valid_from": int(split.train.interactions.times[-1])})
    expect_error(DataError, lambda: ColdStart.of(later), "training event at 106", "the cut is at 106", "split the data")


def test_a_cut_before_the_data():
    split = cut()
    nothing = split.train.with_interactions(Interactions.sort([], [], []))
    expect_error(
        DataError, lambda: ColdStart.of(replace(split, train=nothing)), "no event of 'films'", "within the data's time"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"titles": TITLES[:4], "about": [None] * 4, "later": [(1, 2, 1), (1, 3, 1), (2, 1, 1)]},
            ("no cold items", "4"),
        ),
        ({"titles": (*TITLES[:4], *[" "] * 6)}, ("none of the 6 cold items", "a text to know them by", "fill")),
        ({"titles": (*[""] * 4, *TITLES[4:])}, ("no user of 'films' has a history", "7 events of untitled items")),
    ],
)
def test_what_cannot_be_simulated(changes, words):
    split = cut(films(**changes), n_valid=1)
    expect_error(DataError, lambda: ColdStart.of(split), *words)


def test_a_catalogue_without_titles():
    split = cut()
    bare = replace(split.train, item_table=split.train.item_table.select("description"))
    expect_error(DataError, lambda: ColdStart.of(replace(split, train=bare)), "no column 'title'")
