"""Which users are near which cold items: by texts, or by a trained model whose space texts are carried into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmrec.classic.recall.base.history import row_blocks
from llmrec.classic.recall.base.store import check_catalogue, load_recommender
from llmrec.classic.recall.base.vectors import vector_scores
from llmrec.classic.recall.text import TextConfig, TextRecommender
from llmrec.coldstart.items import ColdStart, Numbers
from llmrec.config import Config
from llmrec.data import Candidates, Queries
from llmrec.errors import ConfigError, DataError
from llmrec.protocols import UNWATCHED, FloatArray, VectorModel, Watch


class NearConfig(Config):
    """How a user's history is compared with a cold item."""

    text: TextConfig = TextConfig()
    """What an item's text is, what embeds it, and how a history asks."""
    model: Path | None = None
    """Folder of a fitted recommender with vectors; null compares texts. Where it knows no cold item, their vectors are
    carried over from their texts."""
    history: int = Field(50, ge=1)
    """Newest training events of a user that are read."""
    regularization: float = Field(1.0, gt=0)
    """Of the ridge regression that carries texts over."""


@dataclass(frozen=True, eq=False)
class Carried:
    """A model of vectors with those of some items from elsewhere.

    Attributes:
        model: what makes query vectors.
        item_vectors: float32 (n_items, d).
        servable: bool (n_items,), items with a vector.
    """

    model: VectorModel
    item_vectors: FloatArray
    servable: NDArray[np.bool_]

    def query_vectors(self, queries: Queries) -> FloatArray:
        """Return the model's own, (q, m, d)."""
        return self.model.query_vectors(queries)


def near_model(world: ColdStart, config: NearConfig, watch: Watch = UNWATCHED) -> VectorModel:
    """Return a model whose query vectors find users for cold items.

    Raises:
        ModelError: the model cannot be loaded, or is of another catalogue.
        ConfigError: it has no vectors.
        DataError: no item has a text.
    """
    if config.model is None:
        return TextRecommender(config.text).fit(world.train, watch=watch)
    model = load_recommender(config.model)
    check_catalogue(config.model, world.train)
    if not isinstance(model, VectorModel):
        raise ConfigError(
            f"model {str(config.model)!r} has no vectors of histories and items",
            expected="a recommender that answers by inner products, such as dssm or text",
            cure="name another one, or null to compare texts",
        )
    if model.servable[world.items].all():
        return model
    texts = TextRecommender(config.text).fit(world.train, watch=watch)
    return carry(model, texts, config.regularization)


def carry(model: VectorModel, texts: VectorModel, regularization: float) -> Carried:
    """Return the model with vectors for the items that only ``texts`` knows.

    A ridge regression learns on the items that both know how an item's vector follows from its text's, both less their
    means. As the embedding filter of ColdLLM (Huang et al., WSDM 2025, arXiv 2402.09176) maps language-model embeddings
    into the recommender's space; there two networks are trained by BPR.

    Raises:
        DataError: they share no item.
    """
    both = model.servable & texts.servable
    if not both.any():
        raise DataError(
            "a model and texts that know no item in common",
            expected="items with training events and a text",
            cure="fit the model on this data set's training events",
        )
    known, wanted = texts.item_vectors[both].astype(np.float64), model.item_vectors[both].astype(np.float64)
    centre, level = known.mean(axis=0), wanted.mean(axis=0)
    inputs = known - centre
    gram = inputs.T @ inputs + regularization * np.eye(inputs.shape[1])
    weights = np.linalg.solve(gram, inputs.T @ (wanted - level))
    new = texts.servable & ~model.servable
    vectors = np.array(model.item_vectors, np.float32)
    vectors[new] = (texts.item_vectors[new] - centre) @ weights + level
    return Carried(model, vectors, model.servable | texts.servable)


def affinities(model: VectorModel, queries: Queries, items: Numbers) -> FloatArray:
    """Return (q, c): inner products of histories and items, NaN for those without a vector."""
    return _products(model.query_vectors(queries), model, items)


def _products(vectors: FloatArray, model: VectorModel, items: Numbers) -> FloatArray:
    known = model.servable[items]
    scores = vector_scores(vectors, model.item_vectors[items], np.ones(len(items), np.bool_))
    without = np.asarray(np.isnan(vectors).any(axis=2))
    scores[without.all(axis=1)] = np.nan
    scores[:, ~known] = np.nan
    return scores


def nearest_users(world: ColdStart, model: VectorModel, k: int, *, history: int = 50) -> NDArray[np.int32]:
    """Return the k users nearest to each cold item, int32 (c, k), nearest first, padded with -1; ties: lower number.

    Args:
        world: users, cold items.
        model: makes vectors of histories and items.
        k: how many; all of them where there are fewer.
        history: newest training events of a user that are read.
    """
    k = min(k, len(world.users))
    vectors = model.query_vectors(world.queries(world.users, history))
    found = np.full((len(world.items), k), -1, np.int32)
    for rows in row_blocks(len(world.items), len(world.users)):
        best = Candidates.best(_products(vectors, model, world.items[rows]).T, k).items
        found[rows] = np.where(best >= 0, world.users[best], -1)
    return found
