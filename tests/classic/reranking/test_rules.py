"""Each rule by hand, rules together, and what gives way."""

from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from kinds import RerankerContract, kinds, order, ranked, shelf

from llmrec.classic.reranking.base import make_reranker
from llmrec.classic.reranking.rules import Rules, RulesConfig
from llmrec.config import Part, load_config, make_config
from llmrec.data import Interactions, Queries
from llmrec.errors import ConfigError, DataError
from llmrec.testing import expect_error


class TestRules(RerankerContract):
    def make(self):
        rules = [
            {"rule": "pin", "item": 104, "place": 2},
            {"rule": "quota", "category": "drama", "at_most": 1, "of": 2},
            {"rule": "distance", "apart": 2},
            {"rule": "fresh", "weight": 0.1},
        ]
        return Rules(make_config(RulesConfig, {"rules": rules})).fit(kinds())


# i0 a, i1 a, i2 a, i3 b, i4 b, i5 c, i6 a and b, i7 nothing
SHELF = shelf([["a"], ["a"], ["a"], ["b"], ["b"], ["c"], ["a", "b"], []], histories=((0, 1, 2), (3, 4, 5)))


def fitted(*rules, data=SHELF):
    return Rules(make_config(RulesConfig, {"rules": list(rules)})).fit(data)


def test_no_rule_changes_nothing():
    candidates = ranked([3, 1, 2], [7], scores=[[0.1, 0.1, 0.1], [5]])
    model = fitted()
    assert order(model, candidates) == [[3, 1, 2], [7]]
    assert not model.counts


def test_blocked_items_go_by_id_and_by_category():
    model = fitted({"rule": "block", "items": ["i5"], "categories": ["b"]})
    found = model.rank(Queries.from_histories([()] * 3), ranked([3, 0, 6, 5, 1], [3, 4], [7, 2]))
    assert found.items.tolist() == [[0, 1, -1, -1, -1], [-1] * 5, [7, 2, -1, -1, -1]]
    assert np.isnan(found.scores[found.items < 0]).all()
    assert dict(model.counts) == {"blocked": 5, "empty lists": 1}


def test_a_pinned_item_has_its_place_where_it_is_a_candidate():
    model = fitted({"rule": "pin", "item": "i4", "place": 1}, {"rule": "pin", "item": "i0", "place": 4})
    assert order(model, ranked([0, 1, 2, 3, 4], [1, 2, 3], [4, 0, 1], [3, 4])) == [
        [4, 1, 2, 0, 3],
        [1, 2, 3],
        [4, 1, 0],  # the list is too short for place 4: last
        [4, 3],
    ]


def test_inserted_items_fill_their_slots_unless_the_user_had_them():
    model = fitted({"rule": "insert", "items": ["i5", "i6", "i7"], "slots": [4, 1]})
    queries = Queries.from_histories([(), (5,), (0, 5, 7), ()])
    found = model.rank(queries, ranked([0, 1, 2, 3], [0, 1, 2, 3], [1, 2], [6, 5, 0]))
    assert found.items.tolist() == [
        [5, 0, 1, 6, 2, 3],
        [6, 0, 1, 7, 2, 3],
        [6, 1, 2, -1, -1, -1],
        [5, 0, 6, -1, -1, -1],  # what is a candidate too is shown once
    ]
    assert dict(model.counts) == {"empty slots": 1}


def test_a_block_wins_over_pin_and_insert():
    model = fitted(
        {"rule": "block", "categories": ["a"]},
        {"rule": "pin", "item": "i0", "place": 1},
        {"rule": "insert", "items": ["i1", "i5"], "slots": [2]},
    )
    assert order(model, ranked([3, 0, 4])) == [[3, 5, 4]]


def test_a_quota_holds_what_is_too_much_back_and_brings_what_is_too_little_forward():
    most = fitted({"rule": "quota", "category": "a", "at_most": 1, "of": 3})
    assert order(most, ranked([0, 1, 2, 3, 4, 5], [3, 0, 1, 4])) == [[0, 3, 4, 1, 2, 5], [3, 0, 4, 1]]
    least = fitted({"rule": "quota", "category": "b", "at_least": 2, "of": 3})
    assert order(least, ranked([0, 1, 2, 3, 4, 5], [3, 0, 1, 2, 6])) == [[0, 3, 4, 1, 2, 5], [3, 0, 6, 1, 2]]
    both = fitted({"rule": "quota", "category": "b", "at_least": 1, "at_most": 1, "of": 2})
    assert order(both, ranked([3, 4, 0, 1], [0, 1, 3, 4])) == [[3, 0, 4, 1], [0, 3, 1, 4]]
    assert not most.counts + least.counts + both.counts


