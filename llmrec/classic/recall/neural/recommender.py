"""The base of torch models: an encoder of histories, learned by the shared loop, answering by inner products."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Self, TypeVar

import numpy as np
import torch
from torch import nn

from llmrec.classic.recall.base.auxiliary import Auxiliary
from llmrec.classic.recall.base.history import HistoryRecommender, popularity
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.base.taught import read_taught, written_taught
from llmrec.classic.recall.base.vectors import AnswersByVectors, answer
from llmrec.classic.recall.neural.encoder import Encoder, NeuralConfig
from llmrec.classic.recall.neural.fitting import fit_module
from llmrec.classic.recall.neural.preferences import BatchesWithPreferences, LossWithPreferences
from llmrec.classic.recall.neural.serving import Serving
from llmrec.classic.training import Batches, Log
from llmrec.data import Dataset
from llmrec.protocols import UNWATCHED, Watch

N = TypeVar("N", bound=NeuralConfig)
WEIGHTS = "module."


class NeuralRecommender(AnswersByVectors, HistoryRecommender[N]):
    """A recommender around an ``Encoder``: a model says how it is built and what it learns from.

    Items without training events have no learned vector: they come after all others, and histories skip them. Those
    that ``fit_with`` teaches are served like the others; histories skip them still.
    What was seen in training is kept with the weights, ``training_loss`` and ``validation_ndcg``, an entry an epoch.
    """

    @abstractmethod
    def _encoder(self, n_items: int, features: Arrays) -> Encoder:
        """Return a new encoder; ``features`` is what ``_features`` returned."""

    @abstractmethod
    def _batches(self, data: Dataset, features: Arrays) -> Batches:
        """Return what the encoder learns from."""

    def _features(self, data: Dataset) -> Arrays:  # noqa: ARG002 - most models have none
        """Return arrays beside the weights that the encoder is built from and that are stored with it."""
        return {}

    def fit_with(self, data: Dataset, auxiliary: Auxiliary, *, seed: int = 0, watch: Watch = UNWATCHED) -> Self:
        """Learn from ``data`` and from preferences, and return itself; see ``LearnsPreferences``."""
        auxiliary.check(data)
        return self._fit(data, lambda: self._learn(data, seed, watch, auxiliary))

    def _learn(self, data: Dataset, seed: int, watch: Watch, auxiliary: Auxiliary | None = None) -> Arrays:
        features, read, history = self._features(data), popularity(data) > 0, self.config.history
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            encoder = self._encoder(len(data.items), features)
        module: nn.Module = encoder
        batches, taught, identity = self._batches(data, features), np.zeros_like(read), {}
        if auxiliary is not None:
            module = LossWithPreferences(encoder, auxiliary.weight)
            batches = BatchesWithPreferences(batches, data, auxiliary.preferences, history)
            taught, identity = auxiliary.taught(read), {"preferences": auxiliary.digest}
        log = fit_module(
            module,
            batches,
            self.config,
            lambda: partial(answer, Serving(encoder, read, history, taught)),
            name=self.name,
            data=data,
            seed=seed,
            watch=watch,
            identity=identity,
        )
        return {**features, **learned(encoder, log), **written_taught(taught)}

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        module = self._encoder(n_items, arrays)
        restore(module, arrays)
        taught = read_taught(arrays, n_items)
        self._vectors = Serving(module, arrays["popularity"] > 0, self.config.history, taught)


def learned(module: nn.Module, log: Log) -> Arrays:
    """Return a module's weights with what was seen in training."""
    weights = {WEIGHTS + key: tensor.cpu().numpy() for key, tensor in module.state_dict().items()}
    return {**weights, "training_loss": np.array(log.losses), "validation_ndcg": np.array(log.values)}


def restore(module: nn.Module, arrays: Arrays) -> None:
    """Give a module the weights that ``learned`` returned, and move it to where it will run.

    Raises:
        ValueError: they are of another module.
    """
    weights = {
        name.removeprefix(WEIGHTS): torch.from_numpy(np.array(array))
        for name, array in arrays.items()
        if name.startswith(WEIGHTS)
    }
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(str(error).splitlines()[-1].strip()) from None
    module.to("cuda" if torch.cuda.is_available() else "cpu")
