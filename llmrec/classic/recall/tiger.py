"""TIGER: the next item's semantic id is generated, token by token, and every beam is an item."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from llmrec.classic.recall.base.history import HistoryRecommender, popularity
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.base.vectors import known_history
from llmrec.classic.recall.neural.batches import POOL, Pairs
from llmrec.classic.recall.neural.fitting import fit_module
from llmrec.classic.recall.neural.recommender import learned, restore
from llmrec.classic.recall.semantic.beam_search import TrieBeams
from llmrec.classic.recall.semantic.ids import SemanticIds, Trie, given_codes
from llmrec.classic.recall.semantic.rqvae import RQVAEConfig, fit_rqvae
from llmrec.classic.recall.semantic.seq2seq import Seq2Seq, Seq2SeqConfig, Writer
from llmrec.classic.recall.text import embed_texts, item_texts
from llmrec.classic.training import Batch
from llmrec.config import Config, Part
from llmrec.data import Dataset, Queries
from llmrec.llm.embedding import make_embedder
from llmrec.protocols import FloatArray, Watch

ROWS = 64  # queries that are answered at once
VALIDATION, VALIDATION_BEAMS = 2000, 20  # queries and beams of early stopping, at most: generating is no cheap score


class TIGERConfig(Seq2SeqConfig):
    """Hyper-parameters of TIGER."""

    beams: int = Field(100, ge=1)
    """Items that beam search finds for a query; items of the history are among them and left out afterwards."""
    columns: tuple[str, ...] | None = Field(None, min_length=1)
    """Columns of the item table that make an item's text; null takes those of title, categories, description there."""
    embedder: Part = Part(name="sentence")
    """What turns texts into vectors; only read when the model is fitted."""
    rqvae: RQVAEConfig = RQVAEConfig()
    """How vectors become codes."""
    codes_column: str | None = None
    """Column of the item table with ready-made codes, a list an item; null makes them from texts."""


class TIGER(HistoryRecommender[TIGERConfig]):
    """An encoder-decoder reads the ids of the history's items and generates the next one's; beams never leave the trie.

    An id is made of the codes that an RQ-VAE gives to the item's text, and of one token more where items share them
    (``collisions``, saved with the weights). An item's score is the natural log-probability of its whole id. Items that
    no beam found come after all others by popularity; a catalogue of at most ``beams`` items is scored exactly.

    An item that nobody has touched has an id from its text, and can be generated. An item without a text (or without
    ready-made codes) has none: it is never generated, and histories skip it.

    Paper: Rajput et al., Recommender Systems with Generative Retrieval, NeurIPS 2023. Differs: no token of the user,
    since unseen users are served; learned positions; AdamW with a constant learning rate. Each event is a target once
    an epoch, with the newest ``history`` items before it.
    """

    name: ClassVar[str] = "tiger"
    config_class: ClassVar[type[Config]] = TIGERConfig

    @property
    def semantic_ids(self) -> SemanticIds:
        """The ids of the catalogue."""
        return self._ids

    @property
    def collisions(self) -> int:
        """How many items have the codes of an earlier one."""
        return self._ids.collisions

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:
        counts = popularity(data)  # first, since it says so where there is nothing to learn from
        ids, made = self._make_ids(data, seed, watch)
        events = data.interactions.select(ids.known[data.interactions.items])
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = Seq2Seq(self.config, ids)
        beams = min(self.config.beams, VALIDATION_BEAMS)
        generation = Generation(module, ids, counts, self.config.history, beams)
        known = data.with_interactions(events)
        log = fit_module(
            module,
            PooledPairs.of(known, self.config.history, self.config.batch_size),
            self.config,
            lambda: generation.scores,
            name=self.name,
            data=known,
            seed=seed,
            watch=watch,
            asked=VALIDATION,
            identity={"ids": hashlib.sha256(ids.tokens.astype("<i8").tobytes()).hexdigest()},
        )
        return {**made, **learned(module, log)}

    def _make_ids(self, data: Dataset, seed: int, watch: Watch) -> tuple[SemanticIds, Arrays]:
        """Return the ids of the catalogue, and what is saved of them."""
        config, losses = self.config.rqvae, list[float]()
        if self.config.codes_column is None:
            part = _part_of(watch, "semantic ids")
            texts = item_texts(data, self.config.columns)
            vectors = embed_texts(make_embedder(self.config.embedder), texts, part)
            known = np.linalg.norm(vectors, axis=1) > 0
            rqvae, losses = fit_rqvae(vectors[known], config, seed=seed, watch=part)
            codes = np.full((len(vectors), config.levels), -1, np.int64)
            codes[known] = rqvae.codes(vectors[known])
            ids = SemanticIds.of(codes, np.full(config.levels, config.codes))
        else:
            ids = SemanticIds.of(*given_codes(data, self.config.codes_column))
        arrays = {"ids": ids.tokens, "sizes": ids.sizes, "collisions": np.array(ids.collisions)}
        return ids, {**arrays, "rqvae_loss": np.array(losses)}

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        ids = SemanticIds(arrays["ids"], arrays["sizes"], int(arrays["collisions"]))
        if len(ids.tokens) != n_items:
            raise ValueError(f"ids of shape {ids.tokens.shape}")
        module = Seq2Seq(self.config, ids)
        restore(module, arrays)
        self._ids = ids
        self._generation = Generation(module, ids, arrays["popularity"], self.config.history, self.config.beams)

    def _score(self, queries: Queries) -> FloatArray:
        return self._generation.scores(queries)