def test_a_quota_counts_what_is_pinned_behind_it():
    model = fitted({"rule": "quota", "category": "a", "at_most": 1, "of": 3}, {"rule": "pin", "item": "i2", "place": 3})
    assert order(model, ranked([0, 1, 2, 3, 4, 5])) == [[3, 4, 2, 0, 1, 5]]
    model = fitted(
        {"rule": "quota", "category": "b", "at_least": 2, "of": 3}, {"rule": "pin", "item": "i4", "place": 3}
    )
    assert order(model, ranked([0, 1, 2, 3, 4, 5])) == [[0, 3, 4, 1, 2, 5]]


def test_quotas_with_several_ends():
    model = fitted(
        {"rule": "quota", "category": "b", "at_least": 1, "of": 2},
        {"rule": "quota", "category": "c", "at_least": 1, "of": 3},
    )
    assert order(model, ranked([0, 1, 2, 3, 5])) == [[0, 3, 5, 1, 2]]


def test_a_quota_that_cannot_be_met_is_met_as_far_as_it_can_be_and_counted():
    most = fitted({"rule": "quota", "category": "a", "at_most": 1, "of": 3})
    assert order(most, ranked([0, 1, 2, 3], [0, 3, 4])) == [[0, 3, 1, 2], [0, 3, 4]]
    assert dict(most.counts) == {"quota of a": 1}
    least = fitted({"rule": "quota", "category": "c", "at_least": 2, "of": 3})
    assert order(least, ranked([0, 1, 2, 3, 5], [0, 1])) == [[0, 1, 5, 2, 3], [0, 1]]
    assert dict(least.counts) == {"quota of c": 2}


def test_items_that_share_a_category_stand_apart():
    model = fitted({"rule": "distance", "apart": 3})
    assert order(model, ranked([0, 1, 3, 5, 4, 2, 7])) == [[0, 3, 5, 1, 4, 7, 2]]
    assert dict(model.counts) == {}
    assert order(model, ranked([0, 1, 6])) == [[0, 1, 6]]
    assert dict(model.counts) == {"too near": 2}


def test_distance_minds_what_is_pinned_behind_it_and_holds_for_the_first_places_only():
    model = fitted({"rule": "distance", "apart": 2}, {"rule": "pin", "item": "i0", "place": 2})
    assert order(model, ranked([1, 0, 3, 2])) == [[3, 0, 1, 2]]
    assert dict(model.counts) == {"too near": 2}
    short = fitted({"rule": "distance", "apart": 2, "of": 2})
    assert order(short, ranked([0, 1, 2, 3])) == [[0, 3, 1, 2]]
    assert not short.counts


def test_distance_gives_way_first_then_at_most_then_at_least():
    rules = (
        {"rule": "distance", "apart": 2},
        {"rule": "quota", "category": "b", "at_most": 0, "of": 2},
    )
    model = fitted(*rules)  # behind i0 stands i1, too near, or i3, which is one b too many
    assert order(model, ranked([0, 3, 1])) == [[0, 1, 3]]
    assert dict(model.counts) == {"too near": 1}
    model = fitted(*rules, {"rule": "quota", "category": "b", "at_least": 1, "of": 3})
    assert order(model, ranked([0, 1, 2, 3])) == [[0, 1, 3, 2]]


def test_new_items_get_a_bonus_that_halves():
    # Events a day apart: i0 is 4 days old, i4 is as new as can be; i5 is in no event.
    day = 86_400
    data = replace(SHELF, interactions=Interactions.sort([0] * 5, range(5), [day * each for each in range(5)]))
    model = fitted({"rule": "fresh", "weight": 0.4, "half_life": 2}, data=data)
    np.testing.assert_allclose(model.bonus[:6], [0.1, 0.4 * 0.5**1.5, 0.2, 0.4 * 0.5**0.5, 0.4, 0])
    # Scores 1, 0.75, 0 with bonuses 0.1, 0.4 and 0.2.
    assert order(model, ranked([0, 4, 2], scores=[[8, 6, 0]])) == [[4, 0, 2]]
    assert order(model, ranked([0, 4, 2], scores=[[8, 4, 0]])) == [[0, 4, 2]]


