"""The base of torch models: an encoder of histories, learned by the shared loop, answering by inner products."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from llmrec.classic.recall.base.history import HistoryRecommender, popularity
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.base.vectors import AnswersByVectors, answer
from llmrec.classic.recall.neural.encoder import Encoder, NeuralConfig
from llmrec.classic.recall.neural.fitting import fit_module
from llmrec.classic.recall.neural.serving import Serving
from llmrec.classic.training import Batches, Log
from llmrec.data import Dataset
from llmrec.protocols import Watch

N = TypeVar("N", bound=NeuralConfig)
WEIGHTS = "module."


class NeuralRecommender(AnswersByVectors, HistoryRecommender[N]):
    """A recommender around an ``Encoder``: a model says how it is built and what it learns from.

    Items without training events have no learned vector: they come after all others, and histories skip them.
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

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:
        features, servable = self._features(data), popularity(data) > 0
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = self._encoder(len(data.items), features)
        log = fit_module(
            module,
            self._batches(data, features),
            self.config,
            lambda: partial(answer, Serving(module, servable, self.config.history)),
            name=self.name,
            data=data,
            seed=seed,
            watch=watch,
        )
        return {**features, **learned(module, log)}

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        module = self._encoder(n_items, arrays)
        restore(module, arrays)
        self._vectors = Serving(module, arrays["popularity"] > 0, self.config.history)


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
