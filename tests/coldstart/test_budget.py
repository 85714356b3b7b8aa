"""A budget is kept to the last prompt: calls and money, by hand and for any sequence of calls."""

import numpy as np
from cold import Listening
from hypothesis import given
from hypothesis import strategies as st

from llmrec.coldstart.budget import Budget, BudgetedEngine
from llmrec.errors import ConfigError
from llmrec.llm.cache import CachedEngine
from llmrec.llm.fake import FakeEngine
from llmrec.protocols import Prompt, Sampling
from llmrec.testing import EngineContract, expect_error

sizes = st.lists(st.integers(0, 7), max_size=8)


def prompts(words):
    return [Prompt(" ".join(["word"] * n), system="s") for n in words]


def ask(engine, words, answer=" yes indeed"):
    found = engine.logprobs(prompts(words), [[answer, " no"]] * len(words))
    return [bool(np.isfinite(row).all()) for row in found]


class TestUnbounded(EngineContract):
    def make(self):
        return BudgetedEngine(FakeEngine(), Budget())


@given(sizes, st.integers(0, 30))
def test_calls_are_admitted_in_order_until_they_are_spent(calls, budget):
    engine = BudgetedEngine(Listening(), Budget(calls=budget))
    asked = [each for n in calls for each in ask(engine, [1] * n)]
    expected = min(budget, sum(calls))
    assert asked == [True] * expected + [False] * (len(asked) - expected)
    assert len(engine.engine.heard) == engine.spent.prompts == expected
    assert engine.refused == sum(calls) - expected
    assert engine.exhausted == (sum(calls) > budget)


@given(sizes, st.integers(0, 30))
def test_prompts_that_belong_together_are_not_parted(calls, budget):
    engine = BudgetedEngine(Listening(), Budget(calls=budget), together=2)
    for n in calls:
        ask(engine, [1] * 2 * n)
    assert engine.spent.prompts == len(engine.engine.heard) == min(budget // 2 * 2, 2 * sum(calls))


def test_money_by_hand():
    # One word of system and n of user are read, three of answers written: (1 + n) * 2 + 3 * 10 millionths.
    prices = {"input_price": 2.0, "output_price": 10.0}
    engine = BudgetedEngine(Listening(), Budget(money=(34 + 40 + 36) / 1e6), **prices)
    assert ask(engine, [1]) == [True]
    assert ask(engine, [4, 2, 1]) == [True, True, False]
    assert ask(engine, [1]) == [False]
    assert engine.spent.money(2.0, 10.0) == 110 / 1e6
    short = BudgetedEngine(Listening(), Budget(money=109.9 / 1e6), **prices)
    # What is cheap enough, behind what was not, is not asked either: which prompts are asked does not depend on it.
    assert ask(short, [1, 4, 2, 0]) == [True, True, False, False]
    assert ask(short, [0]) == [False]


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(0, 400))
def test_money_is_never_exceeded_and_nothing_that_fits_is_left_out(words, millionths):
    engine = BudgetedEngine(Listening(), Budget(money=millionths / 1e6), input_price=2, output_price=10)
    asked = ask(engine, words)
    costs = np.cumsum([(1 + n) * 2 + 30 for n in words])
    assert asked == (costs <= millionths + 1e-9).tolist()
    assert engine.spent.money(2, 10) <= millionths / 1e6 + 1e-15


def test_what_a_cache_holds_counts_as_it_did(tmp_path):
    heard = []
    for _ in range(2):
        inner = Listening()
        cached = CachedEngine(inner, tmp_path / "answers.sqlite")
        engine = BudgetedEngine(cached, Budget(calls=5))
        assert ask(engine, [1, 2, 3, 4, 5, 6, 7]) == [True] * 5 + [False] * 2
        heard.append(len(inner.heard))
        cached.close()
    assert heard == [5, 0]  # else two more would be paid for after each kill


def test_texts_are_admitted_too():
    engine = BudgetedEngine(FakeEngine(), Budget(calls=2))
    found = engine.generate(prompts([1, 2, 3]), Sampling(max_tokens=4))
    assert [one.finish == "error" for one in found] == [False, False, True]
    assert "budget" in found[2].error
    paid = BudgetedEngine(FakeEngine(), Budget(money=12 / 1e6), output_price=2)
    assert [one.finish == "error" for one in paid.generate(prompts([1, 2]), Sampling(max_tokens=4))] == [False, True]


def test_money_without_a_price_is_refused():
    expect_error(ConfigError, lambda: BudgetedEngine(FakeEngine(), Budget(money=1)), "money = 1", "input_price")
