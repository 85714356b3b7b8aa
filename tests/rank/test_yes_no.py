"""Scoring yes/no examples: what is asked, which tokens are read, what cannot be scored."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM

from llmrec.data_prep.examples import Examples
from llmrec.data_prep.examples.table import make_frame
from llmrec.errors import ConfigError, DataError
from llmrec.llm.fake import FakeConfig, FakeEngine
from llmrec.llm.tokens import PromptTokenizer
from llmrec.llm.transformers import TransformersConfig, TransformersEngine
from llmrec.prompts.labels import first_tokens
from llmrec.protocols import Prompt, Usage
from llmrec.rank.yes_no import ScoreRecipe, score_batch, score_yes_no
from llmrec.testing import expect_error


def examples(**changed):
    made = {
        "prompt": ["Say yes or no.\n\nIs it Alien?", "Say yes or no.\n\nIs it Heat?", "Is it Dune?"],
        "system": ["Say yes or no.", "Say yes or no.", ""],
        "completion": [" Yes.", " No.", " Yes."],
        "label": [True, False, True],
        "user": ["ann", "bob", "ann"],
        "item": [3, 4, 5],
    } | changed
    return Examples(make_frame({name: values for name, values in made.items() if values is not None}))


class Recorder:
    """An engine that keeps what it is asked, and knows the scores of its answers."""

    identity, context, usage = "recorder", None, Usage()

    def __init__(self, scores, count=lambda text: len(text.split())):
        self.scores, self.count, self.asked = scores, count, []

    def count_tokens(self, texts):
        return [self.count(text) for text in texts]

    def logprobs(self, prompts, answers):
        self.asked += zip(prompts, answers, strict=True)
        return [np.array(self.scores[row], np.float32) for row in range(len(prompts))]


def test_a_score_is_yes_less_no_at_one_position():
    engine = Recorder([[-1.0, -3.0], [-4.0, -0.5], [-2.0, np.nan]])
    found = score_yes_no(engine, examples())
    assert [answers for _, answers in engine.asked] == [[" Yes", " No"]] * 3
    assert [prompt for prompt, _ in engine.asked] == [
        Prompt("Is it Alien?", "Say yes or no."),
        Prompt("Is it Heat?", "Say yes or no."),
        Prompt("Is it Dune?"),
    ]
    assert found.scores[:2].tolist() == [2, -3.5]
    assert found.failed.tolist() == [False, False, True]
    assert found.frame.select("row", "user", "item", "label").rows() == [
        (0, "ann", 3, True),
        (1, "bob", 4, False),
        (2, "ann", 5, True),
    ]


def test_what_is_yes_comes_from_the_labels_not_from_the_words():
    engine = Recorder([[0, 0]] * 3)
    score_yes_no(engine, examples(label=[False, True, False], completion=["\nYes", "\nNein!", "\nYes"]))
    assert engine.asked[0][1] == ["\nNein", "\nYes"]


def test_a_model_tuned_on_messages_has_answers_without_a_space():
    engine = Recorder([[0, 0]] * 3)
    score_yes_no(engine, examples(), chat=True)
    assert engine.asked[0][1] == ["Yes", "No"]


def test_users_and_items_may_be_unknown():
    found = score_yes_no(FakeEngine(), examples(user=None, item=None))
    assert found.users is None
    assert found.frame["item"].null_count() == 3


@pytest.mark.parametrize(
    ("text", "system"),
    [
        ("Do.\n\nIs it?", "Do."),
        ("Is it?", ""),
        ("Do.", "Do."),
        ("Do.\n\n", "Do."),
        ("Do. \n\nNow", "Do."),
        ("Else\n\nIs it?", "Do."),
    ],
)
def test_a_prompt_is_read_as_the_example_s_text(tiny_model, text, system):
    first = examples(prompt=[text] * 3, system=[system] * 3).prompts()[0]
    assert PromptTokenizer(str(tiny_model)).render(first) == text


def test_scores_are_those_of_the_two_tokens_logits(tiny_model):
    """Against the model run by hand: the difference of two logits at the prompt's last token."""
    made = examples(completion=["\nY", "\nN", "\nY"], prompt=["Is it Alien?", "Is it Heat?", "Dune?"], system=[""] * 3)
    engine = TransformersEngine(TransformersConfig(model=str(tiny_model)))
    expect_error(ConfigError, lambda: score_yes_no(engine, made), "answer '\\nY'", "is 2 tokens")
    found = score_yes_no(engine, made, chat=True)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model).eval(), PromptTokenizer(str(tiny_model))
    yes, no = (tokenizer.tokenizer(text, add_special_tokens=False).input_ids for text in "YN")
    for row, prompt in enumerate(made.frame["prompt"]):
        ids = torch.tensor([tokenizer.encode(Prompt(prompt), room=1)])
        with torch.inference_mode():
            logits = model(ids).logits[0, -1]
        assert found.scores[row] == pytest.approx(float(logits[yes] - logits[no]), abs=1e-4)


