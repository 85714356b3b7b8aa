"""One step of PPO: what it reads, what it learns from, and that neither batches nor padding nor processes matter."""

import math

import pytest
import torch
from optimising import loosened, ppo_of, ppo_recipe, share_of_a
from torch.nn import functional
from transformers import AutoModelForCausalLM, GenerationConfig

from llmrec.errors import ConfigError
from llmrec.testing import expect_error
from llmrec.train import losses
from llmrec.train.ppo_run import optimise
from llmrec.train.rollouts import Batch, Rollout, TransformersSampler, pass_over


@pytest.fixture(scope="module")
def model(tiny_model, tmp_path_factory):
    return loosened(tiny_model, tmp_path_factory.mktemp("loose") / "model")


@pytest.fixture
def recipe(model, tmp_path):
    return lambda **changed: ppo_recipe(model, tmp_path, **changed)


@pytest.fixture
def moved(recipe):
    """A loop whose adapter is not at its beginning: policy and reference differ."""

    def make(**changed):
        loop = ppo_of(recipe(**changed))
        draw = torch.Generator().manual_seed(5)
        for weight in loop.policy.adapter_weights():
            weight.data += torch.randn(weight.shape, generator=draw) * 0.1
        loop.policy.value.weight.data = torch.randn(1, 32, generator=draw) * 0.1
        return loop

    return make


def weights(loop):
    return [weight.detach().clone() for weight in loop.learnt]


def alone(model, prompt, answer):
    """The log-probability of each token of one answer, from all logits of one unpadded row."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0].double()
    return [float(logits[place - 1].log_softmax(0)[token]) for place, token in enumerate(answer, start=len(prompt))]


def test_scores_are_those_of_each_answer_alone(moved, model):
    """Batches of unlike lengths and their padding change no log-probability, of policy or reference."""
    loop = moved(batch_size=3)
    rollout = loop.score(*loop.draw())
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    assert len({len(prompt) for prompt in rollout.prompts}) > 2
    for row, (prompt, answer) in enumerate(zip(rollout.prompts, rollout.answers, strict=True)):
        count = len(answer)
        assert rollout.mask[row].tolist() == [place < count for place in range(rollout.mask.shape[1])]
        assert rollout.reference[row, :count].tolist() == pytest.approx(alone(base, prompt, answer), abs=1e-4)
        assert rollout.logprobs[row, :count].tolist() == pytest.approx(
            alone(loop.policy.model, prompt, answer), abs=1e-4
        )
    assert (rollout.logprobs - rollout.reference).abs().max() > 0.1


def test_values_are_read_off_the_last_hidden_states(moved):
    loop = moved()
    rollout = loop.score(*loop.draw())
    prompt, answer = rollout.prompts[1], rollout.answers[1]
    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        hidden = loop.policy.model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
        places = hidden[len(prompt) - 1 : -1]
        expected = functional.layer_norm(places, (32,)) @ loop.policy.value.weight[0] + loop.policy.value.bias
    torch.testing.assert_close(rollout.values[1, : len(answer)], expected, rtol=0, atol=1e-4)
    assert expected.abs().max() > 0.05


def test_what_is_drawn_is_the_same_in_any_batch(moved):
    """Prompts padded on the left, alone or together, draw the same answers; another stream draws another."""
    loop = moved()
    prompts = loop.contexts.prompts[:6]
    together = loop.sampler(prompts, range(6))
    assert [loop.sampler([prompt], [n])[0] for n, prompt in enumerate(prompts)] == together
    assert loop.sampler([prompts[0]] * 2, [0, 1])[0] == together[0]
    assert loop.sampler([prompts[0]] * 2, [0, 1])[1] != together[0]


def test_answers_are_drawn_with_the_policy_s_own_probabilities(moved, model):
    """First tokens of many draws, counted, against the softmax; a model file that says otherwise has no say."""
    loop = moved(max_tokens=1)
    base = loop.policy.model.get_base_model()
    base.generation_config = GenerationConfig(
        do_sample=True, top_k=3, temperature=0.1, repetition_penalty=5.0, eos_token_id=2, pad_token_id=0
    )
    sampler = TransformersSampler(loop.policy, loop.ends, loop.padding, loop.recipe)
    sampler.batch_size = 500
    prompt, n = loop.contexts.prompts[0], 4000
    drawn = torch.tensor(sampler([prompt] * n, range(n)))[:, 0].bincount(minlength=200) / n
    with torch.no_grad():
        expected = loop.policy.model(input_ids=torch.tensor([prompt])).logits[0, -1].softmax(0)
    deviation = (expected * (1 - expected) / n).sqrt()
    assert ((drawn - expected).abs() < 5 * deviation + 1e-3).all()
    assert (drawn > 0).sum() > 20


def test_one_update_without_a_bound_is_reinforce_with_baseline(moved):
    """The adapter's gradient of a step is that of -Σ A log p / tokens, computed row by row from all logits."""
    loop = moved(clip=1e9, epochs=1, value_coefficient=0.0, stop_kl=None)
    rollout = loop.score(*loop.draw())
    advantages, returns, _ = loop.judge(rollout)
    loop._losses_of(rollout, advantages, returns, list(range(len(rollout.numbers))))
    found = [weight.grad.clone() for weight in loop.policy.adapter_weights()]
    loop.policy.zero_grad()
    for row, (prompt, answer) in enumerate(zip(rollout.prompts, rollout.answers, strict=True)):
        logits = loop.policy.model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        logprobs = logits.log_softmax(1)[torch.arange(len(answer)), torch.tensor(answer)]
        (-(advantages[row, : len(answer)] * logprobs).sum() / rollout.mask.sum()).backward()
    largest = 0.0
    for gradient, weight in zip(found, loop.policy.adapter_weights(), strict=True):
        torch.testing.assert_close(gradient, weight.grad, rtol=1e-3, atol=1e-5)
        largest = max(largest, float(gradient.abs().max()))
    assert largest > 1e-2


