"""AutoRec: an autoencoder of what users gave items, as a ranker of candidates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.ranking.base.examples import ExamplesConfig, target_rows
from llmrec.classic.ranking.base.ranker import FittedRanker
from llmrec.classic.ranking.neural.ranker import about, module_arrays
from llmrec.classic.recall.base.history import popularity
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.neural.recommender import restore
from llmrec.classic.training import Batch, TrainingConfig, train
from llmrec.config import Config
from llmrec.data import Candidates, Dataset, Queries, Targets
from llmrec.data.queries import pad_ragged
from llmrec.errors import DataError
from llmrec.eval.yes_no import auc
from llmrec.protocols import FloatArray, Watch

ROWS = 512  # queries that are encoded at once
VALIDATION = 10_000  # queries that early stopping looks at, at most


class AutoRecConfig(TrainingConfig):
    """Hyper-parameters of AutoRec."""

    view: Literal["user", "item"] = "user"
    """Whose values are encoded: a user's, from the history, so that unseen users are served; or an item's."""
    factors: int = Field(200, ge=1)
    """Length of the hidden layer."""
    weight_decay: float = Field(0.1, ge=0)
    """AdamW's pull towards zero."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of the values that training hides from the encoder."""
    unobserved: float = Field(0.05, ge=0)
    """What a pair without an event weighs, as a 0; only read where the values do not differ."""
    examples: ExamplesConfig = Field(default_factory=ExamplesConfig)
    """What early stopping tells apart: ratings where values differ, else events and sampled negatives."""


class AutoRec(FittedRanker[AutoRecConfig]):
    """A hidden layer between the values of a user (U-AutoRec) or of an item (I-AutoRec) and the same values predicted.

    h(r) = sigmoid(V r + c), and what user u gives item i is predicted as W_i h(r_u) + b_i from the user's values, or as
    W_u h(r_i) + b_u from the item's. Ratings are taken without their mean, and what is not rated is not predicted;
    where values do not differ, events are 1, and what did not happen is a light 0.

    I-AutoRec has weights for the users it learned. An unseen one gets the mean of them, and is counted.

    Paper: Sedhain, Menon, Sanner, Xie, AutoRec: Autoencoders Meet Collaborative Filtering, WWW 2015. Differs: AdamW,
    values hidden from the encoder in training, and events without ratings.
    """

    name: ClassVar[str] = "autorec"
    config_class: ClassVar[type[Config]] = AutoRecConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> tuple[AutoRecConfig, Arrays]:
        popularity(data)
        events, rated = data.interactions, data.interactions.rated
        mean = float(events.values.mean()) if rated else 0.0
        values = events.values - np.float32(mean) if rated else np.ones(len(events), np.float32)
        sides = (events.users, events.items) if self.config.view == "user" else (events.items, events.users)
        sizes = (len(data.users), len(data.items))
        rows, columns = sizes if self.config.view == "user" else sizes[::-1]
        order = np.argsort(sides[0], kind="stable")
        batches = Ragged(sides[0][order], sides[1][order], values[order], rows, self.config.batch_size)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = Autoencoder(columns, self.config, 0.0 if rated else self.config.unobserved)
        arrays = {"mean": np.array(mean), "rated": np.array(int(rated)), "rows": np.array(rows)}
        measure = None
        if watch.valid is not None:
            judge = _Judged.of(watch.valid.sample(VALIDATION, seed=seed), data, self.config.examples, seed)

            def measure() -> float:
                judged = AutoRec(self.config)
                judged._serve(module, {**arrays, **_codes(module, batches, self.config)})
                return judged._auc(judge)

        identity = about(self.name, data)
        log = train(
            module, batches, self.config, seed=seed, watch=watch, measure=measure, identity=identity, metric="AUC"
        )
        return self.config, {**arrays, **_codes(module, batches, self.config), **module_arrays(module, log)}

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        known = n_items if self.config.view == "user" else len(arrays["module.bias"])
        module = Autoencoder(known, self.config, 0.0)
        restore(module, arrays)
        if self.config.view == "item" and arrays["codes"].shape != (n_items, self.config.factors):
            raise ValueError(f"codes of shape {arrays['codes'].shape}")
        self._serve(module, arrays)

    def _serve(self, module: Autoencoder, arrays: Arrays) -> None:
        self._net, self._serving = module, arrays

    def _score(self, queries: Queries, candidates: Candidates) -> FloatArray:
        items = np.maximum(candidates.items, 0)
        weights, bias = (each.detach().cpu().numpy() for each in (self._net.decoder, self._net.bias))
        if self.config.view == "user":
            hidden = self._encoded(queries)
            scores: FloatArray = np.einsum("qd,qkd->qk", hidden, weights[items]) + bias[items]
            return scores
        users = np.where(queries.users < len(bias), queries.users, -1)
        if unseen := int((users < 0).sum()):
            self.counts["unknown user"] += unseen
        mine = np.where((users >= 0)[:, None], weights[users], weights.mean(axis=0))
        own = np.where(users >= 0, bias[users], bias.mean())
        found: FloatArray = np.einsum("qd,qkd->qk", mine, self._serving["codes"][items]) + own[:, None]
        return found

    def _encoded(self, queries: Queries) -> FloatArray:
        """Return the hidden layer of histories, (q, factors)."""
        real = queries.history >= 0
        values = real.astype(np.float32)
        if self._serving["rated"]:
            if queries.values is None and real.any():
                raise DataError(
                    "queries without ratings for an autorec that learned from ratings",
                    expected="values of the history's items",
                    cure="take queries of a data set with ratings, or fit it without them",
                )
            mean = np.float32(self._serving["mean"])
            values = np.zeros(real.shape, np.float32) if queries.values is None else (queries.values - mean) * real
        return _hidden(self._net, queries.history.astype(np.int64), values.astype(np.float32))

    def _auc(self, judged: _Judged) -> float:
        """Return the AUC of the scores of validation rows."""
        scores = np.zeros(len(judged.items), np.float32)
        for start in range(0, len(scores), ROWS):
            part = slice(start, start + ROWS)
            items = judged.items[part, None]
            one = Candidates(items, np.zeros(items.shape, np.float32))
            scores[part] = self._score(judged.queries.select(judged.lists[part]), one)[:, 0]
        return auc(judged.labels, scores)


