"""TALLRec's rows: from ratings made here against a second, plain implementation, and all 8,000 of the paper's file."""

import csv
import json
import re
from ast import literal_eval

import numpy as np
import polars as pl
import pytest

from llmrec.data import Dataset, Interactions, Vocabulary
from llmrec.data_prep.examples import Examples, yes_no_from_ratings
from llmrec.errors import ConfigError, DataError
from llmrec.testing import expect_error, toy

ASKED = (
    "Given the user's preference and unpreference, identify whether the user will like the target movie by "
    'answering "Yes." or "No.".'
)
TITLES = ["Alien (1979)", "Brazil (1985)", 'The "Burbs"', "Dune", "Devil's Advocate, The (1997)", "Amélie", "Heat"]


def ratings(rows, titles=TITLES, n_users=4):
    """A data set of (user, item, time, rating) rows."""
    users, items, times, values = zip(*rows, strict=True)
    return Dataset(
        name="made",
        interactions=Interactions.sort(users, items, times, values),
        users=Vocabulary([f"u{user}" for user in range(n_users)]),
        items=Vocabulary(range(len(titles))),
        item_table=pl.DataFrame({"title": titles}),
    )


def random_rows(seed, n=200):
    random = np.random.default_rng(seed)
    columns = (random.integers(4, size=n), random.integers(7, size=n), random.integers(60, size=n))
    return [(*map(int, row), int(random.integers(1, 6))) for row in zip(*columns, strict=True)]


def tallrec_rows(rows, titles, *, window, like_above):
    """The paper's preprocessing, one event at a time."""
    out = []
    for user in sorted({row[0] for row in rows}):
        events = sorted((row for row in rows if row[0] == user), key=lambda row: row[2])
        for place in range(window, len(events)):
            liked, disliked = [], []
            for _, item, _, rating in events[place - window : place]:
                (liked if rating > like_above else disliked).append(f'"{titles[item]}"')
            _, item, _, rating = events[place]
            text = (
                f"User Preference: {', '.join(liked)}\nUser Unpreference: {', '.join(disliked)}\n"
                f'Whether the user will like the target movie "{titles[item]}"?'
            )
            answer = "Yes." if rating > like_above else "No."
            out.append({"instruction": ASKED, "input": text, "output": answer})
    return out


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("window", "like_above"), [(10, 3.0), (2, 3.5), (1, 4.0)])
def test_rows_equal_a_plain_implementation(seed, window, like_above):
    rows = random_rows(seed)
    made = yes_no_from_ratings(ratings(rows), window=window, like_above=like_above, template="tallrec-movie")
    expected = tallrec_rows(rows, TITLES, window=window, like_above=like_above)
    assert len(expected) > 100
    assert made.to_tallrec() == expected
    assert made.balance == {
        "yes": sum(row["output"] == "Yes." for row in expected),
        "no": sum(row["output"] == "No." for row in expected),
    }
    assert made.counts["short_history"] == len(rows) - len(expected)
    last = yes_no_from_ratings(ratings(rows), window=window, like_above=like_above, template="tallrec-movie", last=37)
    assert last.to_tallrec() == expected[-37:]


def test_one_row_by_hand():
    made = yes_no_from_ratings(ratings([(2, 0, 5, 5), (2, 3, 6, 4), (2, 1, 7, 3)]), window=2, template="tallrec-movie")
    assert made.frame.to_dicts() == [
        {
            "prompt": f'{ASKED}\n\nUser Preference: "Alien (1979)", "Dune"\nUser Unpreference: \n'
            'Whether the user will like the target movie "Brazil (1985)"?',
            "system": ASKED,
            "completion": " No.",
            "label": False,
            "user": "u2",
            "item": 1,
            "time": 7,
        }
    ]


def test_only_some_events_are_targets_and_all_are_history():
    data = ratings([(0, 0, 1, 5), (0, 1, 2, 1), (0, 2, 3, 5), (0, 3, 4, 1)])
    made = yes_no_from_ratings(data, window=1, only=data.interactions.times >= 4)
    assert made.frame["time"].to_list() == [4]
    assert "Burbs" in made.frame["prompt"][0]
    assert made.counts["short_history"] == 0


def test_strict_ties_leave_out_events_of_the_same_second():
    data = ratings([(0, 0, 1, 5), (0, 1, 2, 1), (0, 2, 2, 5)])
    assert "Brazil" in yes_no_from_ratings(data, window=1).frame["prompt"][1]
    strict = yes_no_from_ratings(data, window=1, ties="strict").frame["prompt"]
    assert len(strict) == 2
    assert all('Preference: "Alien (1979)"' in prompt for prompt in strict)
    assert "Brazil" not in strict[1]


