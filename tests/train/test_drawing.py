"""A few rows of a data set: drawn first, then put into words; those that cannot be used are replaced and counted."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.config import make_config
from llmrec.data import Dataset, Interactions, Split, Vocabulary
from llmrec.data_prep.examples import ExamplesRecipe, make_examples
from llmrec.data_prep.split import leave_last_out
from llmrec.errors import DataError
from llmrec.testing import expect_error
from llmrec.train.drawing import draw
from llmrec.train.recipe import Source
from llmrec.train.rows import ROW, TokenRows
from llmrec.train.sources import load_rows

FILMS = 12
RATINGS = {"kind": "yes-no-ratings", "window": 2, "like_above": 3.0, "ties": "strict"}


def data_set(histories, *, described=()):
    """Users who rate films by turns 5 and 1, in order; films of these numbers have a description."""
    events = [(user, item, time) for user, items in enumerate(histories) for time, item in enumerate(items)]
    users, items, times = map(np.array, zip(*events, strict=True))
    table = {"title": [f"Film {chr(65 + item)}" for item in range(FILMS)]}
    if described:
        table["description"] = [f"About {item}" if item in described else None for item in range(FILMS)]
    return Dataset(
        "made",
        Interactions.sort(users, items, times, np.where(np.arange(len(users)) % 2, 5.0, 1.0)),
        Vocabulary(range(len(histories))),
        Vocabulary(range(FILMS)),
        pl.DataFrame(table),
    )


@pytest.fixture
def made(tokens, tmp_path):
    """A function that saves a split of a data set, and returns it with one that loads rows of it."""

    def make(histories, *, described=()):
        folder = tmp_path / "made"
        leave_last_out(data_set(histories, described=described)).save(folder / "split")

        def load(seed=0, *, max_length=400, **more):
            source = {"dataset": str(folder), "examples": RATINGS, **more}
            return load_rows(make_config(Source, source), tokens, max_length, seed)

        return Split.load(folder / "split"), load

    return make


def all_films(n_users):
    rng = np.random.default_rng(2)
    return [rng.permutation(FILMS).tolist() for _ in range(n_users)]


def test_what_is_drawn_is_what_would_be_written(made):
    split, load = made(all_films(9))
    whole = make_examples(split, ExamplesRecipe(**RATINGS)).frame
    for seed, n in ((0, 8), (1, 7), (2, 40)):
        rows = load(seed, rows=n)
        assert int(rows.labels.sum()) == n // 2
        assert rows.frame[ROW].is_sorted()
        assert rows.frame[ROW].n_unique() == n
        assert rows.frame.select(whole.columns).equals(whole[rows.frame[ROW].to_list()])


def test_a_file_of_the_same_rows_draws_the_same(made, tokens, tmp_path):
    split, load = made(all_films(9))
    path = make_examples(split, ExamplesRecipe(**RATINGS)).save(tmp_path / "rows.jsonl")
    for seed in range(5):
        file = load_rows(Source(file=path, rows=10), tokens, 400, seed)
        drawn = load(seed, rows=10)
        assert drawn.prompts == file.prompts
        assert drawn.answers == file.answers
        assert drawn.digest() == file.digest()


def test_no_other_row_is_put_into_words(made, tokens, monkeypatch):
    """The budget counts the tokens of each prompt that is written, the encoder reads each that is left."""
    _, load = made(all_films(40))
    texts, prompts = [], []
    count, encode = tokens.count, tokens.encode_whole
    monkeypatch.setattr(tokens, "count", lambda asked: texts.extend(asked) or count(asked))
    monkeypatch.setattr(tokens, "encode_whole", lambda prompt: prompts.append(prompt) or encode(prompt))
    load(rows=6)
    assert (len(texts), len(prompts)) == (6, 6)
    load()
    assert len(texts) == len(prompts) == 6 + 40 * (FILMS - 2 - 2)  # two are left out of the split, two come before


def reference(numbers, labels, wanted, seed, good):
    """The draw row by row, as the numbers of published runs were drawn; and how many rows were looked at."""
    rng, looked, kept = np.random.default_rng(seed), 0, []
    lots = [(numbers, wanted)]
    if labels is not None:
        no, yes = ([n for n, label in zip(numbers, labels, strict=True) if label is each] for each in (False, True))
        lots = [(no, wanted - wanted // 2), (yes, wanted // 2)]
    for lot, count in lots:
        first = rng.choice(np.array(lot, np.int64), min(count, len(lot)), replace=False)
        looked += len(first)
        found = [number for number in first.tolist() if number in good]
        others = iter(rng.permutation(np.setdiff1d(lot, first)).tolist())
        while len(found) < count:
            other = next(others, None)
            if other is None:
                return None
            looked += 1
            found += [other] if other in good else []
        kept += found
    return sorted(kept), looked


@settings(deadline=None)
@given(
    labels=st.none() | st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=30),
    good=st.sets(st.integers(0, 90)),
    wanted=st.integers(1, 12),
    seed=st.integers(0, 2**32),
    step=st.integers(1, 3),
)
def test_draws_in_batches_are_those_one_by_one(labels, good, wanted, seed, step):
    numbers = [step * place for place in range(30 if labels is None else len(labels))]
    looked = []

    def read(asked):
        looked.extend(asked.tolist())
        kept = [number for number in asked.tolist() if number in good]
        return TokenRows([[1]] * len(kept), [[2]] * len(kept), pl.DataFrame({ROW: kept}, {ROW: pl.UInt32}), {})

    expected = reference(numbers, labels, wanted, seed, good)
    series = None if labels is None else pl.Series(labels, dtype=pl.Boolean)
    if expected is None:
        expect_error(DataError, lambda: draw(np.array(numbers), series, wanted, seed, read), f"(rows = {wanted})")
        return
    parts = draw(np.array(numbers), series, wanted, seed, read)
    assert (sorted(row for part in parts for row in part.frame[ROW]), len(looked)) == expected
    assert len(set(looked)) == len(looked)


def test_a_row_that_leaks_is_replaced_and_counted(made):
    """Every third user sees one film again and again: all rows of theirs leak, and none of the others'."""
    again = [items if user % 3 else [0] * FILMS for user, items in enumerate(all_films(12))]
    _, load = made(again)
    counts = []
    for seed in range(6):
        rows = load(seed, rows=20)
        assert len(rows) == 20
        assert rows.frame[ROW].is_sorted()
        assert all(user % 3 for user in rows.frame["user"].cast(int))
        assert int(rows.labels.sum()) == 10
        counts.append(rows.counts["leaking"])
    assert 2 < np.mean(counts) < 20  # 10 expected
    assert load(0, rows=20).counts["leaking"] == counts[0]
    assert load(rows=90, repeats=True).counts["leaking"] == 0


