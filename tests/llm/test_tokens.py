"""Prompts and answers become the tokens that they are in one text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, PreTrainedTokenizerFast

from llmrec.errors import EngineError
from llmrec.llm.tokens import PromptTokenizer
from llmrec.protocols import Prompt
from llmrec.testing import expect_error

CORPUS = ["the heat of the alien", "alien resurrection", "the thing", "heat and dust", "a dune, a heat\nalien 3"] * 20


@pytest.fixture(scope="module")
def prefixing(tiny_model, tmp_path_factory):
    """A byte-pair tokenizer that puts a space before whatever begins a text, and adds no special token."""
    folder = tmp_path_factory.mktemp("tokenizers") / "prefixing"
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="first", split=True),
            pre_tokenizers.Split(Regex(r"\n|,"), "isolated"),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>", "<eos>"], show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>").save_pretrained(folder)  # noqa: S106
    AutoConfig.from_pretrained(tiny_model).save_pretrained(folder)
    return PromptTokenizer(str(folder))


def test_an_answer_is_tokenised_as_it_stands_behind_its_prompt(prefixing):
    prompt, answer = Prompt("heat\n"), "alien"
    whole = prefixing.encode(Prompt("heat\nalien"), room=0)
    assert prefixing.encode(prompt, room=0) + prefixing.encode_answers(prompt, [answer])[0] == whole
    # By itself it would begin with a space that the text does not have.
    assert prefixing.tokenizer.decode(prefixing.encode(Prompt(answer), room=0)) == "alien"
    assert prefixing.encode(Prompt(answer), room=0) != prefixing.encode_answers(prompt, [answer])[0]


words = st.lists(st.sampled_from(["the", "heat", "alien", "dune", "3", "thing,"]), min_size=1, max_size=6).map(" ".join)


@given(words, words, st.sampled_from([" ", "\n", ", "]))
def test_prompt_and_answer_are_the_tokens_of_one_text(prefixing, prompt, answer, between):
    answers = prefixing.encode_answers(Prompt(prompt), [between + answer])
    whole = prefixing.tokenizer.decode(prefixing.encode(Prompt(prompt), room=0) + answers[0])
    assert whole == prompt + between + answer
    together = prefixing.encode(Prompt(prompt + between + answer), room=0)
    assert prefixing.encode(Prompt(prompt), room=0) + answers[0] == together


def test_where_a_token_spans_both_the_answer_is_tokenised_by_itself(prefixing):
    spanning = prefixing.encode_answers(Prompt("the hea"), ["t"])
    assert spanning == [prefixing.encode(Prompt("t"), room=0)]


def test_an_empty_prompt_without_a_first_token_still_gives_one(prefixing):
    assert prefixing.encode(Prompt(""), room=3) == [prefixing.tokenizer.eos_token_id]


def test_an_empty_answer_is_an_error(prefixing):
    expect_error(EngineError, lambda: prefixing.encode_answers(Prompt("heat"), [" a", ""]), "empty answer")
    assert prefixing.encode_answers(Prompt("heat"), []) == []


def test_system_and_user_are_a_paragraph_each_without_a_chat_template(prefixing):
    assert prefixing.render(Prompt("heat", system="films")) == "films\n\nheat"
    assert prefixing.render(Prompt("heat")) == "heat"
    assert prefixing.render(Prompt("", system="films")) == "films"


def test_the_answer_must_fit_behind_the_prompt(prefixing):
    prompt = Prompt(" ".join(["alien"] * 300))
    n = len(prefixing.encode(prompt, room=0))
    assert len(prefixing.encode(prompt, room=512 - n)) == n
    expect_error(EngineError, lambda: prefixing.encode(prompt, room=513 - n), f"{n} tokens", "512", "shorten")