class Generation:
    """An encoder-decoder that answers queries.

    Args:
        module: the encoder-decoder.
        ids: of the catalogue.
        popularity: float32 (n_items,), orders what no beam finds.
        history: newest items that are read.
        beams: items that are found.
    """

    def __init__(self, module: Seq2Seq, ids: SemanticIds, popularity: FloatArray, history: int, beams: int) -> None:
        self.module, self.known, self.history, self.beams = module, ids.known, history, beams
        self.tail = popularity / (popularity.max() + 1) - 2
        self.trie = TrieBeams(Trie.of(ids.tokens))

    def scores(self, queries: Queries) -> FloatArray:
        """Return (q, n_items): log-probabilities, then popularity between 1 and 2 below the lowest of a row's.

        A row is zeros where no item of the history has an id.
        """
        history, _ = known_history(queries, self.known, self.history)
        scores = np.zeros((len(queries), len(self.known)), np.float32)
        asked = np.flatnonzero((history >= 0).any(axis=1)) if history.shape[1] else np.zeros(0, np.int64)
        for start in range(0, len(asked), ROWS):
            rows = asked[start : start + ROWS]
            items, found = self.generate(history[rows])
            scores[rows] = found.min(axis=1, keepdims=True) + self.tail
            scores[rows[:, None], items] = found
        return scores

    def generate(self, history: NDArray[np.int64]) -> tuple[NDArray[np.int64], FloatArray]:
        """Return the items (q, b) that beams find after histories (q, h), best first, with their log-probabilities."""
        device = self.module.table.device  # training moves the module after this was made
        self.trie.to(device)
        self.module.eval()
        with torch.inference_mode():
            writer = Writer(self.module, torch.from_numpy(history).to(device))
            items, scores = self.trie.search(writer, len(history), self.beams)
        return items.cpu().numpy(), scores.float().cpu().numpy()


@dataclass(frozen=True)
class PooledPairs:
    """Each event as a target after the history before it, as ``Pairs`` has them, those of like length together."""

    pools: Pairs
    batch_size: int

    @classmethod
    def of(cls, data: Dataset, history: int, batch_size: int) -> PooledPairs:
        """Return the training rows of a data set; a DataError where nobody has two events."""
        return cls(Pairs(data, history, POOL * batch_size), batch_size)

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.pools.targets) // self.batch_size)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield the rows in random order but for the lengths of those in one batch."""
        for pool in self.pools.epoch(rng):
            order = np.argsort((pool["history"] >= 0).sum(axis=1), kind="stable")
            for step in rng.permutation(-(-len(order) // self.batch_size)):
                rows = order[step * self.batch_size : (step + 1) * self.batch_size]
                yield {name: pool[name][rows] for name in ("history", "target")}


def _part_of(watch: Watch, what: str) -> Watch:
    """Return how a part of a fit is watched: a checkpoint folder of its own, and reports that say what it is."""
    folder, report = watch.checkpoint, watch.report
    say = None if report is None else lambda done, total, text: report(done, total, f"{what}: {text}")
    return Watch(None, None if folder is None else folder / what.replace(" ", "-"), say)
