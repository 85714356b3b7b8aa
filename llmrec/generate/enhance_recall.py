"""Recall over the whole catalogue: by generated texts as queries, and by matchers; cold items apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from llmrec.classic.recall.index import VectorIndex
from llmrec.data import Candidates, Targets
from llmrec.errors import DataError
from llmrec.eval.evaluate import Evaluation, evaluate
from llmrec.eval.metrics import Metric
from llmrec.generate.enhance import Matcher
from llmrec.generate.enhance_pairs import Corpus, Numbers
from llmrec.generate.enhance_recipe import EnhanceRecipe
from llmrec.generate.enhance_vectors import Vectors, history_vectors
from llmrec.protocols import FloatArray

CONTEXT, HISTORY, GENERATED = "context", "history", "generated"


def query_vectors(vectors: Vectors, corpus: Corpus, asked: Numbers, context: str) -> dict[str, FloatArray]:
    """Return what asks for items, name -> (q, d), NaN for a context that has no such vector; the baseline comes first.

    ``context`` is the vector of the context's text, ``history`` that of ``text`` recall (where contexts have
    histories), ``generated`` the mean of the generated texts; ``… + generated`` is the sum of the baseline and that,
    each of length 1, or the baseline alone where nothing was generated.

    Args:
        vectors: of ``corpus``.
        corpus: the histories.
        asked: context numbers (q,).
        context: what a context's vector is, ``text`` or ``history``.

    Raises:
        DataError: it is ``history``, and nobody has one.
    """
    histories = corpus.histories[asked]
    found: dict[str, FloatArray] = {} if context == "history" else {CONTEXT: vectors.contexts[asked]}
    if (histories >= 0).any():
        found[HISTORY] = np.nan_to_num(history_vectors(vectors.items, histories))
    if not found:
        raise DataError(
            "context: history of pairs without histories",
            expected="contexts of a data set, whose users have events",
            cure="set context=text",
        )
    baseline, generated = next(iter(found)), vectors.generated[asked]
    both = np.where(found[baseline].any(axis=1, keepdims=True), _unit(found[baseline]) + _unit(generated), 0)
    found |= {GENERATED: generated, f"{baseline} + {GENERATED}": both.astype(np.float32)}
    return {name: np.where(each.any(axis=1, keepdims=True), each, np.float32(np.nan)) for name, each in found.items()}


def recall_by_texts(
    vectors: Vectors, corpus: Corpus, recipe: EnhanceRecipe, asked: Numbers, targets: Targets
) -> Evaluation:
    """Return the recall of the items nearest to each query vector, by inner product.

    An item is found by its text alone, so that cold ones are too. A query without a vector finds nothing.
    """
    index = VectorIndex.build(vectors.items, np.asarray(vectors.items.any(axis=1)), recipe.index, seed=recipe.seed)
    queries = query_vectors(vectors, corpus, asked, recipe.context)
    index.tune(next(iter(queries.values()))[:, None])
    k, history = _most(recipe.metrics, vectors), targets.queries.history
    found = {name: index.search(each[:, None], k, exclude=history) for name, each in queries.items()}
    return _evaluate(found, corpus, recipe, targets, len(vectors.items))


def recall_by_matchers(
    matchers: Mapping[str, Matcher],
    vectors: Vectors,
    corpus: Corpus,
    recipe: EnhanceRecipe,
    asked: Numbers,
    targets: Targets,
) -> Evaluation:
    """Return the recall of the items that each matcher scores highest; the first one is the baseline."""
    k = _most(recipe.metrics, vectors)
    found = {name: _best(each, vectors, asked, targets, k) for name, each in matchers.items()}
    return _evaluate(found, corpus, recipe, targets, len(vectors.items))


def _best(matcher: Matcher, vectors: Vectors, asked: Numbers, targets: Targets, k: int) -> Candidates:
    parts, textless = [], ~vectors.items.any(axis=1)
    for rows, scores in matcher.every(vectors, asked):
        row, item = targets.queries.select(rows).entries
        scores[row, item] = -np.inf
        scores[:, textless] = -np.inf
        parts.append(Candidates.best(scores, k))
    return Candidates(np.concatenate([each.items for each in parts]), np.concatenate([each.scores for each in parts]))


def _evaluate(
    found: Mapping[str, Candidates], corpus: Corpus, recipe: EnhanceRecipe, targets: Targets, n_items: int
) -> Evaluation:
    real = targets.relevant >= 0
    warm = real & corpus.trained[targets.relevant]
    groups = {"warm items": warm, "cold items": real & ~warm}
    return evaluate(
        found,
        targets,
        n_items=n_items,
        metrics=recipe.metrics,
        baseline=next(iter(found)),
        groups={name: mask for name, mask in groups.items() if mask.any()},
        seed=recipe.seed,
    )


def _most(metrics: Sequence[str], vectors: Vectors) -> int:
    return min(max(Metric.parse(name).k for name in metrics), len(vectors.items))


def _unit(vectors: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: FloatArray = vectors / np.where(lengths > 0, lengths, 1)
    return scaled
