"""How a torch recommender is fitted: the shared loop, judged each epoch by NDCG@10 on the validation part."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from torch import nn

from llmrec.classic.recall.base.store import Catalogue
from llmrec.classic.training import Batches, Log, TrainingConfig, train
from llmrec.data import Candidates, Dataset, Queries, Targets
from llmrec.eval.metrics import compute
from llmrec.protocols import FloatArray, Watch

Scores = Callable[[Queries], FloatArray]
VALIDATION = 10_000  # queries that early stopping looks at, at most
ROWS = 512  # of them, scored at once


def fit_module(
    module: nn.Module,
    batches: Batches,
    config: TrainingConfig,
    serve: Callable[[], Scores],
    *,
    name: str,
    data: Dataset,
    seed: int,
    watch: Watch,
    asked: int = VALIDATION,
    identity: Mapping[str, str] | None = None,
) -> Log:
    """Train in place through the shared loop and return what was seen; early stopping asks the scores of ``serve``.

    Args:
        module: what is trained.
        batches: what it learns from.
        config: how to train.
        serve: returns how the module, as it is now, scores all items for queries; called after each epoch.
        name: of the model; a checkpoint belongs to it, to ``data`` and ``seed``.
        data: what the batches are of.
        seed: of everything random.
        watch: validation part, checkpoint folder, progress.
        asked: validation queries that are asked, at most.
        identity: what else a checkpoint belongs to.

    Raises:
        ModelError: see ``train``.
    """
    measure = None
    if watch.valid is not None:
        valid = watch.valid.sample(asked, seed=seed)

        def measure() -> float:
            return validation_ndcg(serve(), valid)

    about = {"model": name, "items": Catalogue.of(data).items_digest, "events": len(data.interactions)}
    about |= identity or {}
    return train(module, batches, config, seed=seed, watch=watch, measure=measure, identity=about)


def validation_ndcg(scores: Scores, targets: Targets) -> float:
    """Return the mean NDCG@10 of ranking all unseen items by ``scores``."""
    total = 0.0
    for start in range(0, len(targets), ROWS):
        part = slice(start, start + ROWS)
        queries = targets.queries.select(part)
        found = scores(queries)
        row, place = np.nonzero(queries.history >= 0)
        found[row, queries.history[row, place]] = -np.inf
        best = Candidates.best(found, min(10, found.shape[1]))
        total += float(compute(best, Targets(queries, targets.relevant[part]), ("ndcg@10",))["ndcg@10"].sum())
    return total / len(targets)
