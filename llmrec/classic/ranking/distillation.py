"""Distillation onto given features: a small student learns what a strong ranker or a language model scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain, pairwise
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llmrec.classic.ranking.losses import LOSSES, LossConfig, scored_lists
from llmrec.classic.training import Batch, TrainingConfig, train
from llmrec.config import Config
from llmrec.data import Candidates, Queries
from llmrec.data.files import atomic_folder, read_json, write_json
from llmrec.errors import DataError, ModelError
from llmrec.protocols import UNWATCHED, FloatArray, Watch

Features = Callable[[Queries, Candidates], FloatArray]
"""Returns (q, k, f) numbers for candidates (q, k); what stands in the padding is not read."""
KIND, WEIGHTS = "student", "weights.safetensors"


class StudentConfig(TrainingConfig, LossConfig):
    """What a student is, and how it learns."""

    hidden: tuple[int, ...] = ()
    """Widths of the layers; none is a linear model."""
    query_features: int = Field(0, ge=0)
    """Two towers: the first so many features are the query's, the others the item's; 0 for one model of all."""
    embedding_dim: int = Field(32, ge=1)
    """Width of the towers' vectors; read with ``query_features`` only."""
    learning_rate: float = Field(1e-2, gt=0)
    """Step size of AdamW."""


