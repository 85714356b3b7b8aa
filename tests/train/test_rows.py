"""Rows as tokens: drawn in balance, left out and counted, and what is wrong with them said in one line."""

import json

import numpy as np
import pytest
from tuning import questions, save, titles

from llmrec.config import make_config
from llmrec.data_prep.split import leave_last_out
from llmrec.errors import ConfigError, DataError
from llmrec.testing import expect_error, toy
from llmrec.train.recipe import Source
from llmrec.train.rows import ROW
from llmrec.train.sources import join_rows, load_rows

MANY = [*questions(30), *questions(50, seed=4)]  # half yes
LONG = {"prompt": "Does Ann like " + "x" * 90 + "?\n", "system": "", "completion": "Yes.", "label": True}


@pytest.fixture
def load(tokens, tmp_path):
    """A function that loads rows written as JSON lines."""

    def run(made, *, max_length=400, seed=0, **more):
        path = save(tmp_path / "rows.jsonl", made)
        return load_rows(Source(file=path, **more), tokens, max_length, seed)

    return run


def test_tokens_are_those_that_engines_score(encode, tokens):
    """The tiny tokenizer has a token a character: <bos>, the text, and an end where the answer has no line break."""
    rows = encode([{"prompt": "Is it?\n", "system": "", "completion": "Yes."}, {"prompt": "a\n", "completion": "b\n"}])
    ids = tokens.tokenizer.convert_tokens_to_ids
    assert rows.prompts == [[1, *ids(list("Is it?\n"))], [1, *ids(["a", "\n"])]]
    assert rows.answers == [[*ids(list("Yes.")), 2], ids(["b", "\n"])]


@pytest.mark.parametrize(("n", "yes"), [(16, 8), (7, 3), (1, 0), (80, 40)])
def test_few_shots_are_as_many_yes_as_no(load, n, yes):
    rows = load(MANY, rows=n)
    assert (len(rows), int(rows.labels.sum())) == (n, yes)
    assert rows.frame[ROW].is_sorted()
    assert rows.frame[ROW].n_unique() == n
    for row, prompt in rows.frame.select(ROW, "prompt").iter_rows():
        assert MANY[row]["prompt"] == prompt


def test_the_seed_draws_the_shots(load):
    drawn = [load(MANY, rows=16, seed=seed).frame[ROW].to_list() for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1]
    assert len({tuple(each) for each in drawn}) == 3


def test_each_row_is_drawn_alike(load):
    counts = np.zeros(20)
    for seed in range(200):
        np.add.at(counts, load(questions(20), rows=4, seed=seed).frame[ROW].to_numpy(), 1)
    assert counts.sum() == 800
    assert counts.min() > 20  # 40 expected, sd 5.7
    assert counts.max() < 60


def test_rows_without_labels_are_drawn_too(load):
    assert len(load(titles(9), rows=5)) == 5
    expect_error(DataError, lambda: load(titles(9), rows=10), "9 rows", "at least 10", "lower rows")


def test_unlabelled_rows_are_none_of_the_shots(load):
    mixed = [*questions(6), *({**row, "label": None} for row in titles(6))]
    assert load(mixed, rows=6).labels.sum() == 3


def test_too_few_rows_of_a_label(load):
    rows = [row for place, row in enumerate(questions(20)) if place < 14 or not row["label"]]
    expect_error(DataError, lambda: load(rows, rows=16), "7 rows that say yes", "at least 8", "(rows = 16)")


def test_a_long_row_is_left_out_and_counted(load):
    rows = load([*questions(6), LONG], max_length=60)
    assert len(rows) == 6
    assert rows.counts["longer_than_max_length"] == 1
    longest = max(len(prompt) + len(answer) for prompt, answer in zip(rows.prompts, rows.answers, strict=True))
    assert len(load(questions(6), max_length=longest)) == 6  # just fits
    assert len(load(questions(6), max_length=longest - 1)) < 6
    expect_error(DataError, lambda: load([LONG], max_length=60), "no row of 1 has at most 60 tokens", "max_length")


