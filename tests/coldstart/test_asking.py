"""Ways of asking: what the model reads, and what is made of its answers, by hand and against the engine itself."""

import numpy as np
import pytest
from cold import TITLES, Listening, numbers, world
from oracle import Oracle

from llmrec.coldstart.asking import (
    Calibrated,
    CalibratedConfig,
    Choice,
    ChoiceConfig,
    ItemTaste,
    Taste,
    YesNoConfig,
    YesNoTaste,
    make_taste,
)
from llmrec.coldstart.controls import ContentTaste, RandomTaste
from llmrec.coldstart.pairs import Pairs
from llmrec.config import Part
from llmrec.errors import ConfigError, UnknownNameError
from llmrec.llm.fake import FakeEngine
from llmrec.llm.transformers import TransformersConfig, TransformersEngine
from llmrec.protocols import Prompt
from llmrec.testing import INJECTIONS, expect_error

WORLD = world()
PAIRS = Pairs(numbers(0, 1, 0), numbers(5, 7, 4), numbers(6, 4, 7))
TITLE = ("title",)


def test_a_choice_is_asked_in_both_orders():
    engine = Listening()
    Choice(engine, WORLD, ChoiceConfig(history=2)).compare(PAIRS.select(slice(1)))
    asked = (
        "I have chosen the following titles in the past, in this order:\nCasablanca\nDune\n\n"
        "Two new titles, which nobody has chosen yet:\nA. {}\nB. {}\n\n"
        "Which of the two would I choose? Answer with its letter:"
    )
    one, two = "Fargo. Snow.", "Gattaca. Genes in space."
    assert engine.heard == [(asked.format(one, two), [" A", " B"]), (asked.format(two, one), [" A", " B"])]


def test_a_yes_is_asked_about_each_item():
    engine = Listening()
    YesNoTaste(engine, WORLD).compare(PAIRS.select(slice(1)))
    asked = (
        "I have chosen the following titles in the past, in this order:\nAlien\nBrazil\nCasablanca\nDune\n\n"
        "A new title, which nobody has chosen yet: {}\nWould I choose it? Answer yes or no:"
    )
    assert engine.heard == [
        (asked.format("Fargo. Snow."), [" no", " yes"]),
        (asked.format("Gattaca. Genes in space."), [" no", " yes"]),
    ]


def test_tallrecs_question_tells_what_was_liked_before_the_cut():
    engine = Listening()
    YesNoTaste(engine, WORLD, YesNoConfig(template="tallrec-item", columns=TITLE)).odds(numbers(0), numbers(6))
    ((prompt, answers),) = engine.heard
    assert 'Preference: "Alien", "Brazil"\n' in prompt  # user 0 gave 5 4 3 1, and later 5 and 2
    assert 'Unpreference: "Casablanca", "Dune"\n' in prompt
    assert '"Gattaca"?' in prompt
    assert answers == [" No", " Yes"]


@pytest.mark.parametrize("bias", [0.0, 0.25, 5.0, -5.0])
def test_a_choice_by_hand(bias):
    """A model that likes earlier titles one more each, and the first place by ``bias``."""
    engine = Oracle(["Fargo", "Gattaca", "Ran", "Heat"], bias)
    votes = Choice(engine, WORLD, ChoiceConfig(template="choose-label", columns=TITLE)).compare(PAIRS)
    np.testing.assert_allclose(votes.first, np.array([1, 1, -1]) + bias, atol=1e-5)
    np.testing.assert_allclose(votes.second, np.array([1, 1, -1]) - bias, atol=1e-5)
    np.testing.assert_allclose(votes.margins, [1, 1, -1], atol=1e-5)
    assert votes.scores().tolist() == ([1, 1, 0] if abs(bias) < 1 else [0.5] * 3)


def test_a_yes_by_hand():
    engine = Oracle(["Fargo", "Gattaca", "Ran", "Heat"])
    taste = YesNoTaste(engine, WORLD, YesNoConfig(template="pointwise-yes-no", columns=TITLE))
    np.testing.assert_allclose(taste.odds(numbers(0, 1, 2), numbers(5, 7, 4)), [3, 1, 0], atol=1e-5)
    votes = taste.compare(PAIRS)
    np.testing.assert_allclose(votes.first, [1, 1, -1], atol=1e-5)
    assert votes.first.tolist() == votes.second.tolist()