class Ragged:
    """Each user's, or each item's, values as a row; a row in random order once an epoch.

    A batch has ``place`` (b, w) int64, left-padded with -1, and ``value`` (b, w) float32, 0 in the padding.

    Args:
        owners: (n,) ascending.
        places: (n,) what the values are of.
        values: (n,).
        rows: number of owners; those without a value are left out.
        batch_size: rows of a batch.
    """

    def __init__(
        self, owners: NDArray[np.int32], places: NDArray[np.int32], values: FloatArray, rows: int, batch_size: int
    ) -> None:
        self.places, self.values, self.rows, self.batch_size = places.astype(np.int64), values, rows, batch_size
        self.starts = np.searchsorted(owners, np.arange(rows + 1))
        self.there = np.flatnonzero(np.diff(self.starts))

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.there) // self.batch_size)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield every row once."""
        order = rng.permutation(self.there)
        for start in range(0, len(order), self.batch_size):
            yield self.batch(order[start : start + self.batch_size])

    def batch(self, owners: NDArray[np.int64]) -> Batch:
        """Return some rows, as wide as the longest."""
        lengths = self.starts[owners + 1] - self.starts[owners]
        rows = np.repeat(np.arange(len(owners)), lengths)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        events = np.repeat(self.starts[owners], lengths) + within
        return {
            "place": pad_ragged(rows, self.places[events], len(owners)),
            "value": pad_ragged(rows, self.values[events], len(owners), fill=0),
        }


class Autoencoder(nn.Module):
    """The module of AutoRec.

    Args:
        places: length of a row of values.
        config: hyper-parameters.
        unobserved: what a place without a value weighs.
    """

    def __init__(self, places: int, config: AutoRecConfig, unobserved: float) -> None:
        super().__init__()
        self.unobserved, self.dropout = unobserved, nn.Dropout(config.dropout)
        self.encoder = nn.Parameter(torch.empty(places, config.factors).normal_(0, 0.05))
        self.decoder = nn.Parameter(torch.empty(places, config.factors).normal_(0, 0.05))
        self.middle, self.bias = nn.Parameter(torch.zeros(config.factors)), nn.Parameter(torch.zeros(places))

    def hidden(self, place: Tensor, value: Tensor) -> Tensor:
        """Return (b, factors) for places (b, w), padded with -1, and their values (b, w)."""
        shown = self.dropout(value)
        total = nn.functional.embedding_bag(place.clamp(min=0), self.encoder, mode="sum", per_sample_weights=shown)
        return torch.sigmoid(total + self.middle)

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed squared error and the number of values."""
        place, value, real = batch["place"], batch["value"], batch["place"] >= 0
        found = (self.hidden(place, value) @ self.decoder.T).float() + self.bias
        observed = found.gather(1, place.clamp(min=0))
        loss = ((observed - value).square() * real).sum()
        if self.unobserved:
            loss = loss + self.unobserved * (found.square().sum() - (observed.square() * real).sum())
        return loss, real.sum()


@dataclass(frozen=True, eq=False)
class _Judged:
    """Rows of the validation part: queries, and which of them (n,) is asked for which items (n,), with labels (n,)."""

    queries: Queries
    lists: NDArray[np.int64]
    items: NDArray[np.int32]
    labels: FloatArray

    @classmethod
    def of(cls, targets: Targets, data: Dataset, examples: ExamplesConfig, seed: int) -> _Judged:
        """Return the rows; ratings where values differ, else events and negatives, unless ``examples`` says so."""
        counts = np.bincount(data.interactions.items, minlength=len(data.items))
        kind = examples.labels or ("ratings" if data.interactions.rated else "negatives")
        rows = target_rows(targets, kind, examples, counts, np.random.default_rng([seed, 1]))
        assert rows.labels is not None  # noqa: S101 - targets have them
        return cls(targets.queries, rows.lists, rows.items, rows.labels)


def _codes(module: Autoencoder, batches: Ragged, config: AutoRecConfig) -> Arrays:
    """Return the hidden layer of all items, which I-AutoRec serves by; an item without events has that of no value."""
    if config.view == "user":
        return {}
    found = [np.zeros((0, config.factors), np.float32)]
    for start in range(0, batches.rows, ROWS):
        batch = batches.batch(np.arange(start, min(start + ROWS, batches.rows)))
        found.append(_hidden(module, batch["place"], batch["value"]))
    return {"codes": np.concatenate(found)}


def _hidden(module: Autoencoder, places: NDArray[np.int64], values: FloatArray) -> FloatArray:
    """Return the hidden layer of rows of values, (b, factors)."""
    device = module.bias.device
    module.eval()
    with torch.inference_mode():
        if not places.shape[1]:
            places, values = np.full((len(places), 1), -1), np.zeros((len(places), 1), np.float32)
        found: FloatArray = (
            module.hidden(*(torch.from_numpy(each).to(device) for each in (places, values))).cpu().numpy()
        )
    return found