def test_a_row_longer_than_the_context_is_left_out(load, encode):
    row = {**LONG, "prompt": "x" * 600 + "\n"}
    rows = load([*questions(4), row], max_length=1000)
    assert (len(rows), rows.counts["longer_than_max_length"]) == (4, 1)


def test_a_shot_that_is_too_long_is_drawn_again(load):
    rows = [LONG] * 30 + questions(8)
    found = load(rows, rows=8, max_length=60)
    assert (len(found), int(found.labels.sum())) == (8, 4)
    assert found.counts["longer_than_max_length"] > 0


def test_too_few_rows_are_short_enough(load):
    rows = [LONG] * 30 + questions(12)[:11]
    expect_error(
        DataError,
        lambda: load(rows, rows=14, max_length=60),
        "5 rows that say no",
        "at least 7",
    )
    expect_error(
        DataError,
        lambda: load([*rows, *(row for row in questions(40, seed=1) if not row["label"])], rows=14, max_length=60),
        "36 rows that say yes, 30 of them too long, leaking or without an answer",
        "at least 7",
    )


@pytest.mark.parametrize("nothing", ["", " \n", None])
def test_rows_without_an_answer(load, nothing):
    rows = questions(6)
    rows[2]["completion"] = rows[4]["completion"] = nothing
    expect_error(DataError, lambda: load(rows), "row 3 of rows.jsonl has no answer, nor have 1 more", "mend or drop")
    del rows[2]
    expect_error(DataError, lambda: load(rows), "row 4 of rows.jsonl has no answer", "a text in each")


def test_pairs_teach_no_answer(load):
    rows = [{"prompt": "a\n", "system": "", "chosen": "b", "rejected": "c"}]
    expect_error(DataError, lambda: load(rows), "chosen and rejected", "completions")


def test_one_class_only(load):
    rows = load([row for row in questions(8) if row["label"]])
    expect_error(DataError, rows.first_tokens, "4 rows that all say yes", "some of each")
    rows = load([row for row in questions(8) if not row["label"]])
    expect_error(DataError, rows.first_tokens, "4 rows that all say no", "some of each")
    expect_error(DataError, load(titles(3)).first_tokens, "rows without labels", "yes-no examples")


def test_first_tokens_tell_no_from_yes(load, tokens):
    ids = tokens.tokenizer.convert_tokens_to_ids
    assert load([*questions(4), *({**row, "label": None} for row in titles(3))]).first_tokens() == tuple(
        ids(["N", "Y"])
    )


@pytest.mark.parametrize("answers", [("Not so.", "No."), ("Yes.", "Yes!"), ("Yes.", "No.", "Sure.")])
def test_answers_that_do_not_differ_in_their_first_token(load, answers):
    rows = [{**row, "completion": answers[0] if row["label"] else answers[1]} for row in questions(4)]
    rows[0]["completion"] = answers[-1] if len(answers) > 2 else answers[0]
    names = ", ".join(map(repr, sorted(answers)))
    expect_error(DataError, load(rows).first_tokens, f"answers {names}", "one first token for yes", "template")


QUESTION = 'User Preference: "Alien", "Brazil"\nWill the user like "{}"?\n'


def film(target, label=True, **more):
    answer = "Yes." if label else "No."
    return {"prompt": QUESTION.format(target), "system": "", "completion": answer, "label": label, **more}


def listed(history, answer, item=1):
    return {
        "prompt": "".join(f"{title}\n" for title in history),
        "system": "",
        "completion": f"{answer}\n",
        "item": item,
    }