def test_one_token_behind_the_prompt_is_enough():
    """As for a SentencePiece tokenizer, which puts a space of its own in front of a text that begins with one."""

    def count(text):
        return len(text.split()) + text.startswith(" ")

    assert first_tokens(Recorder([], count), [" Yes.", " No."], "Is it?") == [" Yes", " No"]


def test_answers_that_one_token_does_not_tell():
    words = Recorder([])
    expect_error(
        ConfigError,
        lambda: first_tokens(words, [" Yes of course.", " No."], "Is it?"),
        "answer ' Yes of course' of completion ' Yes of course.' is 3 tokens for recorder",
        "Yes and No",
    )
    expect_error(ConfigError, lambda: first_tokens(words, [" Yes.", " Yes!"], "Is it?"), "the same as another one")
    assert first_tokens(words, ["+", "-"], "Is it?", chat=True) == ["+", "-"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"label": [True] * 3}, ["3 examples with 3 yes", "which completions mean yes and no"]),
        ({"label": [True, None, False]}, ["1 without a label"]),
        ({"label": None}, ["no column 'label'"]),
        ({"completion": [" Yes.", " No.", " Aye."]}, ["2 completions for label yes (' Aye.', ' Yes.')"]),
    ],
)
def test_examples_that_say_no_yes_or_no(changed, words):
    expect_error(DataError, lambda: score_yes_no(FakeEngine(), examples(**changed)), *words)


def test_pairs_are_no_questions():
    pairs = Examples(
        make_frame({"prompt": ["a"], "system": [""], "chosen": [" b"], "rejected": [" c"], "label": [True]})
    )
    expect_error(DataError, lambda: score_yes_no(FakeEngine(), pairs), "no column 'completion'")


def test_a_prompt_that_fills_the_context():
    prompts = ["a few words", "one two three four " * 5 + "end.", "a b"]
    made = examples(prompt=prompts, system=[""] * 3)
    expect_error(
        DataError,
        lambda: score_yes_no(FakeEngine(FakeConfig(context=21)), made),
        "example 1 has a prompt of 21 tokens, and 0 more",
        "room for an answer in the 21 tokens that fake/fake reads",
        "max_tokens",
    )
    assert len(score_yes_no(FakeEngine(FakeConfig(context=22)), made)) == 3


def test_a_batch_is_resumed_from_the_cache(tmp_path):
    path = tmp_path / "examples.jsonl"
    examples().save(path)
    recipe = ScoreRecipe(examples=path, out=tmp_path / "a.parquet", engine="fake", cache=tmp_path / "c", commit_every=1)
    told = []

    class KilledError(Exception):
        pass

    def stop(done, total, _):
        told.append((done, total))
        if done == 2:
            raise KilledError

    foreseen = score_batch(recipe, dry_run=True)
    assert foreseen.predictions.failed.all()
    with pytest.raises(KilledError):
        score_batch(recipe, progress=stop)
    assert told == [(1, 3), (2, 3)]
    assert not recipe.out.exists()
    run = score_batch(recipe)
    assert (run.usage.cache_hits, run.usage.cache_misses) == (4, 2)
    assert foreseen.usage.cache_misses == 6
    assert pl.read_parquet(recipe.out).equals(run.predictions.frame)
    assert not run.predictions.failed.any()
    record = json.loads((tmp_path / "a.run.json").read_text())
    assert (record["examples"], record["failed"], record["engine"]) == (3, 0, "fake/fake")


@pytest.mark.data
def test_tallrec_s_own_file(data_folder, tmp_path):
    path = data_folder / "tallrec-movie" / "test.json"
    run = score_batch(ScoreRecipe(examples=path, out=tmp_path / "a.parquet", engine="fake", cache=tmp_path / "c"))
    raw = json.loads(path.read_text(encoding="utf-8"))
    assert run.predictions.labels.tolist() == [row["output"] == "Yes." for row in raw]
    assert np.isfinite(run.predictions.scores).all()
    one = FakeEngine().logprobs([Prompt(raw[7]["input"], raw[7]["instruction"])], [[" Yes", " No"]])[0]
    assert run.predictions.scores[7] == pytest.approx(float(one[0]) - float(one[1]))
