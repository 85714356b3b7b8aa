"""The auxiliary loss of torch models: users, encoded from their histories, and the pairs that they were asked about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from llmrec.classic.recall.neural.encoder import Encoder
from llmrec.classic.recall.neural.serving import trim
from llmrec.classic.training import Batch, Batches
from llmrec.data import Dataset
from llmrec.data.preferences import Preferences
from llmrec.data.queries import pad_ragged

PREFIX = "preference_"


class BatchesWithPreferences:
    """Another's batches, each with some users and all of their pairs; an epoch has each user once.

    A batch gets, under ``PREFIX``, the u users' ``history`` and ``times`` int64 (u, h) as they are when the model is
    asked; ``chosen`` and ``rejected`` int64 (u, p), left-padded with -1, with ``weights`` float32 (u, p); and a
    ``seed`` int64 (u,) of what the loss draws. u may be 0. What is drawn here comes from a generator of its own: the
    other batches are what they are without it.

    Args:
        batches: the other's.
        data: what they are of.
        preferences: of users with events.
        history: newest items that are read.
    """

    def __init__(self, batches: Batches, data: Dataset, preferences: Preferences, history: int) -> None:
        self.batches = batches
        users, rows = np.unique(preferences.users, return_inverse=True)
        queries = data.queries(users, history=history)
        self.history = queries.history.astype(np.int64)
        self.times = np.zeros_like(self.history) if queries.times is None else queries.times
        self.chosen = pad_ragged(rows, preferences.chosen.astype(np.int64), len(users))
        self.rejected = pad_ragged(rows, preferences.rejected.astype(np.int64), len(users))
        self.weights = pad_ragged(rows, preferences.weights, len(users), fill=0)

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return self.batches.steps

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield the other's batches with users in random order."""
        own = rng.spawn(1)[0]
        parts = np.array_split(own.permutation(len(self.history)), self.steps)
        for batch, rows in zip(self.batches.epoch(rng), parts, strict=True):
            seeds = own.integers(np.iinfo(np.int64).max, size=len(rows))
            yield {
                **batch,
                **{PREFIX + name: array for name, array in self._users(rows).items()},
                PREFIX + "seed": seeds,
            }

    def _users(self, rows: np.ndarray) -> Batch:
        history, times = self.history[rows], self.times[rows]
        if len(rows):
            history, times = trim(history, times)
        pairs = {"chosen": self.chosen[rows], "rejected": self.rejected[rows], "weights": self.weights[rows]}
        return {"history": history, "times": times, **pairs}


class LossWithPreferences(nn.Module):
    """An encoder's loss plus weight * sum of w * -ln sigmoid(y(user, chosen) - y(user, rejected)).

    A score y is what the encoder's own loss takes for one: the largest inner product over the temperature.

    Args:
        encoder: what learns.
        weight: lambda.
    """

    def __init__(self, encoder: Encoder, weight: float) -> None:
        super().__init__()
        self.encoder, self.weight = encoder, weight

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed loss, and how many terms the encoder's own has: a pair is worth weight * w of them."""
        loss, terms = self.encoder(batch)
        pairs = {name.removeprefix(PREFIX): each for name, each in batch.items() if name.startswith(PREFIX)}
        if len(pairs["seed"]):
            with torch.random.fork_rng():  # so that the encoder's own draws are those of training without preferences
                torch.manual_seed(int(pairs["seed"][0]))
                loss = loss + self.weight * preference_loss(self.encoder, pairs)
        return loss, terms


def preference_loss(encoder: Encoder, pairs: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of w * -ln sigmoid(y(user, chosen) - y(user, rejected)) over the pairs of one row or more.

    Args:
        encoder: what scores.
        pairs: ``history``, ``times``, ``chosen``, ``rejected`` and ``weights`` as in ``BatchesWithPreferences``.
    """
    real = pairs["chosen"] >= 0
    users = torch.nonzero(real)[:, 0]
    asked = torch.cat([pairs["chosen"][real], pairs["rejected"][real]])
    some, places = torch.unique(asked, return_inverse=True)
    vectors, items = encoder.encode(pairs["history"], pairs["times"])[users], encoder.some_items(some)
    chosen, rejected = (_best(vectors, items[place]) for place in places.chunk(2))
    margins = (chosen - rejected).float() / encoder.temperature
    return -(pairs["weights"][real] * F.logsigmoid(margins)).sum()


def _best(vectors: Tensor, items: Tensor) -> Tensor:
    """Return (p,): the largest inner product of vectors (p, m, d), those of NaN left out, with items (p, d)."""
    missing = vectors.isnan().any(2)
    products = (vectors.masked_fill(missing.unsqueeze(2), 0) @ items.unsqueeze(2)).squeeze(2)
    return products.masked_fill(missing, -torch.inf).amax(1)
