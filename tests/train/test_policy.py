"""The reference of PPO is the policy that the run began with, base or tuned, and never moves."""

import copy

import pytest
import torch
from optimising import loosened, ppo_of, ppo_recipe, scrambled

from llmrec.train.lora import save_adapter
from llmrec.train.policy import REFERENCE
from llmrec.train.ppo_run import optimise


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


def test_an_adapter_switched_off_is_the_reference_and_never_moves(recipe, model):
    loop = ppo_of(recipe(steps=3))
    frozen = {n: weight.detach().clone() for n, weight in loop.policy.named_parameters() if not weight.requires_grad}
    first = loop.score(*loop.draw())
    assert first.logprobs.equal(first.reference)  # a new adapter changes nothing
    begin = weights(loop)
    for _ in range(3):
        loop.step()
    assert any(not one.equal(two) for one, two in zip(begin, weights(loop), strict=True))
    for name, weight in loop.policy.named_parameters():
        assert name not in frozen or weight.equal(frozen[name]), name
    again = loop.score(first.numbers, first.answers)
    assert again.reference.equal(first.reference)
    assert not again.logprobs.equal(first.logprobs)


def test_an_adapter_to_begin_with_is_the_reference_and_never_moves(moved, recipe, model, tmp_path):
    """Policy and reference begin as the tuned policy, not as the base; then only the policy learns."""
    save_adapter(moved().policy.model, tmp_path / "sft", model)
    before = {path.name: path.read_bytes() for path in (tmp_path / "sft").iterdir()}
    begun = recipe(start=tmp_path / "sft", steps=3)
    loop, tuned = ppo_of(begun), moved()
    first = loop.score(*loop.draw())
    assert first.logprobs.equal(first.reference)
    torch.testing.assert_close(first.logprobs, tuned.score(first.numbers, first.answers).logprobs)
    copies = [weight for name, weight in loop.policy.named_parameters() if f".{REFERENCE}." in name]
    kept = copy.deepcopy(copies)
    assert copies
    assert not any(weight.requires_grad for weight in copies)
    assert not any(one is two for one in copies for two in loop.learnt)
    for _ in range(3):
        loop.step()
    assert all(one.equal(two) for one, two in zip(copies, kept, strict=True))
    assert not any(weight.requires_grad for weight in copies)
    again = loop.score(first.numbers, first.answers)
    assert again.reference.equal(first.reference)
    assert not again.logprobs.equal(first.logprobs)
    # What is kept is one adapter, the one that learnt, on the base that it is for.
    done = optimise(begun, reward=scrambled)
    assert {path.name for path in done.adapter.iterdir()} == set(before)
    assert (done.adapter / "adapter_model.safetensors").read_bytes() != before["adapter_model.safetensors"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "sft").iterdir()} == before