class Student:
    """A light ranker on given features, taught by another ranker's scores.

    It needs no labels: whatever ranked the candidates of some queries, a language model say, is the teacher. What the
    teacher gave no score does not count. Features are standardised by those that it was taught on.

    Args:
        features: computes the features of candidates.
        config: loss, layers, training; None for the defaults.
    """

    name: ClassVar[str] = "student"
    config_class: ClassVar[type[Config]] = StudentConfig

    def __init__(self, features: Features, config: StudentConfig | None = None) -> None:
        self.features, self.config = features, config or StudentConfig()
        self._module: _Module | None = None

    def fit(self, queries: Queries, teacher: Candidates, *, seed: int = 0, watch: Watch = UNWATCHED) -> Self:
        """Learn from candidates (q, k) with a teacher's scores, NaN where there is none, and return itself.

        Higher scores are better. It trains for all epochs; ``watch.valid`` is not read.

        Raises:
            DataError: no list has two scored candidates, there is not one for each query, or a feature is not finite.
        """
        queries, teacher, known = scored_lists(queries, teacher)
        values = self._features(queries, teacher)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = _Module(values.shape[2], self.config)
        module.standardise(values[known])
        scores = np.where(known, teacher.scores, 0).astype(np.float32)
        batches = _Lists({"features": values, "teacher": scores, "known": known}, self.config.batch_size)
        about = {"model": self.name, "lists": len(queries), "features": values.shape[2]}
        train(module, batches, self.config, seed=seed, watch=watch, identity=about)
        self._module = module
        return self

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Return each row ordered by the student's scores, best first.

        Raises:
            DataError: a row has no candidate, or features are of another shape or not finite.
            ModelError: it is not fitted.
        """
        candidates.require_filled()
        module = self._fitted()
        values = self._features(queries, candidates, width=module.width)
        with torch.inference_mode():
            scores = module.scores(torch.from_numpy(values).to(module.mean.device)).cpu().numpy()
        return candidates.with_scores(scores)

    def save(self, folder: Path) -> Path:
        """Write ``config.json`` and ``weights.safetensors``, whole or not at all; features are code, and not stored."""
        module = self._fitted()
        with atomic_folder(folder) as temporary:
            about = {"kind": KIND, "parameters": self.config.model_dump(mode="json"), "features": module.width}
            write_json(temporary / "config.json", about)
            save_file({name: each.cpu() for name, each in module.state_dict().items()}, temporary / WEIGHTS)
        return folder

    @classmethod
    def load(cls, folder: Path, features: Features) -> Self:
        """Read a folder that ``save`` wrote.

        Raises:
            ModelError: a file is missing or damaged, or something else was saved there.
        """
        try:
            about = read_json(folder / "config.json")
            if about.get("kind") != KIND:
                raise ValueError(f"kind {about.get('kind')!r}")  # noqa: TRY301 - one reply below
            student = cls(features, StudentConfig.model_validate(about["parameters"]))
            module = _Module(int(about["features"]), student.config)
            module.load_state_dict(load_file(folder / WEIGHTS))
        except (DataError, KeyError, ValueError, ValidationError, RuntimeError, OSError, SafetensorError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelError(
                f"{str(folder)!r} cannot be read ({reason})",
                expected="the folder of a saved student",
                cure="fit and save the student again",
            ) from None
        student._module = module.eval()
        return student

    def _fitted(self) -> _Module:
        if self._module is None:
            raise ModelError("a student without weights", expected="a fitted one", cure="call fit or load first")
        return self._module

    def _features(self, queries: Queries, candidates: Candidates, *, width: int | None = None) -> FloatArray:
        """Return (q, k, f), 0 in the padding."""
        values = np.asarray(self.features(queries, candidates), np.float32)
        if values.ndim != 3 or values.shape[:2] != candidates.items.shape or width not in {None, values.shape[-1]}:
            raise DataError(
                f"features of shape {values.shape} for candidates {candidates.items.shape}",
                expected="(q, k, f)" if width is None else f"(q, k, {width}), as the student was taught on",
                cure="return one row of features for each place",
            )
        values = np.where(candidates.items[:, :, None] < 0, np.float32(0), values)
        if wrong := int((~np.isfinite(values)).any(axis=2).sum()):
            raise DataError(f"{wrong} candidates with NaN or infinity", expected="finite features", cure="fill them in")
        return values


class _Lists:
    """Lists in a new order each epoch."""

    def __init__(self, arrays: Batch, batch_size: int) -> None:
        self.arrays, self.batch_size = arrays, batch_size
        self.steps = -(-len(arrays["known"]) // batch_size)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        order = rng.permutation(len(self.arrays["known"]))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            yield {name: array[rows] for name, array in self.arrays.items()}


class _Module(nn.Module):
    """A linear model, layers, or two towers over standardised features."""

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int, config: StudentConfig) -> None:
        super().__init__()
        self.width, self.config = width, config
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        split = config.query_features
        if split >= width > 0:
            raise DataError(
                f"query_features = {split} of {width} features", expected="some of the item's too", cure="lower it"
            )
        ends = config.embedding_dim if split else 1
        self.parts = nn.ModuleList(
            _layers(size, config.hidden, ends) for size in ([split] if split else []) + [width - split]
        )
        self.bias = nn.Parameter(torch.zeros(1))

    def standardise(self, values: FloatArray) -> None:
        """Take over mean and deviation of features (n, f); a constant one becomes 0."""
        deviation = values.std(axis=0, dtype=np.float64)
        self.mean.copy_(torch.from_numpy(values.mean(axis=0, dtype=np.float64)))
        self.scale.copy_(torch.from_numpy(np.where(deviation > 1e-12, deviation, 1)))

    def scores(self, features: Tensor) -> Tensor:
        """Return (b, k) for features (b, k, f)."""
        values = (features - self.mean) / self.scale
        if split := self.config.query_features:
            query, item = self.parts[0](values[..., :split]), self.parts[1](values[..., split:])
            found: Tensor = (query * item).sum(-1) / query.shape[-1] ** 0.5
        else:
            found = self.parts[0](values)[..., 0]
        return (found + self.bias).float()

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the summed loss and the number of its terms."""
        loss = LOSSES[self.config.loss]
        return loss(self.scores(batch["features"]), batch["teacher"], batch["known"], self.config.temperature)


def _layers(width: int, hidden: tuple[int, ...], ends: int) -> nn.Sequential:
    linear = [nn.Linear(size, following) for size, following in pairwise([width, *hidden, ends])]
    return nn.Sequential(*list(chain.from_iterable((nn.ReLU(), each) for each in linear))[1:])
