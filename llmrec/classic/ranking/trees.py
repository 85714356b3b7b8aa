"""Gradient-boosted trees by LightGBM: as a classifier, as LambdaMART, and as features of a logistic regression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import lightgbm as lgb
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from llmrec.classic.ranking.base.ranker import FittedRanker
from llmrec.classic.ranking.features import FeatureSpace
from llmrec.classic.ranking.learning import Encoded, LearnedConfig, Lesson, checked_space, encode, prepare, spread
from llmrec.classic.ranking.linear import Linear
from llmrec.classic.ranking.neural.ranker import TorchConfig, about, fit_rows, module_arrays, row_logits
from llmrec.classic.recall.base.store import Arrays
from llmrec.classic.recall.neural.recommender import restore
from llmrec.config import Config
from llmrec.data import Candidates, Dataset, Queries
from llmrec.errors import ConfigError
from llmrec.protocols import FloatArray, Watch

TREES = "trees"
HOT = 64  # values of a category with several a row that get a column each, at most
LONGEST = 10_000  # rows of a list that LightGBM takes; lists are cut there too
BLOCK = 1 << 16  # rows whose leaves are looked up at once


class TreesConfig(LearnedConfig):
    """What rankers with trees share; they read no ids."""

    trees: int = Field(300, ge=1)
    """Trees, at most."""
    leaves: int = Field(31, ge=2, le=256)
    """Leaves of a tree, at most."""
    shrinkage: float = Field(0.05, gt=0, le=1)
    """What each tree counts."""
    min_rows: int = Field(20, ge=1)
    """Training rows of a leaf, at least."""
    tree_patience: int = Field(30, ge=1)
    """Trees without a better validation value before training stops; the best number of trees is kept."""


T = TypeVar("T", bound=TreesConfig)


class TreeRanker(FittedRanker[T]):
    """A ranker whose score is the sum of its trees."""

    objective: ClassVar[str]
    metric: ClassVar[str]

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> tuple[T, Arrays]:
        lesson = prepare(data, self.config, seed, watch)
        booster = grow(lesson, self.config, seed, watch, objective=self.objective, metric=self.metric)
        arrays = {**lesson.space.arrays, TREES: as_bytes(booster)}
        if lesson.valid is not None:
            scores = tree_scores(booster, lesson.space, lesson.valid)
            arrays["validation_auc"] = np.array([lesson.valid_auc(scores)])
        return self.config.model_copy(update={"features": lesson.space.config}), arrays

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        self._space, self._booster = checked_space(self.config, arrays, n_items), from_bytes(arrays[TREES])

    def _score(self, queries: Queries, candidates: Candidates) -> FloatArray:
        encoded = encode(self._space, queries, candidates, self.config)
        self.counts.update(self._space.count_unknown(encoded.rows))
        return spread(candidates, tree_scores(self._booster, self._space, encoded))


class GBDTConfig(TreesConfig):
    """Hyper-parameters of gradient-boosted trees."""


class GBDT(TreeRanker[GBDTConfig]):
    """Trees that learn the log-odds of the label, stopped by the validation AUC.

    Paper: Friedman, Greedy Function Approximation: A Gradient Boosting Machine, Annals of Statistics 2001, as
    Ke et al., LightGBM: A Highly Efficient Gradient Boosting Decision Tree, NeurIPS 2017, grow them.
    """

    name: ClassVar[str] = "gbdt"
    config_class: ClassVar[type[Config]] = GBDTConfig
    objective: ClassVar[str] = "binary"
    metric: ClassVar[str] = "auc"


class LambdaMARTConfig(TreesConfig):
    """Hyper-parameters of LambdaMART."""


class LambdaMART(TreeRanker[LambdaMARTConfig]):
    """Trees that learn the order of each list, stopped by the validation NDCG@10; a score is no log-odds.

    A list is an impression, an event with its negatives, or the ratings of a user.

    Paper: Burges, From RankNet to LambdaRank to LambdaMART: An Overview, MSR-TR 2010.
    """

    name: ClassVar[str] = "lambdamart"
    config_class: ClassVar[type[Config]] = LambdaMARTConfig
    objective: ClassVar[str] = "lambdarank"
    metric: ClassVar[str] = "ndcg"


class GBDTLRConfig(TorchConfig, TreesConfig):
    """Hyper-parameters of GBDT+LR; ``embedding_dim`` is not read."""

    trees: int = Field(100, ge=1)
    """Trees, at most."""
    learning_rate: float = Field(1e-2, gt=0)
    """Step size of AdamW."""


class GBDTLR(FittedRanker[GBDTLRConfig]):
    """Logistic regression on which leaf of each tree a row falls into, and on the features themselves.

    Paper: He et al., Practical Lessons from Predicting Clicks on Ads at Facebook, ADKDD 2014. Differs: ids and other
    features, which the trees do not read, stand beside the leaves; AdamW instead of an online learner.
    """

    name: ClassVar[str] = "gbdt-lr"
    config_class: ClassVar[type[Config]] = GBDTLRConfig

    def _learn(self, data: Dataset, seed: int, watch: Watch) -> tuple[GBDTLRConfig, Arrays]:
        lesson = prepare(data, self.config, seed, watch)
        config = self.config.model_copy(update={"features": lesson.space.config})
        booster = grow(lesson, config, seed, Watch(report=watch.report), objective="binary", metric="auc")
        leaved = Lesson(
            lesson.space,
            with_leaves(booster, lesson.space, lesson.train),
            lesson.valid and with_leaves(booster, lesson.space, lesson.valid),
        )
        module = LinearOnLeaves(lesson.space, booster.num_trees(), config.leaves)
        log = fit_rows(module, leaved, config, about(self.name, data), seed, watch)
        return config, {**lesson.space.arrays, **module_arrays(module, log), TREES: as_bytes(booster)}

    def _adopt(self, arrays: Arrays, n_items: int) -> None:
        self._space, self._booster = checked_space(self.config, arrays, n_items), from_bytes(arrays[TREES])
        module = LinearOnLeaves(self._space, self._booster.num_trees(), self.config.leaves)
        restore(module, arrays)
        self._net = module.eval()

    def _score(self, queries: Queries, candidates: Candidates) -> FloatArray:
        encoded = encode(self._space, queries, candidates, self.config)
        self.counts.update(self._space.count_unknown(encoded.rows))
        leaved = with_leaves(self._booster, self._space, encoded)
        return spread(candidates, row_logits(self._net, leaved, self.config.features.history))


class LinearOnLeaves(Linear):
    """The module of GBDT+LR."""

    def __init__(self, space: FeatureSpace, trees: int, leaves: int) -> None:
        super().__init__(space)
        self.leaves = nn.Parameter(torch.zeros(trees, leaves))

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the log-odds of yes, (b,)."""
        chosen = self.leaves[torch.arange(len(self.leaves), device=self.leaves.device), batch["leaves"].long()]
        return super().logits(batch) + chosen.sum(1)


