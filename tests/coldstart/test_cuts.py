"""Both cuts of an evaluation: which items and queries there are, and what is said where there are none."""

from dataclasses import replace

import cold_run
import numpy as np
import pytest

from llmrec.coldstart import cuts
from llmrec.coldstart.cuts import Cut, catalogue_then, validation_cut
from llmrec.data import Interactions, Queries, Split, Targets
from llmrec.errors import DataError
from llmrec.testing import expect_error


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder with the shop, and its split."""
    folder = tmp_path_factory.mktemp("cuts")
    return folder, Split.load(cold_run.save_shop(folder / "shop") / "split")


def test_the_catalogue_of_the_validation_cut_ends_with_training(shop):
    events = shop[1].train.interactions
    train = shop[1].train.with_interactions(events.select(events.items != 3))  # an untouched one among the others
    then = catalogue_then(train)
    touched = sorted(set(train.interactions.items.tolist()))
    assert then.items.ids.to_list() == [100 + item for item in touched]
    assert then.item_table["title"].to_list() == [train.item_table["title"][item] for item in touched]
    ids = [each.items.decode(each.interactions.items).to_list() for each in (train, then)]
    assert ids[0] == ids[1]


def test_all_events_of_the_validation_cut_are_training_events(shop):
    folder, split = shop
    cut = validation_cut(cold_run.recipe(folder), split.train)
    train, n = cut.split.train, len(split.train.interactions)
    assert train.interactions.times[-1] < cut.split.rule["valid_from"] <= split.train.interactions.times[-1]
    assert len(train.interactions) == round(0.7 * n)
    later = split.train.interactions.times >= cut.split.rule["test_from"]
    taken = {
        *zip(
            split.train.interactions.users[later].tolist(), split.train.interactions.items[later].tolist(), strict=True
        )
    }
    rows, places = np.nonzero(cut.split.test.relevant >= 0)
    ids = train.items.ids.gather(cut.split.test.relevant[rows, places]).to_list()
    asked = {*zip(cut.split.test.queries.users[rows].tolist(), [each - 100 for each in ids], strict=True)}
    assert asked == taken
    assert Split.load(cut.folder / "split").rule == cut.split.rule


def test_equal_cuts_have_equal_digests_and_others_have_others(shop):
    folder, split = shop
    made = cuts.test_cut(cold_run.recipe(folder))
    assert Cut.of("test", folder, split).digest == made.digest
    titles = split.train.item_table.with_columns(title=split.train.item_table["title"].reverse())
    for other in (
        replace(split, train=replace(split.train, item_table=titles)),
        replace(split, test=Targets(split.test.queries, np.roll(split.test.relevant, 1, axis=0))),
        replace(split, train=split.train.with_interactions(split.train.interactions.select(slice(1, None)))),
    ):
        assert Cut.of("test", folder, other).digest != made.digest


def test_queries_without_a_history_are_left_out_and_counted(shop):
    folder, split = shop
    empty = split.test.queries.history.copy()
    empty[:4] = -1
    test = Targets(Queries(split.test.queries.users, empty), split.test.relevant)
    cut = Cut.of("test", folder, replace(split, test=test))
    assert cut.without_history == 4
    np.testing.assert_array_equal(cut.split.test.queries.users, split.test.queries.users[4:])
    assert Cut.of("test", folder, split).without_history == 0
    nobody = replace(split, test=test.select(slice(4)))
    expect_error(DataError, lambda: Cut.of("test", folder, nobody), "none of the 4 users", "has a history")


def test_nobody_who_takes_a_cold_item_is_said(shop):
    folder, split = shop
    warm = np.where(np.isin(split.test.relevant, split.train.interactions.items), split.test.relevant, -1)
    some = (warm >= 0).any(axis=1)
    only = Targets(split.test.queries.select(some), np.sort(warm[some], axis=1)[:, ::-1])
    none = replace(split, test=only)
    expect_error(
        DataError, lambda: Cut.of("test", folder, none), "nobody takes one of the 17 cold items", "in its test"
    )


def test_a_second_cut_that_cannot_be_made_is_said(shop):
    folder, split = shop
    events = split.train.interactions
    at_once = Interactions(events.users, events.items, np.full(len(events), 1000), events.values)
    train = split.train.with_interactions(at_once)
    words = ("a second time, for validation: the train part of 'shop'", "train = 0.7 and valid = 0.1 of the recipe")
    expect_error(DataError, lambda: validation_cut(cold_run.recipe(folder), train), *words)
