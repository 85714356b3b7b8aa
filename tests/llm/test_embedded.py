"""The embedded Gemma: real films against a plain forward pass, and the folder that it is turned into."""

import logging

import numpy as np
import pytest

from llmrec.errors import MissingPackageError
from llmrec.llm.models import embedded_model
from llmrec.llm.transformers import TransformersEngine
from llmrec.protocols import Prompt, Sampling

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def folder():
    try:
        return embedded_model()
    except MissingPackageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def engine(folder, two_threads):
    return TransformersEngine()


@pytest.fixture(scope="module")
def prompts_and_titles(film_titles):
    """Ten histories of 0 to 9 films, and twenty titles to follow each."""
    films = np.random.default_rng(0).permutation(film_titles)
    prompts = ["".join(f"{title}\n" for title in films[row * 10 : row * 10 + row]) for row in range(10)]
    return prompts, [[f"{title}\n" for title in films[400 + row * 20 : 420 + row * 20]] for row in range(10)]


@pytest.mark.data
def test_titles_score_as_a_plain_forward_pass(engine, folder, naive_model, prompts_and_titles):
    prompts, titles = prompts_and_titles
    scores = engine.logprobs([Prompt(text) for text in prompts], titles)
    oracle = naive_model(folder)
    expected = [[oracle.logprob(prompt, title) for title in row] for prompt, row in zip(prompts, titles, strict=True)]
    worst = np.abs(np.array(scores) - np.array(expected)).max()
    print(f"largest difference over {np.size(expected)} titles: {worst:.1e}")
    assert worst <= 1e-4


@pytest.mark.data
def test_titles_score_as_a_plain_forward_pass_beyond_the_sliding_window(engine, folder, naive_model, film_titles):
    prompt = "".join(f"{title}\n" for title in film_titles[:90])
    assert engine.count_tokens([prompt])[0] > engine.model.config.sliding_window
    titles = [f"{title}\n" for title in film_titles[100:104]]
    oracle = naive_model(folder)
    expected = [oracle.logprob(prompt, title) for title in titles]
    np.testing.assert_allclose(engine.logprobs([Prompt(prompt)], [titles])[0], expected, rtol=0, atol=1e-4)


def test_it_knows_films(engine):
    scores = engine.logprobs([Prompt("The Terminator was played by Arnold")], [[" Schwarzenegger", " Banana", " Heat"]])
    assert scores[0].argmax() == 0
    assert scores[0][0] > -1
    text = engine.generate([Prompt("1, 2, 3, 4, 5, 6,")], Sampling(max_tokens=8))[0].text
    assert text.startswith(" 7, 8")


def test_its_tokenizer_adds_one_bos(engine):
    tokenizer = engine.tokens.tokenizer
    for text in ("", "Alien (1979)"):
        ids = engine.tokens.encode(Prompt(text), room=0)
        assert ids.count(tokenizer.bos_token_id) == 1
        assert ids[0] == tokenizer.bos_token_id
    assert engine.count_tokens([""]) == [0]
    assert tokenizer.bos_token_id not in engine.tokens.encode_answers(Prompt("a"), [" b"])[0]


def test_the_folder_is_made_once(folder, caplog):
    assert list(folder.glob("*.safetensors"))
    assert not list(folder.glob("*.gguf"))
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    with caplog.at_level(logging.INFO, logger="llmrec"):
        assert embedded_model() == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert caplog.records == []
