"""Neural-linear: Thompson sampling with a Bayesian linear model for each arm on the last layer of a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import stdtr, stdtrit
from torch import Tensor, nn

from llmrec.classic.exploration.bandit import Bandit, ContextConfig, Numbers, State
from llmrec.classic.exploration.chances import LEAST, Floats, Mask, best_of
from llmrec.classic.exploration.regressions import Regressions, prior
from llmrec.classic.training import Batch, TrainingConfig, train
from llmrec.config import Config
from llmrec.protocols import UNWATCHED

TAIL = 1e-9  # probability that is left out at either end of a posterior
WEIGHTS = "module."
EVENTS = ("contexts", "arms", "rewards")


class NeuralLinearConfig(ContextConfig, TrainingConfig):
    """Hyper-parameters of neural-linear; ``patience`` means nothing, since nothing is held out."""

    epochs: int = Field(5, ge=1)
    """Passes over all events each time that the network learns."""
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field((64, 64), min_length=1)
    """Widths of the layers; the last is that of the linear models' features."""
    refit_every: int = Field(1000, ge=1)
    """Events after which the network learns on, from all events so far."""
    regularization: float = Field(0.25, gt=0)
    """Weight of the squared linear weights against that of the squared errors."""
    noise_shape: float = Field(6.0, gt=0)
    """Shape of the prior of the noise's variance, an inverse gamma distribution."""
    noise_scale: float = Field(6.0, gt=0)
    """Its scale; the prior's mean is scale / (shape - 1)."""


class NeuralLinear(Bandit[NeuralLinearConfig]):
    """Each arm as often as its linear model on learned features, drawn from the posterior, expects the highest reward.

    A network is regressed on the rewards, an output an arm. Linear models on its last hidden layer, and on a constant,
    learn weights and noise from every event at once; the network goes on learning every ``refit_every`` events, after
    which the models are made anew from all of them. All events are kept, also in the saved folder.

    Paper: Riquelme, Tucker, Snoek, Deep Bayesian Bandits Showdown, ICLR 2018, section 3 and appendix; the prior is the
    paper's. There weights are drawn and the best arm wins; here how probable each is to win is computed: what is
    expected of an arm has Student's distribution, independent of the other arms'. The constant is an addition.
    """

    name: ClassVar[str] = "neural-linear"
    config_class: ClassVar[type[Config]] = NeuralLinearConfig

    @property
    def _width(self) -> int:
        return self.config.dimension

    def _start(self) -> State:
        config = self.config
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self._net = _Network(config)
        precision, moments = prior(config.arms, config.hidden[-1] + 1, config.regularization)
        empty = {"contexts": np.zeros((0, config.dimension)), "arms": np.zeros(0), "rewards": np.zeros(0)}
        sums = {"counts": np.zeros(config.arms), "squares": np.zeros(config.arms)}
        return {**empty, **sums, "precision": precision, "moments": moments, **self._net.arrays()}

    def _refresh(self) -> None:
        self._models = Regressions(self._state["precision"], self._state["moments"])

    def _adopt(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        n = len(arrays["rewards"])
        for name, start in self._state.items():
            self._fit(name, arrays[name], (n, *start.shape[1:]) if name in EVENTS else start.shape)
        self._net.adopt(self._state)
        self._refresh()

    def _expected(self, contexts: Floats, arms: Numbers) -> Floats:
        return self._models.means(self._net.features(contexts), arms)

    def _chances(self, contexts: Floats, arms: Numbers, real: Mask) -> Floats:
        features = self._net.features(contexts)
        means, shape, scale = self._models.means(features, arms), *(each[arms] for each in self._noise())
        wide = np.sqrt(scale / shape) * self._models.deviations(features, arms)
        wide, freedom = np.maximum(wide, LEAST * (1 + np.abs(means))), 2 * shape
        reach = wide * stdtrit(freedom, 1 - TAIL)
        return best_of(
            lambda x, mean, each, freedom: stdtr(freedom, (x - mean) / each),
            (means, wide, freedom),
            means - reach,
            means + reach,
            real,
        )

    def _noise(self) -> tuple[Floats, Floats]:
        """Return shape and scale of the posterior of each arm's noise, (n,)."""
        models, config = self._models, self.config
        explained = (models.weights * models.moments).sum(axis=1)
        scale = config.noise_scale + np.maximum(self._state["squares"] - explained, 0) / 2
        return config.noise_shape + self._state["counts"] / 2, scale

    def _learn(self, contexts: Floats, arms: Numbers, rewards: Floats) -> None:
        state, before = self._state, len(self._state["rewards"])
        for name, new in zip(EVENTS, (contexts, arms, rewards), strict=True):
            state[name] = np.concatenate([state[name], new])
        np.add.at(state["counts"], arms, 1)
        np.add.at(state["squares"], arms, rewards**2)
        if before // self.config.refit_every == len(state["rewards"]) // self.config.refit_every:
            self._models.add(self._net.features(contexts), arms, rewards)
        else:
            self._refit()

    def _refit(self) -> None:
        """Let the network learn on, and make the linear models anew from all events."""
        state, config = self._state, self.config
        events = _Events(state["contexts"], state["arms"], state["rewards"], config.batch_size)
        train(self._net, events, config, seed=self.seed + len(state["rewards"]), watch=UNWATCHED)
        state |= self._net.arrays()
        state["precision"], state["moments"] = prior(config.arms, config.hidden[-1] + 1, config.regularization)
        self._refresh()
        self._models.add(self._net.features(state["contexts"]), state["arms"].astype(np.int32), state["rewards"])


class _Network(nn.Module):
    """Layers of contexts, and an output for each arm."""

    def __init__(self, config: NeuralLinearConfig) -> None:
        super().__init__()
        widths = pairwise((config.dimension, *config.hidden))
        self.layers = nn.Sequential(*(part for pair in widths for part in (nn.Linear(*pair), nn.ReLU())))
        self.heads = nn.Linear(config.hidden[-1], config.arms)

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        found = self.heads(self.layers(batch["contexts"])).gather(1, batch["arms"][:, None])[:, 0]
        errors = (found - batch["rewards"]) ** 2
        return errors.sum(), torch.tensor(len(errors), device=errors.device)

    def features(self, contexts: Floats) -> Floats:
        """Return the last layer and a constant, float64 (b, d + 1)."""
        device = self.heads.weight.device
        with torch.inference_mode():
            last = self.layers(torch.from_numpy(contexts.astype(np.float32)).to(device)).double().cpu().numpy()
        return np.hstack([last, np.ones((len(last), 1))])

    def arrays(self) -> State:
        """Return the weights."""
        return {WEIGHTS + name: tensor.cpu().double().numpy() for name, tensor in self.state_dict().items()}

    def adopt(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take the weights that ``arrays`` returned."""
        self.load_state_dict({name: torch.from_numpy(arrays[WEIGHTS + name]) for name in self.state_dict()})


class _Events:
    """All events as shuffled batches."""

    def __init__(self, contexts: Floats, arms: Floats, rewards: Floats, batch_size: int) -> None:
        self.contexts, self.rewards = contexts.astype(np.float32), rewards.astype(np.float32)
        self.arms, self.batch_size = arms.astype(np.int64), batch_size

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.arms) // self.batch_size)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield all events, shuffled."""
        order = rng.permutation(len(self.arms))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            yield {"contexts": self.contexts[rows], "arms": self.arms[rows], "rewards": self.rewards[rows]}
