"""Policies with a linear model of the context for each arm: LinUCB and linear Thompson sampling."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from pydantic import Field

from llmrec.classic.exploration.bandit import Bandit, ContextConfig, Numbers, State
from llmrec.classic.exploration.chances import Floats, Mask, best_of_normals, greedy
from llmrec.classic.exploration.regressions import Regressions, prior
from llmrec.config import Config


class LinearConfig(ContextConfig):
    """What linear policies share."""

    regularization: float = Field(1.0, gt=0)
    """Weight of the squared weights against that of the squared errors."""


L = TypeVar("L", bound=LinearConfig)


class LinearBandit(Bandit[L]):
    """What linear policies learn: a ridge regression for each arm."""

    @property
    def _width(self) -> int:
        return self.config.dimension

    def _start(self) -> State:
        precision, moments = prior(self.config.arms, self.config.dimension, self.config.regularization)
        return {"precision": precision, "moments": moments}

    def _refresh(self) -> None:
        self._models = Regressions(self._state["precision"], self._state["moments"])

    def _expected(self, contexts: Floats, arms: Numbers) -> Floats:
        return self._models.means(contexts, arms)

    def _learn(self, contexts: Floats, arms: Numbers, rewards: Floats) -> None:
        self._models.add(contexts, arms, rewards)


class LinUCBConfig(LinearConfig):
    """Hyper-parameters of LinUCB."""

    alpha: float = Field(1.0, ge=0)
    """Standard deviations, for noise of variance 1, that the bound lies above the expected reward."""


class LinUCB(LinearBandit[LinUCBConfig]):
    """The arm whose linear model has the highest upper confidence bound: x'w + alpha sqrt(x' A^-1 x).

    Paper: Li, Chu, Langford, Schapire, A Contextual-Bandit Approach to Personalized News Article Recommendation, WWW
    2010, algorithm 1 (disjoint models). Ties are broken at random; the regularization, 1 there, can be chosen.
    """

    name: ClassVar[str] = "lin-ucb"
    config_class: ClassVar[type[Config]] = LinUCBConfig

    def _chances(self, contexts: Floats, arms: Numbers, real: Mask) -> Floats:
        bounds = self._models.means(contexts, arms) + self.config.alpha * self._models.deviations(contexts, arms)
        return greedy(bounds, real)


class LinearThompsonConfig(LinearConfig):
    """Hyper-parameters of linear Thompson sampling."""

    scale: float = Field(0.5, ge=0)
    """The paper's v: factor on the posterior's deviation, which with the deviation of a reward's noise is Bayes'."""


class LinearThompson(LinearBandit[LinearThompsonConfig]):
    """Each arm as often as its linear model, drawn from the posterior N(w, v^2 A^-1), expects the highest reward.

    Paper: Agrawal, Goyal, Thompson Sampling for Contextual Bandits with Linear Payoffs, ICML 2013. There one vector of
    weights serves arms that have contexts of their own; here each arm has its own weights, as in LinUCB. What is
    expected of arms is independent then, and how probable each is to be the best is computed, not sampled.
    """

    name: ClassVar[str] = "linear-thompson"
    config_class: ClassVar[type[Config]] = LinearThompsonConfig

    def _chances(self, contexts: Floats, arms: Numbers, real: Mask) -> Floats:
        deviations = self.config.scale * self._models.deviations(contexts, arms)
        return best_of_normals(self._models.means(contexts, arms), deviations, real)