def test_what_cannot_be_asked_is_one_line():
    data = ratings([(0, 0, 1, 5), (0, 1, 2, 1)])
    expect_error(ConfigError, lambda: yes_no_from_ratings(data, window=0), "window = 0")
    expect_error(ConfigError, lambda: yes_no_from_ratings(data, last=0), "last = 0")
    expect_error(ConfigError, lambda: yes_no_from_ratings(data, template="likelihood-list"), "has no labels")
    expect_error(DataError, lambda: yes_no_from_ratings(toy()), "values from 1 to 1", "ratings on both sides")
    expect_error(DataError, lambda: yes_no_from_ratings(data, like_above=5), "values from 1 to 5 with like_above = 5")
    expect_error(DataError, lambda: yes_no_from_ratings(data), "no example is left", "2 with too few earlier events")
    untitled = Dataset("x", data.interactions, data.users, data.items, data.item_table.rename({"title": "name"}))
    expect_error(DataError, lambda: yes_no_from_ratings(untitled, window=1), "a column 'title'")


def test_their_own_file_is_read_as_it_is(tmp_path):
    rows = tallrec_rows(random_rows(0), TITLES, window=10, like_above=3)
    path = tmp_path / "train.json"
    path.write_text(json.dumps(rows, indent=4))
    read = Examples.load(path)
    assert read.to_tallrec() == rows
    assert read.balance["yes"] == sum(row["output"] == "Yes." for row in rows)
    made = yes_no_from_ratings(ratings(random_rows(0)), template="tallrec-movie")
    for name in ("prompt", "system", "completion", "label"):
        assert read.frame[name].to_list() == made.frame[name].to_list()
    assert json.loads(read.save_tallrec(tmp_path / "again.json").read_text()) == rows


def events_of(baseline):
    """(user, movie, liked, time) of the union of all windows, users in file order, each user's events in order."""
    by_user = {}
    for row in baseline:
        past = list(zip(literal_eval(row["history_movie_id"]), literal_eval(row["history_rating"]), strict=True))
        events = by_user.setdefault(row["user_id"], past)
        assert events[-10:] == past, "windows move on by one"
        events.append((row["movie_id"], int(row["rating"])))
    return [(user, item, value) for user, events in by_user.items() for item, value in events]


def titles_of(baseline, texts):
    """Movie id -> title, from the lists and targets that both files hold."""
    titles = {}
    for row, text in zip(baseline, texts, strict=True):
        lists = re.fullmatch(r'User Preference: (.*)\nUser Unpreference: (.*)\n.*movie "(.*)"\?', text["input"])
        liked, disliked = (part[1:-1].split('", "') if part else [] for part in lists.groups()[:2])
        values = literal_eval(row["history_rating"])
        for item, value in zip(literal_eval(row["history_movie_id"]), values, strict=True):
            titles[item] = (liked if value else disliked).pop(0)
        titles[row["movie_id"]] = lists[3]
    return titles


@pytest.mark.data
def test_all_rows_of_the_paper_are_rebuilt(data_folder):
    folder = data_folder / "tallrec-movie"
    with (folder / "baseline" / "train.csv").open(encoding="utf-8") as file:
        baseline = list(csv.DictReader(file))
    expected = json.loads((folder / "train.rebuilt.json").read_text(encoding="utf-8"))
    titles, events = titles_of(baseline, expected), events_of(baseline)
    users = Vocabulary(list(dict.fromkeys(user for user, _, _ in events)))
    items = Vocabulary(list(titles))
    data = Dataset(
        name="tallrec-movie",
        interactions=Interactions.sort(
            users.numbers([user for user, _, _ in events]),
            items.numbers([item for _, item, _ in events]),
            np.arange(len(events)),
            [value for _, _, value in events],
        ),
        users=users,
        items=items,
        item_table=pl.DataFrame({"title": list(titles.values())}),
        clock=False,
    )
    made = yes_no_from_ratings(data, like_above=0.5, template="tallrec-movie", last=8000)
    rows = made.to_tallrec()
    assert len(rows) == len(expected) == 8000
    assert [number for number in range(8000) if rows[number] != expected[number]] == []
    assert made.balance == {"yes": 4457, "no": 3543}


@pytest.mark.data
@pytest.mark.parametrize(("part", "rows"), [("train.rebuilt", 8_000), ("valid", 1_000), ("test", 1_000)])
def test_tallrecs_own_files_read_as_they_are(data_folder, part, rows):
    path = data_folder / "tallrec-movie" / f"{part}.json"
    found = Examples.load(path)
    assert len(found) == rows
    assert found.to_tallrec() == [
        {**row, "output": row["output"].strip()} for row in json.loads(path.read_text(encoding="utf-8"))
    ]