def grow(lesson: Lesson, config: TreesConfig, seed: int, watch: Watch, *, objective: str, metric: str) -> lgb.Booster:
    """Return trees, as many as the validation part likes best."""
    parameters = {
        "objective": objective,
        "metric": metric,
        "eval_at": [10],
        "num_leaves": config.leaves,
        "learning_rate": config.shrinkage,
        "min_data_in_leaf": config.min_rows,
        "min_data_per_group": config.min_rows,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    train = _dataset(lesson.space, lesson.train, parameters)
    valid = [] if lesson.valid is None else [_dataset(lesson.space, lesson.valid, parameters, train)]
    callbacks: list[Any] = [lgb.early_stopping(config.tree_patience, verbose=False)] if valid else []

    def report(seen: Any) -> None:  # noqa: ANN401 - LightGBM's own
        if watch.report is not None:
            watch.report(seen.iteration + 1, config.trees, f"tree {seen.iteration + 1} of at most {config.trees}")

    return lgb.train(parameters, train, config.trees, valid_sets=valid, callbacks=[report, *callbacks])


def tree_columns(space: FeatureSpace, encoded: Encoded) -> tuple[FloatArray, list[int]]:
    """Return what trees read of rows, float32 (n, c), and which columns hold codes.

    Numbers and statistics; categories of one value but ids as codes; of several, a column of 0 and 1 for each of the
    first ``HOT`` codes; the text's vector.

    Raises:
        ConfigError: that is nothing.
    """
    rows = encoded.rows
    owned = {"user": rows.users + 1, "item": rows.items + 1}
    columns, codes = [encoded.numbers], []
    for each in (one for one in space.categories if one.name not in owned):
        found = space.codes(each.name)[owned[each.owner]]
        if not each.many:
            codes.append(sum(column.shape[1] for column in columns))
            columns.append(found.astype(np.float32))
        else:
            hot = np.zeros((len(found), min(each.size, HOT) + 1), np.float32)
            np.put_along_axis(hot, np.minimum(found, hot.shape[1] - 1), 1, 1)
            columns.append(hot[:, 1:-1])
    if space.texts is not None:
        columns.append(space.texts[owned["item"]])
    matrix = np.concatenate(columns, axis=1)
    if not matrix.shape[1]:
        raise ConfigError(
            "features without numbers, statistics, columns and texts",
            expected="some: trees read no ids",
            cure="add statistics, numbers, or a column such as item.categories",
        )
    return matrix, codes


def tree_scores(booster: lgb.Booster, space: FeatureSpace, encoded: Encoded) -> FloatArray:
    """Return the sum of the trees for each row, float32 (n,)."""
    if not len(encoded):
        return np.zeros(0, np.float32)
    return np.asarray(booster.predict(tree_columns(space, encoded)[0], raw_score=True), np.float32)


def with_leaves(booster: lgb.Booster, space: FeatureSpace, encoded: Encoded) -> Encoded:
    """Return the rows with the number of the leaf they fall into, uint8 (n, trees), as ``leaves``."""
    leaves = np.zeros((len(encoded), booster.num_trees()), np.uint8)
    for start in range(0, len(encoded), BLOCK):
        part = slice(start, start + BLOCK)
        some = Encoded(encoded.rows.select(part), encoded.numbers[part])
        matrix, _ = tree_columns(space, some)
        leaves[part] = np.asarray(booster.predict(matrix, pred_leaf=True)).reshape(len(some), -1)
    return replace(encoded, extra={"leaves": leaves})


def as_bytes(booster: lgb.Booster) -> NDArray[np.uint8]:
    """Return LightGBM's own text of a model as bytes."""
    return np.frombuffer(booster.model_to_string().encode(), np.uint8)


def from_bytes(stored: NDArray[np.uint8]) -> lgb.Booster:
    """Return the model of ``as_bytes``; a ValueError where it is none."""
    try:
        return lgb.Booster(model_str=stored.tobytes().decode())
    except (lgb.basic.LightGBMError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None


def _dataset(
    space: FeatureSpace, encoded: Encoded, parameters: dict[str, Any], like: lgb.Dataset | None = None
) -> lgb.Dataset:
    matrix, codes = tree_columns(space, encoded)
    starts = np.flatnonzero(np.diff(encoded.rows.lists, prepend=-1))
    sizes = np.diff(np.union1d(starts, np.arange(0, len(encoded), LONGEST)), append=len(encoded))
    return lgb.Dataset(
        matrix, encoded.rows.labels, reference=like, group=sizes, categorical_feature=codes, params=parameters
    )