def test_the_gradient_is_that_of_all_three_losses(moved):
    """Policy, value and entropy with their weights, away from where the answers were drawn: by automatic means."""
    loop = moved(value_coefficient=0.3, entropy_coefficient=0.2, value_clip=0.05, clip=0.1)
    rollout = loop.score(*loop.draw())
    advantages, returns, _ = loop.judge(rollout)
    for weight in loop.learnt:
        weight.data *= 1.2
    rows, mask = list(range(len(rollout.numbers))), rollout.mask
    sums = loop._losses_of(rollout, advantages, returns, rows)
    found = [weight.grad.clone() for weight in loop.learnt]
    loop.policy.zero_grad()
    batch = Batch.of(rollout, rows, 0)
    logits, values = loop.policy(batch.ids, batch.mask, batch.wanted)
    logprobs = logits.log_softmax(1)
    spoken = logprobs[torch.arange(len(values)), batch.tokens]
    ratio, gain, old, due = (
        (spoken - rollout.logprobs[mask]).exp(),
        advantages[mask],
        rollout.values[mask],
        returns[mask],
    )
    surrogate = torch.minimum(ratio * gain, ratio.clamp(0.9, 1.1) * gain)
    error = torch.maximum((values - due) ** 2, (old + (values - old).clamp(-0.05, 0.05) - due) ** 2) / 2
    entropy = -(logprobs.exp() * logprobs).sum(1)
    (-surrogate + 0.3 * error - 0.2 * entropy).mean().backward()
    for gradient, weight in zip(found, loop.learnt, strict=True):
        torch.testing.assert_close(gradient, weight.grad, rtol=1e-3, atol=1e-5)
    outside = ((ratio - 1).abs() > 0.1) & ((ratio > 1) == (gain > 0))
    n = float(mask.sum())
    expected = [-surrogate.sum(), error.sum(), outside.sum(), (ratio - 1 - ratio.log()).sum(), n]
    assert sums.tolist() == pytest.approx([float(torch.as_tensor(each).detach()) for each in expected], rel=1e-4)
    assert 0 < float(outside.sum()) < n


def test_small_batches_that_are_accumulated_are_a_large_one(moved):
    found = []
    for size, steps in ((8, 1), (4, 2), (2, 4)):
        loop = moved(batch_size=size, accumulation=steps, rollout=16)
        entries = [loop.step() for _ in range(2)]
        found.append((weights(loop), [entry["reward"] for entry in entries], [entry["updates"] for entry in entries]))
    before, largest = weights(moved()), 0.0
    for changed, *said in found[1:]:
        assert said == [*found[0][1:]]
        for one, two, begin in zip(changed, found[0][0], before, strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-4)
            largest = max(largest, float((one - begin).abs().max()))
    assert largest > 1e-2