def test_most_of_what_is_drawn_leaks(made):
    _, load = made([items if user % 4 == 0 else [0] * FILMS for user, items in enumerate(all_films(12))])
    expect_error(DataError, lambda: load(rows=10), "rows drawn have their target in their own history", "repeats: true")
    expect_error(DataError, load, "72 of 96 rows have their target", "'Film A' in row 9")  # 8 of each user
    assert len(load(rows=10, repeats=True)) == 10


def test_one_leak_is_not_most_of_few(made):
    """Of two rows drawn one may leak by chance: that says nothing yet."""
    _, load = made([items if user else [0] * FILMS for user, items in enumerate(all_films(3))])
    counts = [load(seed, rows=2).counts["leaking"] for seed in range(20)]
    assert {0, 1, 2} >= set(counts) > {0}


def test_rows_that_cannot_be_written_are_replaced_and_counted(made):
    _, load = made(all_films(6), described=range(5))
    rows = load(rows=15, examples={"kind": "describe-item"})
    assert rows.frame["completion"].str.contains("About [0-4]").all()
    assert len(rows) == 15
    assert rows.counts["no_answer"] > 0
    few = {"rows": 50, "examples": {"kind": "describe-item"}}
    expect_error(DataError, lambda: load(**few), "54 rows, ", "without an answer", "at least 50 to draw from")


def test_there_is_nothing_to_draw_from(made):
    _, load = made(all_films(3))
    examples = {**RATINGS, "window": FILMS}
    for more in ({}, {"rows": 2}):
        words = "no example is left (30 with too few earlier events)"
        expect_error(DataError, lambda more=more: load(examples=examples, **more), words)
    expect_error(DataError, lambda: load(examples={"kind": "preference-pairs"}, rows=2), "chosen and rejected")
    expect_error(DataError, lambda: load(max_length=66), "no example is left (", "too long")
