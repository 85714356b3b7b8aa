"""Each kind of example on data small enough to check by hand: what is asked, what is answered, what never leaks."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from asked import described, jobs, news
from hypothesis import assume, given
from hypothesis import strategies as st

from llmrec.data import Dataset, Interactions, Queries, Targets, Vocabulary
from llmrec.data_prep.examples import (
    cv_to_posting,
    describe_item,
    listwise,
    next_item,
    preference_pairs,
    yes_no_from_impressions,
)
from llmrec.data_prep.split import leave_last_out
from llmrec.errors import DataError
from llmrec.prompts.answers import parse_ranking
from llmrec.testing import expect_error, toy


def test_next_item_by_hand():
    made = next_item(toy(), history=2)
    rows = made.frame.filter(user="u0").select("prompt", "system", "completion", "item", "time").rows()
    assert rows == [
        ("Alien\n", "", "Brazil\n", 101, 20),
        ("Alien\nBrazil\n", "", "Casablanca\n", 102, 30),
        ("Brazil\nCasablanca\n", "", "Dune\n", 103, 40),
    ]
    assert len(made) == 16 - 5
    assert made.counts == {"short_history": 5, "no_answer": 0, "no_prompt": 0, "too_long": 0, "truncated": 0}
    assert made.balance == {}
    assert made.frame["user"].to_list() == sorted(made.frame["user"].to_list())
    assert next_item(toy(), history=2, last=2).frame.equals(made.frame[-2:])


def test_answers_of_several_titles_by_hand():
    made = next_item(toy(), history=2, titles=2)
    assert made.frame.select("user", "prompt", "completion", "item").rows() == [
        ("u0", "Alien\n", "Brazil\nCasablanca\n", 101),
        ("u0", "Brazil\nCasablanca\n", "Dune\n", 103),
        ("u1", "Alien\n", "Brazil\nCasablanca\n", 101),
        ("u2", "Brazil\n", "Casablanca\nHeat\n", 102),
        ("u3", "Alien\n", "Dune\nHeat\n", 103),
        ("u4", "Casablanca\n", "Heat\nFargo\n", 104),
    ]


@given(titles=st.integers(1, 6), history=st.integers(1, 4), lengths=st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_each_event_is_answered_once_whatever_the_number_of_titles(titles, history, lengths):
    assume(max(lengths) > 1)
    rows = [(user, item) for user, length in enumerate(lengths) for item in range(length)]
    users, items = zip(*rows, strict=True)
    data = Dataset(
        "made",
        Interactions.sort(users, items, items),
        Vocabulary(range(len(lengths))),
        Vocabulary(range(9)),
        pl.DataFrame({"title": [f"film {item}" for item in range(9)]}),
    )
    answered = []
    for row in next_item(data, titles=titles, history=history).frame.to_dicts():
        said = [int(line.split()[1]) for line in row["completion"].splitlines()]
        first = said[0]
        assert said == list(range(first, first + len(said)))
        assert len(said) == titles or said[-1] == lengths[int(row["user"])] - 1
        assert row["prompt"] == "".join(f"film {item}\n" for item in range(max(0, first - history), first))
        answered += [(int(row["user"]), item) for item in said]
    assert sorted(answered) == [(user, item) for user, item in rows if item > 0]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6), st.integers(0, 5)), min_size=2, max_size=30),
    st.integers(1, 4),
    st.sampled_from(["strict", "order"]),
)
def test_a_history_is_what_came_before_and_nothing_else(rows, history, ties):
    """Titles are event numbers here, so that each line of a prompt tells which event it was."""
    users, _, times = zip(*rows, strict=True)
    data = Dataset(
        name="made",
        interactions=Interactions.sort(users, range(len(rows)), times),
        users=Vocabulary(range(3)),
        items=Vocabulary(range(len(rows))),
        item_table=pl.DataFrame({"title": [str(number) for number in range(len(rows))]}),
    )
    expected = {}
    for number, (user, _, time) in enumerate(rows):
        early = [
            (when, other)
            for other, (who, _, when) in enumerate(rows)
            if who == user and (when < time or (ties == "order" and when == time and other < number))
        ]
        if early:
            expected[number] = [other for _, other in sorted(early)][-history:]
    if not expected:
        expect_error(DataError, lambda: next_item(data, history=history, ties=ties), "no example is left")
        return
    made = next_item(data, history=history, ties=ties).frame
    assert {row["item"]: [int(line) for line in row["prompt"].split()] for row in made.to_dicts()} == expected
    assert all(row["completion"] == f"{row['item']}\n" for row in made.to_dicts())


def test_targets_of_a_split_are_asked_with_their_own_histories():
    split = leave_last_out(toy())
    made = next_item(split.train, targets=split.test).frame
    assert made.select("user", "prompt", "completion").rows()[:2] == [
        ("u0", "Alien\nBrazil\nCasablanca\n", "Dune\n"),
        ("u1", "Alien\nBrazil\n", "Casablanca\n"),
    ]
    assert made["time"].to_list() == [None] * 5
    several = Targets(Queries.from_histories([[0], [1]], [0, -1]), [[2, 3], [4, -1]])
    both = next_item(toy(), targets=several).frame
    assert both.select("user", "completion").rows() == [("u0", "Casablanca\n"), ("u0", "Dune\n"), (None, "Heat\n")]
    assert len(next_item(toy(), targets=several, last=1)) == 1


def test_only_likes_are_targets_where_that_is_asked():
    data = toy()
    events = data.interactions
    rated = data.with_interactions(Interactions(events.users, events.items, events.times, np.arange(16) % 2 * 4 + 1))
    made = next_item(rated, like_above=3)
    assert len(made) == (np.arange(16) % 2)[5:].sum()
    assert made.counts["not_liked"] == 8


def test_a_description_is_the_answer_and_items_without_one_are_left_out():
    made = describe_item(described(), text_limit=12)
    answers = dict(made.frame.select("item", "completion").iter_rows())
    assert answers == {102: " A bar in Mor", 103: " Sand.", 105: " Snow."}
    assert made.counts["no_answer"] == 2 + 3, "Brazil twice, Heat three times: null and blank"
    assert "5 without an answer or a negative" in str(made)
    assert made.frame["prompt"][0].endswith("- Alien\n- Brazil\n\nDescription of what the user chooses next:")


def test_item_texts_are_folded():
    data = described()
    about = data.item_table.with_columns(
        title=pl.col("title") + "\n\x00### {{ 7*7 }}", description=pl.lit("a\u2028b\nc")
    )
    made = describe_item(replace(data, item_table=about), history=1).frame
    assert set(made["completion"]) == {" a b c"}
    assert "- Alien ### {{ 7*7 }}\n" in made["prompt"][0]


def test_clicks_say_yes_and_what_was_shown_besides_says_no():
    made = yes_no_from_impressions(news())
    frame = made.frame
    asked = [prompt.split('choose "')[1].split('"')[0] for prompt in frame["prompt"]]
    assert frame["user"].to_list() == ["u0", "u0", "u1", "u1", "u1"]
    assert frame["label"].to_list() == [True, False, True, True, False]
    assert frame["completion"].to_list() == [" Yes.", " No.", " Yes.", " Yes.", " No."]
    assert asked[0] == "Casablanca"
    assert asked[1] in {"Heat", "Fargo", "Gattaca"}
    assert asked[2:] == ["Gattaca", "Dune", "Heat"]
    assert "- Alien\n- Brazil\n\n" in frame["prompt"][0]
    assert "- Alien\n- Brazil\n\n" in frame["prompt"][2], "the event in the impression's second is not history"
    assert made.counts["unlabelled"] == 1
    assert made.counts["no_click"] == 1
    assert made.balance == {"yes": 3, "no": 2}
    assert made.summary()["yes_share"] == 0.6
    assert str(made).startswith("5 examples, 3 yes (60.0%); left out: 1 unlabelled, 1 without a click")
    assert len(yes_no_from_impressions(news(), per_click=3)) == 2 + 1 + 3 + 1
    assert yes_no_from_impressions(news(), last=1).frame["user"].unique().to_list() == ["u1"]


@pytest.mark.parametrize("rule", ["random", "popular"])
def test_other_negatives_of_an_impression_are_new_to_the_user(rule):
    drawn = set()
    for seed in range(20):
        frame = yes_no_from_impressions(news(), negatives=rule, per_click=2, seed=seed).frame
        for user in ("u0", "u1"):
            asked = frame.filter(user=user)["item"].to_list()
            assert len(asked) == len(set(asked)), "what was clicked is never a no"
        no = frame.filter(pl.col("label").not_(), user="u0")["item"].to_list()
        assert len(no) == len(set(no)) == 2
        drawn |= set(no)
    assert drawn == ({104, 105, 106} if rule == "random" else {104, 105})


def test_a_ranking_is_read_back_by_the_parser():
    targets = Targets(Queries.from_histories([[0, 1], [2]], [0, 2]), [[2, 3], [4, -1]])
    for seed in range(5):
        made = listwise(toy(), targets=targets, candidates=4, seed=seed).frame
        for row, chosen in zip(made.to_dicts(), [{"Casablanca", "Dune"}, {"Heat"}], strict=True):
            listed = row["prompt"].split("choose next:\n")[1].split("\n\n")[0].split("\n")
            candidates = [line.split(". ", 1)[1] for line in listed]
            assert len(set(candidates)) == len(candidates) >= 3
            reading = parse_ranking(row["completion"], candidates)
            assert reading.invented == 0
            ranked = [candidates[place] for place in reading.order]
            assert set(ranked[: len(chosen)]) == chosen
            rest = [title for title in candidates if title not in chosen]
            assert ranked[len(chosen) :] == rest, "nothing is known of the others, so they keep their order"
            assert row["completion"].startswith("\n1. ")
    again = listwise(toy(), targets=targets, candidates=4, seed=4).frame
    assert again.equals(made)
    assert not listwise(toy(), targets=targets, candidates=4, seed=5).frame.equals(made)


def test_chosen_candidates_stand_anywhere():
    places = []
    for seed in range(60):
        made = listwise(toy(), candidates=3, answer="choice", last=1, seed=seed).frame
        listed = made["prompt"][0].split("choose next:\n")[1].split("\n\n")[0].split("\n")
        assert made["completion"][0] == "\n1. Fargo"
        places.append([line.split(". ")[1] for line in listed].index("Fargo"))
    assert min(places.count(place) for place in range(3)) > 8


def test_listwise_takes_impressions_as_they_were_shown():
    made = listwise(news(), negatives="shown", candidates=3, answer="choice").frame
    listed = made["prompt"][1].split("choose next:\n")[1].split("\n\n")[0]
    assert {line.split(". ")[1] for line in listed.split("\n")} == {"Gattaca", "Dune", "Heat"}
    assert set(made["completion"][1].split("\n")[1:]) <= {"1. Gattaca", "2. Dune", "1. Dune", "2. Gattaca"}


def test_pairs_by_each_rule():
    shown = preference_pairs(news(), negatives="shown").frame
    assert shown["chosen"].to_list() == ["Casablanca\n", "Gattaca\n", "Dune\n"]
    assert shown["rejected"].to_list()[1:] == ["Heat\n", "Heat\n"]
    assert shown["rejected"][0] in {"Heat\n", "Fargo\n", "Gattaca\n"}
    several = preference_pairs(toy(), rejected=2, history=1).frame
    assert several["rejected"].dtype == pl.List(pl.String)
    seen = {
        f"u{user}": {toy().titles()[item] for item in items} for user, items in enumerate([(0, 1, 2, 3), (0, 1, 2)])
    }
    for row in several.filter(pl.col("user").is_in(["u0", "u1"])).to_dicts():
        rejected = {text.strip() for text in row["rejected"]}
        assert len(rejected) == 2
        assert not rejected & seen[row["user"]]
    about = preference_pairs(described(), task="describe-item", last=4).frame
    assert set(about["chosen"]) <= {" Snow.", " Sand.", " A bar in Morocco."}


def test_nothing_chosen_in_a_moment_is_rejected_in_it():
    targets = Targets(Queries.from_histories([[0, 1], [2]], [-1, -1]), [[2, 3], [4, -1]])
    for seed in range(10):
        made = preference_pairs(toy(), targets=targets, rejected=2, seed=seed)
        assert made.frame["rejected"].list.len().to_list() == [2, 2, 2]
        rejected = [set(row) for row in made.frame["rejected"]]
        assert not (rejected[0] | rejected[1]) & {"Alien\n", "Brazil\n", "Casablanca\n", "Dune\n"}
        assert not rejected[2] & {"Casablanca\n", "Heat\n"}


def test_a_rejected_text_is_never_the_chosen_one():
    data = toy().with_interactions(Interactions.sort([0, 0], [0, 1], [1, 2]))
    alike = replace(
        data, item_table=pl.DataFrame({"title": ["Alien", "Heat", "Heat", "Heat", "Heat ", "Dune", "Dune"]})
    )
    made = [preference_pairs(alike, rejected=5, seed=seed).frame.row(0, named=True) for seed in range(5)]
    assert [row["rejected"] for row in made] == [["Dune\n"]] * 5
    only = replace(data, item_table=pl.DataFrame({"title": ["Alien", *["Heat"] * 6]}))
    expect_error(DataError, lambda: preference_pairs(only), "1 without an answer or a negative")


def test_a_cv_is_answered_by_a_posting():
    made = cv_to_posting(jobs())
    assert made.frame.select("user", "completion").rows() == [("ann", "\nNurse\nNights."), ("bob", "\nCook\nSoups.")]
    assert "CV:\nAnn, nurse since 2001\n\nJob posting:" in made.frame["prompt"][0]
    assert made.counts["no_prompt"] == 1, "a blank CV"
    assert made.counts["not_liked"] == 2
    judged = cv_to_posting(jobs(), mismatches=True)
    assert judged.frame.select("user", "item", "label").rows() == [
        ("ann", "p0", True),
        ("ann", "p1", False),
        ("bob", "p1", True),
        ("bob", "p2", False),
    ]
    assert judged.frame["completion"][3] == "\nPilot"
    unseen = Targets(Queries.from_histories([[], []], [-1, 1]), [[0], [1]])
    assert cv_to_posting(jobs(), targets=unseen).frame["user"].to_list() == ["bob"]


def test_a_cv_is_paired_with_what_did_not_suit_it():
    pairs = preference_pairs(jobs(), task="cv-posting", negatives="disliked", like_above=0).frame
    assert pairs.select("user", "chosen", "rejected").rows() == [
        ("ann", "\nNurse\nNights.", "\nCook\nSoups."),
        ("bob", "\nCook\nSoups.", "\nPilot"),
    ]
    others = preference_pairs(jobs(), task="cv-posting", negatives="mismatched", like_above=0).frame
    assert others.select("user", "rejected").rows() == [("ann", "\nPilot"), ("bob", "\nNurse\nNights.")]


def test_targets_that_did_not_suit_are_told_apart():
    """Of targets with values, as of a split by people: matches are those above ``like_above``, in pairs too."""
    asked = Targets(Queries.from_histories([[], []], [0, 1]), [[0, 1], [2, -1]], values=[[2, 0], [0, 0]])
    made = cv_to_posting(jobs(), targets=asked)
    assert made.frame.select("user", "item").rows() == [("ann", "p0")]
    assert made.counts["not_liked"] == 2
    judged = cv_to_posting(jobs(), targets=asked, mismatches=True).frame
    assert judged.select("user", "item", "label").rows() == [
        ("ann", "p0", True),
        ("ann", "p1", False),
        ("bob", "p2", False),
    ]
    pairs = preference_pairs(jobs(), task="cv-posting", targets=asked, rejected=2).frame
    assert pairs.select("user", "chosen").rows() == [("ann", "\nNurse\nNights.")]
    assert pairs["rejected"].to_list() == [["\nPilot"]], "the cook's job was judged by ann in training: not drawn"
    rated = Targets(Queries.from_histories([[1], [3]], [0, 1]), [[0, 2], [4, -1]], values=[[5, 3], [4, 0]])
    assert next_item(toy(), targets=rated, like_above=3.5).frame["completion"].to_list() == ["Alien\n", "Heat\n"]
    without = replace(asked, values=None)
    assert cv_to_posting(jobs(), targets=without).frame["item"].to_list() == ["p0", "p1", "p2"]