def lifts(engine, pairs, history):
    """What each history adds to each title, asked of the engine one by one."""
    names = WORLD.titles
    found = []
    for user, item in pairs:
        past = "".join(f"{names[each]}\n" for each in WORLD.queries([user], history).lists()[0])
        with_it, without = (engine.logprobs([Prompt(text)], [[f"{names[item]}\n"]])[0][0] for text in (past, ""))
        found.append(float(with_it) - float(without))
    return found


def test_likelihoods_are_less_what_titles_are_worth_alone():
    engine, asked = Listening(), [(0, 6), (1, 6), (0, 9), (2, 6)]
    taste = Calibrated(engine, WORLD, CalibratedConfig(history=2))
    users, items = (numbers(*column) for column in zip(*asked, strict=True))
    np.testing.assert_allclose(taste.odds(users, items), lifts(FakeEngine(), asked, 2), rtol=1e-6)
    assert [text for text, _ in engine.heard].count("") == 1
    taste.odds(numbers(1), numbers(9))
    assert len(engine.heard) == 1 + 4 + 1, "a title alone is asked once"


def test_likelihoods_of_a_real_model(tiny_model):
    engine = TransformersEngine(TransformersConfig(model=str(tiny_model), device="cpu"))
    votes = Calibrated(engine, WORLD).compare(PAIRS)
    asked = [(0, 5), (0, 6), (1, 7), (1, 4), (0, 4), (0, 7)]
    expected = np.array(lifts(engine, asked, 20)).reshape(-1, 2)
    np.testing.assert_allclose(votes.first, expected[:, 0] - expected[:, 1], atol=2e-3)
    assert np.abs(votes.first).min() > 0.01


@pytest.mark.parametrize("name", ["likelihood", "yes-no", "choice"])
@pytest.mark.parametrize("examples", [0, 2])
def test_what_a_pair_is_told_does_not_depend_on_its_company(name, examples):
    taste = make_taste(Part(name=name, parameters={"examples": examples}), FakeEngine(), WORLD)
    assert isinstance(taste, Taste)
    assert isinstance(taste, ItemTaste) == (name != "choice")
    votes = taste.compare(PAIRS)
    for row in range(len(PAIRS)):
        alone = taste.compare(PAIRS.select(slice(row, row + 1)))
        assert (alone.first[0], alone.second[0]) == (votes.first[row], votes.second[row])
    turned = taste.compare(Pairs(PAIRS.users, PAIRS.second, PAIRS.first))
    np.testing.assert_allclose(turned.margins, -votes.margins, atol=1e-6)
    assert len(taste.compare(PAIRS.select(slice(0))).first) == 0


@pytest.mark.parametrize("name", ["likelihood", "yes-no", "choice"])
def test_titles_that_give_orders_stay_on_their_line(name):
    """Each prompt has as many lines as with a plain title: whatever an item says, it ends no list and adds none."""
    orders = [text for text in INJECTIONS if "\ud800" not in text]  # which no table can hold
    lines = {}
    for titles in (["Plain"] * len(orders), orders):
        known = world(titles=[*TITLES[:4], *titles], about=[None] * (4 + len(titles)))
        engine = Listening()
        taste = make_taste(Part(name=name), engine, known)
        first = known.items[:-1]
        votes = taste.compare(Pairs(np.zeros(len(first)), first, known.items[1:]))
        assert np.isfinite(votes.margins).all()
        heard = [text + "".join(answers) if name == "likelihood" else text for text, answers in engine.heard if text]
        lines[titles[0]] = {text.count("\n") for text in heard}
    assert lines["Plain"] == lines[orders[0]]
    assert len(lines["Plain"]) == 1


def test_controls_keep_to_the_same_form():
    for control in (RandomTaste(), ContentTaste(WORLD, None)):
        assert isinstance(control, Taste)


def test_unknown_ways_and_parameters():
    expect_error(UnknownNameError, lambda: make_taste(Part(name="choise"), FakeEngine(), WORLD), "'choice'?")
    part = Part(name="likelihood", parameters={"columns": ["title"]})
    expect_error(ConfigError, lambda: make_taste(part, FakeEngine(), WORLD), "columns")
    part = Part(name="choice", parameters={"template": "likelihood-list"})
    expect_error(ConfigError, lambda: make_taste(part, FakeEngine(), WORLD), "0 labels", "at least 2")
