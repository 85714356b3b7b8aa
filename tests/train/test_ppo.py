"""Whole runs of PPO: what is rewarded becomes usual, nats stay few, and what goes wrong is said and loses nothing."""

import json
import logging
import math

import pytest
import torch
from optimising import LENGTH, asks, loosened, ppo_recipe, share_of_a, words
from tuning import save

from llmrec.data.files import read_json
from llmrec.errors import ConfigError, DataError, ModelError, TrainingError
from llmrec.llm.transformers import TransformersConfig, TransformersEngine
from llmrec.protocols import Prompt, Sampling
from llmrec.testing import expect_error
from llmrec.train.ppo import Ppo
from llmrec.train.ppo_run import optimise


@pytest.fixture(scope="module")
def model(tiny_model, tmp_path_factory):
    return loosened(tiny_model, tmp_path_factory.mktemp("loose") / "model", size=0.5)


@pytest.fixture
def recipe(model, tmp_path):
    return lambda **changed: ppo_recipe(model, tmp_path, **changed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_is_rewarded_becomes_usual(recipe, seed):
    """From under 0.2 of the letter to over 0.8 in 30 steps; an engine that takes the adapter writes so too."""
    learns = recipe(
        seed=seed, steps=30, rollout=32, batch_size=32, epochs=4, kl_coefficient=0.002, checkpoint_every=100
    )
    done = optimise(learns, reward=share_of_a)
    rewards = [entry["reward"] for entry in done.log]
    assert rewards[0] < 0.2
    assert sum(rewards[-3:]) / 3 > 0.8
    engine = TransformersEngine(TransformersConfig(model=learns.model, adapter=str(done.adapter), device="cpu"))
    prompts = [Prompt(row["prompt"]) for row in asks(60)[40:]]  # others than those it has learnt from
    said = engine.generate(prompts, Sampling(max_tokens=LENGTH, temperature=1.0, seed=seed))
    assert sum(one.text.count("a") for one in said) / (LENGTH * len(said)) > 0.7


@pytest.mark.slow
def test_kl_stays_under_its_target_where_the_price_follows_it(recipe, tmp_path):
    """The price falls while answers are near the reference, and holds them as they come near the target."""
    common = {"steps": 30, "rollout": 32, "batch_size": 32, "epochs": 4, "checkpoint_every": 100}
    target = 3.0
    free = optimise(recipe(**common, kl_coefficient=0.01), reward=share_of_a)
    held = optimise(
        recipe(**common, kl_coefficient=0.3, kl_target=target, out=tmp_path / "held"),
        reward=share_of_a,
    )
    assert min(entry["kl"] for entry in free.log[-10:]) > target
    assert {entry["kl_coefficient"] for entry in free.log} == {0.01}
    assert max(entry["kl"] for entry in held.log) < target
    prices = [entry["kl_coefficient"] for entry in held.log]
    assert prices[10] < prices[0]


def test_the_run_folder_holds_what_there_is_to_know(recipe, tmp_path):
    told = []
    made = recipe(samples=2, kl_target=3.0)
    done = optimise(made, reward=share_of_a, report=lambda *each: told.append(each))
    assert {path.name for path in made.out.iterdir()} == {
        "adapter",
        "config.json",
        "curves.html",
        "history.json",
        "run.json",
    }
    assert [(step, steps) for step, steps, _ in told] == [(step, 4) for step in (1, 2, 3, 4)]
    assert told[-1][2] == f"reward {done.log[-1]['reward']:.3f}, KL {done.log[-1]['kl']:.3f}"
    log = read_json(made.out / "history.json")["history"]["ppo"]
    assert log == done.log
    assert [entry["step"] for entry in log] == [1, 2, 3, 4]
    for entry in log:
        names = ("reward", "reward/reward", "reward_deviation", "kl", "kl_coefficient", "entropy", "clip_fraction")
        names += ("value_error", "value_loss", "policy_loss", "tokens", "ended", "gradient_norm", "learning_rate")
        assert all(math.isfinite(entry[name]) for name in names)
        assert 0 <= entry["clip_fraction"] <= 1
        assert 1 <= entry["tokens"] <= LENGTH
        assert len(entry["samples"]) == 2
    assert [entry["learning_rate"] for entry in log] == pytest.approx([0.01, 0.0075, 0.005, 0.0025])
    assert log[0]["kl"] == 0.0
    assert log[1]["kl_coefficient"] == pytest.approx(log[0]["kl_coefficient"] * 0.98)
    page = (made.out / "curves.html").read_text()
    assert page.count("<svg") == 8
    assert log[-1]["samples"][0]["prompt"].strip() in page
    run = read_json(made.out / "run.json")
    assert run["last"]["reward"] == log[-1]["reward"]
    assert run["counts"] == {"prompts": 40}
    again = optimise(made, reward=lambda *_, **__: pytest.fail("nothing is left to do"))
    assert again.before
    assert again.log == done.log


def test_a_policy_that_ends_at_once_is_judged_by_nothing(tiny_model, tmp_path, caplog):
    """Answers of an end token alone: empty texts, no preference among them, and no crash."""
    model = loosened(tiny_model, tmp_path / "mute", end=True)
    seen = []

    def judge(prompts, completions, **columns):
        seen.extend(completions)
        return [0.5] * len(completions)

    with caplog.at_level(logging.WARNING):
        done = optimise(ppo_recipe(model, tmp_path, steps=2), reward=judge)
    assert set(seen) == {""}
    assert [(entry["tokens"], entry["ended"], entry["equal_rewards"]) for entry in done.log] == [(1.0, 1.0, True)] * 2
    assert "step 1: all 8 rewards are 0.5, so advantages are zero" in caplog.text


def test_equal_rewards_teach_the_policy_nothing(recipe, caplog):
    """Only the value head moves: where all are equal there is nothing to prefer, long answers or short."""
    with caplog.at_level(logging.WARNING):
        done = optimise(recipe(steps=2, value_coefficient=0.0), reward=lambda _, texts, **__: [1.0] * len(texts))
    assert caplog.text.count("so advantages are zero") == 2
    assert [entry["equal_rewards"] for entry in done.log] == [True, True]
    assert [entry["policy_loss"] for entry in done.log] == [0.0, 0.0]
    assert [entry["gradient_norm"] for entry in done.log] == [0.0, 0.0]


def test_what_is_foretold_begins_with_the_mean_of_the_first_rewards(recipe):
    """From 0 the errors would be some 10,000, and late tokens alone would look good."""
    learns = recipe(steps=2, value_learning_rate=1e-12, value_coefficient=0.0, kl_coefficient=0.0)
    done = optimise(learns, reward=lambda _, texts, **__: [100 + share for share in share_of_a(_, texts)])
    assert all(entry["value_error"] < 0.1 for entry in done.log)


def test_an_answer_without_an_end_pays_the_penalty(tiny_model, tmp_path):
    model = loosened(tiny_model, tmp_path / "endless", end=False)
    done = optimise(ppo_recipe(model, tmp_path, steps=1, missing_end_penalty=3.0), reward=share_of_a)
    entry = done.log[0]
    assert (entry["ended"], entry["tokens"]) == (0.0, LENGTH)
    assert entry["reward"] == pytest.approx(entry["reward/reward"] - 3.0)


@pytest.mark.parametrize("bad", [math.nan, None, "short"])
def test_a_bad_reward_names_its_row_and_the_run_goes_on_once_mended(recipe, tmp_path, bad):
    whole = optimise(recipe(out=tmp_path / "whole"), reward=share_of_a)
    calls = []

    def breaks(prompts, completions, **columns):
        calls.append(prompts)
        found = share_of_a(prompts, completions)
        if len(calls) == 3:
            return found[:-1] if bad == "short" else [*found[:4], bad, *found[5:]]
        return found

    begun = recipe()
    with pytest.raises(TrainingError) as caught:
        optimise(begun, reward=breaks)
    said = str(caught.value)
    if bad == "short":
        assert "reward 'reward' returned 7 rewards for 8 answers" in said
    else:
        row = [row["prompt"] for row in asks(40)].index(calls[2][4]) + 1
        assert f"returned {bad!r} for row {row} of asks.jsonl (answer " in said
    assert "goes on from the last checkpoint" in said
    assert [path.name for path in (begun.out / "checkpoints").iterdir()] == ["step-000002"]
    assert len(read_json(begun.out / "history.json")["history"]["ppo"]) == 2
    assert words(optimise(begun, reward=share_of_a).log) == words(whole.log)


def test_divergence_stops_names_the_step_and_leaves_the_last_checkpoint(recipe):
    begun = recipe(steps=6)
    steps = []

    def spoil(step, *_):
        steps.append(step)
        if step == 3:  # as if the third update had gone wild
            loops[0].policy.adapter_weights()[0].data.fill_(math.inf)

    loops = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("llmrec.train.ppo.Ppo.step", _seen(loops))
        with pytest.raises(TrainingError) as caught:
            optimise(begun, reward=share_of_a, report=spoil)
    assert "at step 4, in the batch of rows" in str(caught.value)
    assert "lower learning_rate" in str(caught.value)
    (kept,) = (begun.out / "checkpoints").iterdir()
    assert kept.name == "step-000003"
    assert str(kept.parent) in str(caught.value)
    assert not (begun.out / "adapter").exists()
    engine = TransformersEngine(TransformersConfig(model=begun.model, adapter=str(kept / "adapter"), device="cpu"))
    assert engine.generate([Prompt("word")], Sampling(max_tokens=2))[0].output_tokens == 2
    assert [entry["step"] for entry in optimise(begun, reward=share_of_a).log] == [1, 2, 3, 4, 5, 6]


def _seen(loops):
    plain = Ppo.step

    def step(self):
        loops.append(self)
        return plain(self)

    return step


def test_a_learning_rate_that_is_far_too_large_is_divergence(recipe):
    with pytest.raises(TrainingError, match=r"(loss|gradient of norm) (nan|inf) at step \d"):
        optimise(recipe(steps=6, learning_rate=1e30, stop_kl=None), reward=share_of_a)


def test_what_cannot_be_used_is_said_before_the_model_is_loaded(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("llmrec.train.ppo_run.build_policy", lambda _: pytest.fail("the model was loaded"))
    cases = [
        (ConfigError, {}, ["rewards none", "one or more"]),
        (ConfigError, {"rewards": [{"function": "no_such_module:f"}]}, ["no module 'no_such_module'"]),
        (ConfigError, {"rewards": [{}]}, ["a reward with neither function nor model"]),
        (ModelError, {"start": tmp_path / "none", "rewards": [A]}, ["no folder", "none"]),
        (ConfigError, {"max_tokens": 64, "rewards": [A]}, ["max_tokens = 64 of an answer", "less than the 64 tokens"]),
        (DataError, {"prompts": {"file": str(tmp_path / "gone")}, "rewards": [A]}, ["gone", "cannot be read"]),
    ]
    for kind, changed, said in cases:
        expect_error(kind, lambda changed=changed: optimise(recipe(**changed)), *said)


A = {"function": "optimising:share_of_a"}


def test_rewards_of_a_recipe_are_added_up_with_their_weights(recipe):
    """Two functions by name, one as a penalty: each is logged, their weighted sum is what is learnt from."""
    made = recipe(
        steps=1,
        rewards=[{**A, "weight": 2.0}, {"function": "llmrec.train.rewards:distinct_words", "weight": -0.5}],
    )
    (entry,) = optimise(made).log
    assert entry["reward"] == pytest.approx(2 * entry["reward/share_of_a"] - 0.5 * entry["reward/distinct_words"])
    assert entry["reward/distinct_words"] > 0
    assert made.out.joinpath("curves.html").read_text().count("<svg") == 10


def test_another_recipe_and_other_prompts_are_refused(recipe, tmp_path):
    begun = recipe()

    def stop(step, *_):
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimise(begun, reward=share_of_a, report=stop)
    expect_error(ConfigError, lambda: optimise(recipe(clip=0.3), reward=share_of_a), "begun with clip = 0.2")
    save(tmp_path / "asks.jsonl", asks(39))
    expect_error(DataError, lambda: optimise(begun, reward=share_of_a), "begun with other rows of prompts")


def test_prompts_can_be_fewer_than_a_rollout(recipe):
    done = optimise(recipe(n=3, steps=2), reward=share_of_a)
    assert done.counts == {"prompts": 3}
    assert json.dumps(done.log)
    assert torch.tensor([entry["reward"] for entry in done.log]).isfinite().all()
