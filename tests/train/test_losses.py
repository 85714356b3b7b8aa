"""The arithmetic of PPO against numbers computed by hand, and against sums written out."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmrec.train import losses

NAN = math.nan


def rows(*values):
    """Rows of unlike lengths, padded with NaN: what lies there must not count."""
    width = max(map(len, values))
    return torch.tensor([[*row, *[NAN] * (width - len(row))] for row in values])


def mask_of(table):
    return ~table.isnan()


def test_gae_of_two_answers_by_hand():
    rewards, values = rows([1.0, 0.0, 2.0], [-1.0, 3.0]), rows([0.5, 1.0, 0.5], [1.0, 2.0])
    mask = mask_of(rewards)
    advantages, returns = losses.gae(rewards.nan_to_num(7.0), values, mask, gamma=0.5, lam=0.5)
    # First answer, from its end: 2 - 0.5 = 1.5; 0 + 0.5·0.5 - 1 = -0.75, + 0.25·1.5 = -0.375;
    # 1 + 0.5·1 - 0.5 = 1, + 0.25·-0.375 = 0.90625. Second: 3 - 2 = 1; -1 + 0.5·2 - 1 = -1, + 0.25·1 = -0.75.
    torch.testing.assert_close(advantages, torch.tensor([[0.90625, -0.375, 1.5], [-0.75, 1.0, 0.0]]))
    torch.testing.assert_close(returns, torch.tensor([[1.40625, 0.625, 2.0], [0.25, 3.0, 0.0]]))


@given(
    st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=6), st.floats(0.1, 1), st.floats(0, 1)
)
def test_gae_is_the_weighted_sum_of_surprises(steps, gamma, lam):
    reward, value = (np.array(column) for column in zip(*steps, strict=True))
    surprise = reward + gamma * np.append(value[1:], 0.0) - value
    n = len(steps)
    expected = [sum((gamma * lam) ** (later - t) * surprise[later] for later in range(t, n)) for t in range(n)]
    pad = [0.0, 0.0]
    tables = (torch.tensor([[*column, *pad]], dtype=torch.float64) for column in (reward, value))
    mask = torch.tensor([[True] * n + [False] * 2])
    advantages, _ = losses.gae(*tables, mask, gamma=gamma, lam=lam)
    np.testing.assert_allclose(advantages[0].numpy(), [*expected, *pad], atol=1e-9)


def test_gae_with_lambda_1_is_what_came_and_with_0_one_step():
    rewards, values = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[3.0, 5.0, 6.0]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert losses.gae(rewards, values, mask, gamma=1.0, lam=1.0)[0].tolist() == [[4.0, 1.0, -2.0]]
    assert losses.gae(rewards, values, mask, gamma=1.0, lam=0.0)[0].tolist() == [[3.0, 3.0, -2.0]]


def test_rewards_pay_for_kl_and_the_last_token_gets_the_score():
    kl = rows([0.5, -0.25, 1.0], [2.0])
    found = losses.token_rewards(torch.tensor([3.0, -1.0]), kl, mask_of(kl), 0.2)
    torch.testing.assert_close(found, torch.tensor([[-0.1, 0.05, 2.8], [-1.4, 0.0, 0.0]]))


def test_whitening_by_hand():
    values = rows([1.0, 2.0], [6.0])
    found = losses.whiten(values, mask_of(values))
    # Mean 3, squares of the distances 4, 1 and 9: variance 14/3.
    deviation = math.sqrt(14 / 3)
    torch.testing.assert_close(found, torch.tensor([[-2.0, -1.0], [3.0, 0.0]]) / deviation)


def test_whitening_of_equal_values_is_zero():
    values = rows([4.0, 4.0, 4.0], [4.0])
    assert losses.whiten(values, mask_of(values)).tolist() == [[0.0] * 3] * 2


def test_whitening_over_processes_is_that_of_all():
    """Two processes that each know the other's sums: as if all values lay in one."""
    values = rows([1.0, 2.0, 5.0], [6.0], [-3.0, 0.5])
    mask = mask_of(values)
    expected = losses.whiten(values, mask)
    parts = [(values[:2], mask[:2]), (values[2:], mask[2:])]
    told = iter(
        [
            mask.sum(),
            values[mask].sum(),
            (values[mask] - values[mask].mean()).square().sum(),
        ]
        * 2
    )
    found = torch.cat([losses.whiten(*part, lambda _: next(told)) for part in parts])
    torch.testing.assert_close(found, expected)