def test_dates_of_a_column():
    table = SHELF.item_table.with_columns(out=pl.Series([date(1970, 1, 1), None, *[date(1970, 1, 3)] * 6]))
    events = Interactions.sort([0], [0], [2 * 86_400])
    data = replace(SHELF, interactions=events, item_table=table)
    rule = {"rule": "fresh", "weight": 1, "half_life": 1, "column": "out"}
    np.testing.assert_allclose(fitted(rule, data=data).bonus, [0.25, 0, *[1] * 6])
    later = replace(data, item_table=table.with_columns(out=pl.Series([0, None, *[10**9] * 6])))
    np.testing.assert_allclose(fitted(rule, data=later).bonus, [0.25, 0, *[1] * 6])
    years = replace(data, item_table=table.with_columns(out=pl.Series([1999] * 8)))
    expect_error(DataError, lambda: fitted(rule, data=years), "'out'", "years")
    ordered = replace(data, clock=False)
    expect_error(DataError, lambda: fitted(rule, data=ordered), "clock", "fresh")


def test_rules_are_yaml(tmp_path):
    path = tmp_path / "rules.yaml"
    rules = [
        {"rule": "insert", "items": ["i7"], "slots": [2]},
        {"rule": "quota", "category": "a", "at_most": 1, "of": 3},
    ]
    path.write_text(yaml.safe_dump({"rules": rules}))
    assert load_config(RulesConfig, path) == make_config(RulesConfig, {"rules": rules})
    model = make_reranker(Part(name="rules", parameters={"rules": rules})).fit(SHELF)
    assert order(model, ranked([0, 1, 3])) == [[0, 7, 3, 1]]


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([{"rule": "pinn", "item": 1, "place": 1}], ["rules.0", "pinn"]),
        ([{"rule": "pin", "item": "i0", "place": 0}], ["rules.0.pin.place", "0"]),
        ([{"rule": "block"}], ["items or categories"]),
        ([{"rule": "quota", "category": "a"}], ["at_least or at_most"]),
        ([{"rule": "quota", "category": "a", "at_least": 3, "at_most": 2}], ["at_least not above at_most"]),
        ([{"rule": "quota", "category": "a", "at_least": 3, "of": 2}], ["within 2 places"]),
        ([{"rule": "distance", "apart": 1}], ["apart"]),
        ([{"rule": "insert", "items": [], "slots": [1]}], ["items"]),
        ([{"rule": "fresh"}, {"rule": "fresh"}], ["one fresh rule"]),
        ([{"rule": "pin", "item": 1, "place": 3}, {"rule": "insert", "items": [2], "slots": [3]}], ["place 3"]),
        ([{"rule": "pin", "item": 1, "place": 3}, {"rule": "block", "items": [1]}], ["item 1"]),
        ([{"rule": "pin", "item": 1, "place": 3}, {"rule": "insert", "items": ["1"], "slots": [4]}], ["item 1"]),
    ],
)
def test_rules_that_cannot_be(rules, words):
    expect_error(ConfigError, lambda: make_config(RulesConfig, {"rules": rules}), *words)


def test_what_the_data_set_does_not_have():
    expect_error(DataError, lambda: fitted({"rule": "pin", "item": "i99", "place": 1}), "'i99'", "'shelf'")
    expect_error(
        DataError, lambda: fitted({"rule": "quota", "category": "aa", "at_most": 1}), "'aa'", "did you mean 'a'"
    )
    expect_error(DataError, lambda: fitted({"rule": "distance", "apart": 2, "column": "kind"}), "'kind'", "categories")


@given(st.integers(0, 10**6))
def test_whatever_the_rules_nothing_is_lost_or_doubled_and_fixed_places_hold(seed):
    rng = np.random.default_rng(seed)
    rules = [
        {"rule": "quota", "category": "a", "at_least": int(rng.integers(0, 3)), "at_most": 3, "of": 5},
        {"rule": "quota", "category": "b", "at_least": 1, "of": int(rng.integers(1, 6))},
        {"rule": "distance", "apart": int(rng.integers(2, 4))},
        {"rule": "pin", "item": "i0", "place": 2},
        {"rule": "insert", "items": ["i7"], "slots": [4]},
    ]
    items = rng.permutation(7)[: rng.integers(1, 8)]
    found = order(fitted(*rules), ranked(items))[0]
    assert sorted(found) == sorted([*items.tolist(), 7])
    assert found.index(7) == min(3, len(found) - 1)
    if 0 in items and len(items) > 1:
        assert found.index(0) == 1