def test_labels_that_leak_are_left_out_and_counted(load):
    rows = load([film("Heat"), film("Brazil"), film("Dune", False), film("Alie", False), film("Alien 3")])
    assert rows.frame[ROW].to_list() == [0, 2, 3, 4]
    assert rows.counts["leaking"] == 1
    rows = load([listed(["Heat", "Dune"], "Dune"), listed(["Heat", "Dune 2"], "Dune"), listed(["Heat"], "Big Heat")])
    assert rows.frame[ROW].to_list() == [1, 2]
    rows = load([listed(["Heat"], "Alien\nHeat"), listed(["Heat"], "Alien\nDune"), listed(["Heat"], "Dune\nAlien")])
    assert rows.frame[ROW].to_list() == [1, 2]  # a second title counts like the first
    news = [
        {**film("Rain"), "prompt": f'Chosen:\n- Rain\n- Sun\nWill it be "{each}"?\n'} for each in ("Rain", "Wind", "Su")
    ]
    assert load(news).frame[ROW].to_list() == [1, 2]


def test_more_than_half_leak(load):
    rows = [film("Heat"), film("Brazil"), film("Alien")]
    expect_error(
        DataError,
        lambda: load(rows),
        "2 of 3 rows have their target in their own history ('Brazil' in row 2)",
        "repeats: true",
    )
    assert len(load(rows, repeats=True)) == 3


def test_an_instruction_that_names_its_answer_does_not_leak(load):
    """General instructions have no items: what they choose from is no history."""
    rows = [{"prompt": "Which is a fruit?\n- apple\n- stone\n", "system": "", "completion": "apple"}] * 2
    assert len(load(rows)) == 2


def test_tallrec_s_own_json(tokens, tmp_path):
    path = tmp_path / "test.json"
    asked = {"instruction": "Say it.", "input": 'Like "Heat"?'}
    path.write_text(json.dumps([{**asked, "output": "Yes."}, {**asked, "output": "No."}]))
    rows = load_rows(Source(file=path), tokens, 400, 0)
    text = tokens.tokenizer.decode(rows.prompts[0][1:]).replace(" ", "")
    assert text == 'Sayit.\n\nLike"Heat"?'
    assert rows.labels.tolist() == [True, False]


def test_histories_of_a_data_set_are_cut_from_the_old_end(tokens, tmp_path):
    leave_last_out(toy()).save(tmp_path / "toy" / "split")
    examples = {"kind": "next-item", "part": "test"}
    source = make_config(Source, {"dataset": str(tmp_path / "toy"), "examples": examples})
    whole, cut = (load_rows(source, tokens, length, 0) for length in (300, 64 + 26))
    assert (len(whole), whole.counts["truncated"]) == (len(cut), cut.counts["truncated"] - 1)
    assert whole.frame["prompt"][0] == "Alien\nBrazil\nCasablanca\n"  # 24 tokens, and Dune has 5
    assert cut.frame["prompt"][0] == "Brazil\nCasablanca\n"
    assert cut.frame["prompt"][1:].equals(whole.frame["prompt"][1:])


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "a source with nothing"),
        ({"file": "a", "dataset": "b"}, "a source with file, dataset"),
        ({"dataset": "b"}, "a source with dataset"),
        ({"file": "a", "examples": {"kind": "next-item"}}, "a source with file, examples"),
    ],
)
def test_a_source_is_a_file_or_a_data_set(tokens, given, found):
    source = make_config(Source, given)
    expect_error(ConfigError, lambda: load_rows(source, tokens, 100, 0), found, "a file, or a data set", "write file")


def test_a_file_that_is_not_there(tokens, tmp_path):
    expect_error(DataError, lambda: load_rows(Source(file=tmp_path / "no"), tokens, 9, 0), "cannot be read", "check")


def test_rows_are_named_by_source_and_number(load, encode):
    one, two = load([*questions(14), LONG][::-1], max_length=60), encode(titles(3), source="b.jsonl")
    joined = join_rows([one, two])
    assert joined.labels is None
    assert joined.name([0, 2, 15]) == "2, 4 of rows.jsonl, 2 of b.jsonl"
    assert joined.name(list(range(12))) == "2, 3, 4, 5, 6, 7, 8, 9, 10, 11 of rows.jsonl and 2 more"
    assert joined.counts["longer_than_max_length"] == 1
