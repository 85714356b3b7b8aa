"""Which contexts are asked: of files and data sets, what is left out, what is cut."""

from dataclasses import replace

import polars as pl
import pytest
from asked import described, jobs
from generated import CONTEXTS, write_lines

from llmrec.data_prep.examples import ExamplesRecipe
from llmrec.data_prep.split import by_user
from llmrec.errors import ConfigError, DataError
from llmrec.generate.contexts import OVERHEAD, Contexts, ContextSource
from llmrec.llm.fake import FakeConfig, FakeEngine
from llmrec.testing import expect_error


def read(source, *, words=None, room=5, size=2):
    """All contexts as rows, and what was counted."""
    engine = FakeEngine(FakeConfig(context=None if words is None else words + room + OVERHEAD))
    contexts = Contexts(source, engine, room)
    blocks = [block for _, block in contexts.blocks(size)]
    assert all(block.columns == ["user", "system", "prompt"] for block in blocks)
    return [row for block in blocks for row in block.rows()], dict(contexts.counts)


def lines(tmp_path, rows):
    return ContextSource(file=write_lines(tmp_path / "contexts.jsonl", rows))


def test_a_file_s_prompts_in_order_each_user_s_once(tmp_path):
    rows = [*CONTEXTS, CONTEXTS[0] | {"completion": " Else"}, CONTEXTS[0] | {"user": 7}]
    found, counts = read(lines(tmp_path, rows))
    assert found == [
        *((row["user"], row["system"], row["prompt"]) for row in CONTEXTS),
        ("7", "Write.", rows[0]["prompt"]),
    ]
    assert counts == {"repeated": 1}


def test_prompts_alone_are_enough(tmp_path):
    found, _ = read(lines(tmp_path, [{"prompt": "a"}, {"prompt": "b", "system": None}]))
    assert found == [(None, "", "a"), (None, "", "b")]


def test_what_cannot_be_asked_is_left_out_and_counted(tmp_path):
    rows = [
        {"prompt": " \n"},
        {"prompt": "Write.\n\n", "system": "Write."},
        {"prompt": "one two three four five"},
        {"prompt": "one two three four"},
        {"prompt": "Do it.\n\nthree four five", "system": "Do it."},
    ]
    found, counts = read(lines(tmp_path, rows), words=4)
    assert [prompt for _, _, prompt in found] == ["one two three four"]
    assert counts == {"no_prompt": 2, "too_long": 2}
    again = {"prompt": "one two three four"}
    assert read(lines(tmp_path, [again, again]), words=4)[1] == {"repeated": 1}


def test_counts_are_those_of_one_pass(tmp_path):
    contexts = Contexts(lines(tmp_path, [{"prompt": " "}, {"prompt": "a"}]), FakeEngine(), 5)
    assert [[done for done, _ in contexts.blocks(1)] for _ in range(2)] == [[2], [2]]
    assert contexts.counts == {"no_prompt": 1}
    assert len(contexts) == 2


def test_cvs_of_a_data_set_lose_their_last_words_and_blank_ones_are_left_out(tmp_path):
    jobs().save(tmp_path / "jobs")
    source = ContextSource(
        dataset=tmp_path / "jobs", examples=ExamplesRecipe(kind="cv-posting", mismatches=True, like_above=0)
    )
    found, counts = read(source)
    assert [user for user, _, _ in found] == ["ann", "bob"]
    assert "Ann, nurse since 2001" in found[0][2]
    assert counts == {"repeated": 2, "no_prompt": 1}
    whole = FakeEngine().count_tokens([found[0][2]])[0]
    cut, counts = read(source, words=whole - 2)
    assert "Ann, nurse\n" in cut[0][2]
    assert "since" not in cut[0][2]
    assert counts["truncated"] == 2
    assert all(FakeEngine().count_tokens([text])[0] <= whole - 2 for _, _, text in cut)


def test_items_need_no_description_to_be_asked_about(tmp_path):
    described().save(tmp_path / "toy")  # two films have none
    examples = ExamplesRecipe(kind="describe-item", history=2)
    found, _ = read(ContextSource(dataset=tmp_path / "toy", examples=examples))
    assert len(found) == 11
    assert found[0][0] == "u0"
    assert found[0][2].endswith("- Alien\n\nDescription of what the user chooses next:")


def test_several_parts_of_a_split_come_one_after_the_other(tmp_path):
    """People are held out, so each part asks about its own; a small block ends with its part."""
    people = replace(jobs(), user_table=pl.DataFrame({"text": ["a nurse", "a cook", "a pilot"]}))
    split = by_user(people)
    split.save(tmp_path / "jobs" / "split")
    source = ContextSource(dataset=tmp_path / "jobs", examples=ExamplesRecipe(kind="cv-posting", mismatches=True))
    of_each = {part: read(source.model_copy(update={"parts": (part,)}))[0] for part in ("train", "valid", "test")}
    assert sorted(row[0] for rows in of_each.values() for row in rows) == ["ann", "bob", "eve"]
    found, _ = read(source.model_copy(update={"parts": ("test", "train")}))
    assert found == [*of_each["test"], *of_each["train"]]
    assert read(source)[0] == of_each["train"], "the examples' own part"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["contexts.jsonl' is empty"]),
        ("{\n", ["line 1"]),
        ('{"prompt": "a"}\n{"text": "b"}\n', ["line 2 has no text 'prompt'"]),
        ('{"prompt": "a", "system": 3}\n', ["'system' that is no text (3)"]),
        ('{"prompt": " "}\n', ["no context can be asked (1 no prompt)"]),
        (b"\xff\xfe", ["cannot be read"]),
    ],
)
def test_bad_files(tmp_path, text, words):
    path = tmp_path / "contexts.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    expect_error(DataError, lambda: read(ContextSource(file=path)), *words)


def test_sources_that_say_nothing_or_too_much(tmp_path):
    missing = ContextSource(file=tmp_path / "no.jsonl")
    expect_error(DataError, lambda: read(missing), "no.jsonl", "cannot be read")
    expect_error(ConfigError, lambda: read(ContextSource()), "contexts of nothing", "a data set with examples")
    both = ContextSource(file=tmp_path / "a", dataset=tmp_path / "b")
    expect_error(ConfigError, lambda: read(both), "contexts of file and dataset")
    small = FakeEngine(FakeConfig(context=OVERHEAD + 5))
    source = lines(tmp_path, [{"prompt": "a"}])
    expect_error(ConfigError, lambda: Contexts(source, small, 5), "max_tokens = 5", "69, the context of fake/fake")
