"""Policies that count: what each arm earned, whatever the context. Epsilon-greedy, UCB1, Thompson sampling."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy.special import betainc, betaincinv

from llmrec.classic.exploration.bandit import Bandit, BanditConfig, Numbers, State
from llmrec.classic.exploration.chances import Floats, Mask, best_of, epsilon_greedy, greedy
from llmrec.config import Config
from llmrec.errors import DataError

TAIL = 1e-9  # probability that is left out at either end of a posterior


class EpsilonGreedyConfig(BanditConfig):
    """Hyper-parameters of epsilon-greedy."""

    epsilon: float = Field(0.1, ge=0, le=1)
    """Share of choices that are drawn uniformly."""


class EpsilonGreedy(Bandit[EpsilonGreedyConfig]):
    """The arm with the highest mean reward, and in ``epsilon`` of all choices any arm; an untried arm's mean is 0.

    Paper: Watkins, Learning from Delayed Rewards, 1989; section 2.2 of Sutton, Barto, Reinforcement Learning, 2018.
    """

    name: ClassVar[str] = "epsilon-greedy"
    config_class: ClassVar[type[Config]] = EpsilonGreedyConfig

    def _start(self) -> State:
        return _tally(self.config.arms)

    def _chances(self, contexts: Floats, arms: Numbers, real: Mask) -> Floats:
        return epsilon_greedy(self._expected(contexts, arms), real, self.config.epsilon)

    def _expected(self, contexts: Floats, arms: Numbers) -> Floats:  # noqa: ARG002 - the same in all contexts
        return _means(self._state)[arms]

    def _learn(self, contexts: Floats, arms: Numbers, rewards: Floats) -> None:  # noqa: ARG002
        _count(self._state, arms, rewards)


class UCB1Config(BanditConfig):
    """Hyper-parameters of UCB1."""

    alpha: float = Field(2.0, ge=0)
    """Factor within the root: the bound is the mean + sqrt(alpha ln t / n); the paper's is 2."""


class UCB1(Bandit[UCB1Config]):
    """The arm with the highest upper confidence bound of its mean, untried arms first; rewards from 0 to 1.

    Paper: Auer, Cesa-Bianchi, Fischer, Finite-time Analysis of the Multiarmed Bandit Problem, Machine Learning 2002.
    Ties, as between untried arms, are broken at random, so that a batch tries many.
    """

    name: ClassVar[str] = "ucb1"
    config_class: ClassVar[type[Config]] = UCB1Config

    def _start(self) -> State:
        return _tally(self.config.arms)

    def _chances(self, contexts: Floats, arms: Numbers, real: Mask) -> Floats:  # noqa: ARG002 - the same in all
        counts = self._state["counts"]
        spread = self.config.alpha * np.log(max(counts.sum(), 1)) / np.maximum(counts, 1)
        bounds = np.where(counts > 0, _means(self._state) + np.sqrt(spread), np.inf)
        return greedy(bounds[arms], real)

    def _expected(self, contexts: Floats, arms: Numbers) -> Floats:  # noqa: ARG002 - the same in all contexts
        return _means(self._state)[arms]

    def _check_rewards(self, rewards: Floats) -> None:
        if len(rewards) and (rewards.min() < 0 or rewards.max() > 1):
            raise DataError(
                f"a reward of {rewards[(rewards < 0) | (rewards > 1)][0]:g}",
                expected="rewards from 0 to 1, for which the bound holds",
                cure="scale them",
            )

    def _learn(self, contexts: Floats, arms: Numbers, rewards: Floats) -> None:  # noqa: ARG002
        _count(self._state, arms, rewards)


class ThompsonConfig(BanditConfig):
    """Hyper-parameters of Thompson sampling."""

    prior_yes: float = Field(1.0, gt=0)
    """Clicks that each arm begins with."""
    prior_no: float = Field(1.0, gt=0)
    """Shows without a click that each arm begins with."""


class ThompsonSampling(Bandit[ThompsonConfig]):
    """Each arm as often as its click rate, of which a Beta posterior is known, is the highest; rewards are 0 or 1.

    Paper: Thompson, On the Likelihood that One Unknown Probability Exceeds Another, Biometrika 1933; Chapelle, Li, An
    Empirical Evaluation of Thompson Sampling, NeurIPS 2011. There a rate is drawn for each arm and the highest wins;
    here how often it would win is computed, which is the propensity, and the arm is drawn by it: the same choices.
    """

    name: ClassVar[str] = "thompson"
    config_class: ClassVar[type[Config]] = ThompsonConfig

    def _start(self) -> State:
        return _tally(self.config.arms)

    def _chances(self, contexts: Floats, arms: Numbers, real: Mask) -> Floats:  # noqa: ARG002 - the same in all
        yes, no = (each[arms] for each in self._posterior())
        low, high = (betaincinv(yes, no, each) for each in (TAIL, 1 - TAIL))
        return best_of(lambda x, one, other: betainc(one, other, x), (yes, no), low, high, real)

    def _expected(self, contexts: Floats, arms: Numbers) -> Floats:  # noqa: ARG002
        yes, no = self._posterior()
        return (yes / (yes + no))[arms]

    def _posterior(self) -> tuple[Floats, Floats]:
        sums, counts = self._state["sums"], self._state["counts"]
        return self.config.prior_yes + sums, self.config.prior_no + counts - sums

    def _check_rewards(self, rewards: Floats) -> None:
        wrong = rewards[(rewards != 0) & (rewards != 1)]
        if len(wrong):
            raise DataError(
                f"a reward of {wrong[0]:g}", expected="rewards of 0 or 1", cure="cut them at a threshold, or use ucb1"
            )

    def _learn(self, contexts: Floats, arms: Numbers, rewards: Floats) -> None:  # noqa: ARG002
        _count(self._state, arms, rewards)


def _tally(arms: int) -> State:
    return {"counts": np.zeros(arms), "sums": np.zeros(arms)}


def _count(state: State, arms: Numbers, rewards: Floats) -> None:
    np.add.at(state["counts"], arms, 1)
    np.add.at(state["sums"], arms, rewards)


def _means(state: State) -> Floats:
    means: Floats = state["sums"] / np.maximum(state["counts"], 1)
    return means
