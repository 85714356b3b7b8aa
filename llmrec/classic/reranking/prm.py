"""PRM: a transformer reads the whole list, so that what a candidate is worth depends on its company."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from llmrec.classic.recall.base.store import Arrays, Catalogue
from llmrec.classic.recall.neural.features import FeatureEmbedding, item_features
from llmrec.classic.recall.neural.recommender import learned, restore
from llmrec.classic.reranking.base import Reranker
from llmrec.classic.reranking.lists import ListBatches, Lists, list_arrays
from llmrec.classic.training import TrainingConfig, train
from llmrec.config import Config
from llmrec.data import Candidates, Dataset, Queries, Targets
from llmrec.protocols import UNWATCHED, Watch


class PRMConfig(TrainingConfig):
    """Hyper-parameters of PRM."""

    k: int = Field(50, ge=1)
    """Candidates that are read; the others follow in their incoming order."""
    embedding_dim: int = Field(64, ge=1)
    """Length of the items' vectors and width of the layers."""
    history: int = Field(50, ge=1)
    """How many of the newest items are read."""
    columns: tuple[str, ...] = ()
    """Columns of the item table whose categories describe items too, for example categories."""
    blocks: int = Field(2, ge=1)
    """Layers, one upon the other."""
    heads: int = Field(2, ge=1)
    """Attention heads of a layer; divides embedding_dim."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Share of activations that training silences."""

    @model_validator(mode="after")
    def _check(self) -> PRMConfig:
        if self.embedding_dim % self.heads:
            raise ValueError(f"embedding_dim = {self.embedding_dim} is no multiple of heads = {self.heads}")
        return self


class PRM(Reranker[PRMConfig]):
    """Scores the candidates of a list together, with self-attention from each to all others.

    A candidate comes with the vector of its item, that vector times the mean of the history's (what the paper calls the
    personalised vector), its incoming score scaled to 0..1, and its place. Learned with the cross-entropy of what was
    clicked under a softmax over the list.

    ``fit`` learns from a data set's impressions, ``fit_lists`` from candidates with targets, such as those of the
    validation part. Training stops early by the NDCG@10 of validation lists where there are some.

    Paper: Pei et al., Personalized Re-ranking for Recommendation, RecSys 2019. Differs: the personalised vector is
    learned with the rest instead of taken from a click model trained before.
    """

    name: ClassVar[str] = "prm"
    config_class: ClassVar[type[Config]] = PRMConfig

    def fit_lists(
        self,
        data: Dataset,
        candidates: Candidates,
        targets: Targets,
        *,
        valid: tuple[Candidates, Targets] | None = None,
        seed: int = 0,
        watch: Watch = UNWATCHED,
    ) -> Self:
        """Learn from candidates (q, n) with the relevant items of their queries, and return itself.

        Args:
            data: the data set that the items are of.
            candidates: (q, n), best first; lists without a relevant item are left out.
            targets: the same q queries with their relevant items.
            valid: other candidates and targets, by which training stops early.
            seed: of everything random.
            watch: checkpoint and progress.

        Raises:
            DataError: no list has a relevant item.
            ModelError: the loss is not finite.
        """
        lists = Lists.of(candidates, targets, k=self.config.k, where=repr(data.name))
        asked = None if valid is None else Lists.of(*valid, k=self.config.k, where="the validation part")
        return self._take(Catalogue.of(data), self._train(data, lists, asked, seed, watch))

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> Arrays:
        lists, valid = Lists.shown(data, history=self.config.history, k=self.config.k), watch.valid
        asked = None
        if valid is not None and valid.shown is not None and valid.labelled:
            asked = Lists.of(valid.candidates(), valid, k=self.config.k, where="the validation part")
        return self._train(data, lists, asked, seed, watch)

    def _train(self, data: Dataset, lists: Lists, valid: Lists | None, seed: int, watch: Watch) -> Arrays:
        features = item_features(data, self.config.columns)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = ListTransformer(self.config, len(data.items), features)

        def measure() -> float:
            assert valid is not None  # noqa: S101 - asked for then only
            return valid.ndcg(self._score(module, valid.queries, valid.candidates))

        log = train(
            module,
            ListBatches(lists, self.config.history, self.config.batch_size),
            self.config,
            seed=seed,
            watch=watch,
            measure=None if valid is None else measure,
            identity={"model": self.name, "items": Catalogue.of(data).items_digest, "lists": len(lists.queries)},
        )
        return {**features, **learned(module, log)}

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        self.module = ListTransformer(self.config, n_items, arrays)
        restore(self.module, arrays)
        self.module.eval()

    def _floats(self, width: int) -> int:
        return 12 * min(width, self.config.k) * self.config.embedding_dim

    def _order(self, queries: Queries, candidates: Candidates) -> Candidates:
        return self._score(self.module, queries, candidates)

    def _score(self, module: ListTransformer, queries: Queries, candidates: Candidates) -> Candidates:
        arrays = list_arrays(queries, candidates.top(self.config.k), self.config.history)
        device = next(module.parameters()).device
        with torch.inference_mode():
            found = module.logits({name: torch.from_numpy(array).to(device) for name, array in arrays.items()})
        scores = np.full(candidates.items.shape, np.nan, np.float32)
        scores[:, : found.shape[1]] = found.float().cpu().numpy()
        return candidates.with_scores(scores)


class ListTransformer(nn.Module):
    """The layers of PRM.

    Args:
        config: hyper-parameters.
        n_items: size of the catalogue.
        features: what ``item_features`` returned.
    """

    def __init__(self, config: PRMConfig, n_items: int, features: Arrays) -> None:
        super().__init__()
        width = config.embedding_dim
        self.items = FeatureEmbedding(features, n_items, width, scale=width**-0.5)
        self.places = nn.Parameter(torch.randn(config.k, width) * 0.02)
        self.inputs = nn.Linear(2 * width + 1, width)
        layer = nn.TransformerEncoderLayer(width, config.heads, 4 * width, config.dropout, batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, config.blocks, enable_nested_tensor=False)
        self.output = nn.Linear(width, 1)

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return (b, n); -inf in the padding."""
        items, history = batch["items"], batch["history"]
        vectors = self._vectors(items)
        known = (history >= 0).sum(1).clamp(min=1)
        user = self._vectors(history).sum(1) / known[:, None]
        personal = vectors * user[:, None] * vectors.shape[-1] ** 0.5
        joined = torch.cat([vectors, personal, batch["scores"].unsqueeze(-1)], dim=-1)
        hidden = self.blocks(self.inputs(joined) + self.places[: items.shape[1]], src_key_padding_mask=items < 0)
        scores: Tensor = self.output(hidden).squeeze(-1)
        return scores.masked_fill(items < 0, -torch.inf)

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed loss of the lists, the mean over what was clicked of each, and their number."""
        clicked = batch["clicked"]
        losses = -torch.log_softmax(self.logits(batch).float(), dim=1).masked_fill(~clicked, 0)
        return (losses.sum(1) / clicked.sum(1)).sum(), torch.tensor(len(clicked), device=clicked.device)

    def _vectors(self, items: Tensor) -> Tensor:
        """Return (b, n, d) for item numbers (b, n), zeros for -1."""
        found: Tensor = self.items(items.clamp(min=0).reshape(-1))
        return found.reshape(*items.shape, found.shape[-1]).masked_fill(items.unsqueeze(-1) < 0, 0)