def test_kl_estimators_by_hand():
    logprobs, reference = torch.tensor([-1.0, -2.0, -0.5]), torch.tensor([-1.0, -1.0, -2.5])
    torch.testing.assert_close(losses.kl_k1(logprobs, reference), torch.tensor([0.0, -1.0, 2.0]))
    expected = torch.tensor([0.0, math.e - 2.0, math.exp(-2.0) + 1.0])
    torch.testing.assert_close(losses.kl_k3(logprobs, reference), expected)


@given(st.lists(st.floats(-4, 4), min_size=3, max_size=3), st.lists(st.floats(-4, 4), min_size=3, max_size=3))
def test_both_estimators_are_kl_on_average(policy, reference):
    """The mean over what the policy draws is the divergence itself; k3 is never below 0."""
    one, two = (torch.tensor(each, dtype=torch.float64).log_softmax(0) for each in (policy, reference))
    divergence = float((one.exp() * (one - two)).sum())
    for estimate in (losses.kl_k1, losses.kl_k3):
        assert float((one.exp() * estimate(one, two)).sum()) == pytest.approx(divergence, abs=1e-9)
    assert losses.kl_k3(one, two).min() >= 0


def test_policy_loss_by_hand():
    ratio = torch.tensor([1.0, 1.5, 1.5, 0.5, 0.5])
    advantages = torch.tensor([2.0, 2.0, -2.0, 2.0, -2.0])
    old = torch.tensor([-1.0, -2.0, -3.0, -0.5, -4.0])
    found, clipped = losses.policy_losses(old + ratio.log(), old, advantages, 0.2)
    # Clipped where the ratio has gone too far the right way: 1.5 with a gain (1.2·2), 0.5 with a loss (0.8·2).
    torch.testing.assert_close(found, torch.tensor([-2.0, -2.4, 3.0, -1.0, 1.6]))
    assert clipped.tolist() == [False, True, False, False, True]


def test_clipped_tokens_have_no_gradient():
    old = torch.zeros(4)
    logprobs = torch.tensor([1.5, 1.5, 0.5, 0.5]).log().requires_grad_()
    losses.policy_losses(logprobs, old, torch.tensor([2.0, -2.0, 2.0, -2.0]), 0.2)[0].sum().backward()
    # Of -A·ratio by the log-probability: -A·ratio.
    torch.testing.assert_close(logprobs.grad, torch.tensor([0.0, 3.0, -1.0, 0.0]))


def test_without_a_bound_the_gradient_is_reinforce_with_baseline():
    """At the policy that drew, d/dθ of -A·ratio is -A·d/dθ log p, whatever the clip."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 5, generator=draw, dtype=torch.float64)
    tokens, advantages = torch.randint(5, (6,), generator=draw), torch.randn(6, generator=draw, dtype=torch.float64)
    gradients = []
    for reinforce in (True, False):
        weights = logits.clone().requires_grad_()
        logprobs = losses.token_logprobs(weights, tokens)
        loss = (
            -(advantages * logprobs).sum()
            if reinforce
            else losses.policy_losses(logprobs, logprobs.detach(), advantages, math.inf)[0].sum()
        )
        loss.backward()
        gradients.append(weights.grad)
    torch.testing.assert_close(gradients[1], gradients[0])


def test_value_loss_by_hand():
    values, old = torch.tensor([1.0, 2.0, 2.0, 0.0]), torch.tensor([1.0, 1.0, 1.0, 1.0])
    returns = torch.tensor([3.0, 3.0, 0.0, 3.0])
    found = losses.value_losses(values, old, returns, 0.2)
    # Near values 1, 1.2, 1.2 and 0.8; the larger square counts: 2², 1.8² over 1², 2² over 1.2², 3² over 2.2².
    torch.testing.assert_close(found, torch.tensor([2.0, 1.62, 2.0, 4.5]))


def test_logprobs_and_entropies_are_those_of_the_softmax():
    logits = torch.tensor([[math.log(1.0), math.log(2.0), math.log(5.0)], [1000.0, 0.0, -1000.0]])
    found = losses.token_logprobs(logits, torch.tensor([1, 0]))
    torch.testing.assert_close(found, torch.tensor([math.log(0.25), 0.0]))
    expected = -sum(p * math.log(p) for p in (0.125, 0.25, 0.625))
    torch.testing.assert_close(losses.entropies(logits), torch.tensor([expected, 0.0]))


@pytest.mark.parametrize(
    ("kl", "factor"), [(6.0, 1.0), (6.6, 1.01), (60.0, 1.02), (5.4, 0.99), (0.0, 0.98), (-3.0, 0.98)]
)
def test_the_price_of_a_nat_follows_its_target(kl, factor):
    """Ziegler et al.: an error of a tenth moves it by a hundredth, one above a fifth counts as a fifth."""
    assert losses.adapt(0.2, kl, target=6.0, gain=0.1) == pytest.approx(0.2 * factor)