def test_rewards_end_with_the_answer_and_pay_for_its_kl(moved):
    """Advantages of a step by hand: gamma and lambda 1, so each token has what comes from it on, less its value."""
    loop = moved(gamma=1.0, lam=1.0, kl_coefficient=0.3, missing_end_penalty=2.0)
    rollout = loop.score(*loop.draw())
    _, returns, entry = loop.judge(rollout)
    texts = loop.tokens.tokenizer.batch_decode(rollout.answers, skip_special_tokens=True)
    scores = [
        sum(map(ord, text)) % 7 / 6 - (0.0 if answer[-1] == 2 else 2.0)
        for text, answer in zip(texts, rollout.answers, strict=True)
    ]
    for row, score in enumerate(scores):
        paid = 0.3 * (rollout.logprobs[row] - rollout.reference[row])
        expected = [
            score - float(paid[place : len(rollout.answers[row])].sum()) for place in range(len(rollout.answers[row]))
        ]
        assert returns[row, : len(expected)].tolist() == pytest.approx(expected, abs=1e-4)
    assert entry["reward"] == pytest.approx(sum(scores) / len(scores), abs=1e-6)
    nats = [
        losses.kl_k3(one, two)[: len(answer)].sum()
        for one, two, answer in zip(rollout.logprobs, rollout.reference, rollout.answers, strict=True)
    ]
    assert entry["kl"] == pytest.approx(float(sum(nats)) / len(nats), rel=1e-4)
    assert entry["tokens"] == pytest.approx(sum(map(len, rollout.answers)) / len(nats))


def test_a_step_stops_where_the_policy_has_gone_too_far(recipe):
    free = ppo_of(recipe(learning_rate=0.05, stop_kl=None, epochs=5))
    assert free.step()["updates"] == 5
    bound = ppo_of(recipe(learning_rate=0.05, stop_kl=1e-3, epochs=5))
    entry = bound.step()
    assert entry["updates"] == 1  # the first is where the answers were drawn; the second is looked at and not made
    assert entry["update_kl"] > 1e-3 / 2
    assert all(weight.grad is None for weight in bound.learnt)


def test_the_walk_over_prompts_takes_each_once_a_pass():
    taken = [number for start in range(0, 30, 5) for number in pass_over(10, start, 5, seed=3)]
    assert [sorted(taken[begin : begin + 10]) for begin in (0, 10, 20)] == [list(range(10))] * 3
    assert taken[:10] != taken[10:20]
    assert pass_over(10, 7, 5, seed=3) == taken[7:12]
    assert pass_over(10, 0, 10, seed=4) != taken[:10]
    assert pass_over(2, 0, 5, seed=0)[:4].count(0) == 2


def test_a_batch_is_padded_on_the_right_and_reads_where_the_next_token_is_told():
    rollout = Rollout.of([0, 1], [[5, 6], [7]], [[8], [9, 3]], torch.device("cpu"))
    batch = Batch.of(rollout, [0, 1], 4)
    assert batch.ids.tolist() == [[5, 6, 8], [7, 9, 3]]
    assert batch.mask.tolist() == [[1, 1, 1], [1, 1, 1]]
    assert batch.wanted.tolist() == [[False, True, False], [True, True, False]]
    assert batch.tokens.tolist() == [8, 9, 3]
    wide = Batch.of(Rollout.of([0, 1], [[5, 6], [7]], [[8, 2, 2], [9]], torch.device("cpu")), [1, 0], 4)
    assert wide.ids.tolist() == [[7, 9, 4, 4, 4], [5, 6, 8, 2, 2]]
    assert wide.mask.tolist()[0] == [1, 1, 0, 0, 0]


def test_bfloat16_learns_nearly_what_float32_does(model, recipe):
    found = []
    for dtype in ("float32", "bfloat16"):
        loop = ppo_of(recipe(dtype=dtype, stop_kl=None, value_coefficient=1.0))
        rollout = loop.score([0, 1, 2, 3], [[40, 41, 42], [50, 2], [60, 61], [70]])
        advantages, returns = losses.gae(rollout.mask.float(), rollout.values, rollout.mask, gamma=1.0, lam=0.9)
        loop._losses_of(rollout, advantages, returns, [0, 1, 2, 3])
        found.append(torch.cat([weight.grad.flatten() for weight in loop.learnt]))
        assert {weight.dtype for weight in loop.learnt} == {torch.float32}
    assert math.isfinite(float(found[1].sum()))
    assert torch.cosine_similarity(*found, 0) > 0.97


def test_checkpointing_and_fsdp_are_refused(recipe, monkeypatch):
    expect_error(
        ConfigError,
        lambda: optimise(recipe(gradient_checkpointing=True), reward=share_of_a),
        "gradient_checkpointing = true with PPO",
        "expected false",
        "raise accumulation",
    )
    monkeypatch.setattr("llmrec.train.ppo_run.parse_flag_from_env", lambda _: True)
    expect_error(ConfigError, lambda: optimise(recipe(), reward=share_of_a), "PPO under FSDP", "ddp.yaml")
