"""Matchers: how well an item suits a context, with what was generated for the context or without it.

Zheng et al., Generative Job Recommendations with Large Language Model (GIRL), 2023, section on generation-enhanced
recommendation: the text encoder's vectors c, j and j' of context, item and generated text make a logit, by
``MLP([c; j; j'])`` or by ``dot(MLP([c; j']), j)``. The paper fine-tunes its encoder; here it stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self, get_args

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llmrec.classic.recall.base.history import row_blocks
from llmrec.classic.training import Batch, Log, train
from llmrec.config import Part
from llmrec.data.files import atomic_folder, read_json, write_json
from llmrec.errors import DataError, ModelError
from llmrec.eval.yes_no import auc
from llmrec.generate.enhance_forms import DotMatcher, MlpMatcher
from llmrec.generate.enhance_pairs import Pairs
from llmrec.generate.enhance_recipe import Form, MatcherConfig
from llmrec.generate.enhance_vectors import Vectors
from llmrec.protocols import UNWATCHED, FloatArray, Watch

KIND, SCHEMA_VERSION = "matcher", 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"
AGAIN = "train and save the matcher again"


class Matcher:
    """Scores pairs of a context and an item: log-odds that they match.

    Args:
        form: ``mlp`` or ``dot``.
        generated: whether the generated text's vector is read; without it the layers are as wide, the first one lacks
            that input.
        embedding_dim: length of a vector.
        config: layers and training.
        embedder: what made the vectors; kept with the weights, so that later texts are embedded alike.
        seed: of the first weights.
    """

    def __init__(
        self,
        form: Form,
        *,
        generated: bool,
        embedding_dim: int,
        config: MatcherConfig | None = None,
        embedder: Part | None = None,
        seed: int = 0,
    ) -> None:
        self.form, self.generated, self.embedding_dim = form, generated, embedding_dim
        self.config, self.embedder = config or MatcherConfig(), embedder or Part(name="sentence")
        kind = MlpMatcher if form == "mlp" else DotMatcher
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.module: MlpMatcher | DotMatcher = kind(embedding_dim, self.config, generated=generated)
        self.module.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self.log = Log()

    def fit(self, vectors: Vectors, pairs: Pairs, valid: Pairs, *, seed: int = 0, watch: Watch = UNWATCHED) -> Self:
        """Train on pairs by log-loss, keep the epoch with the best AUC on ``valid``, and return itself.

        ``log`` tells each epoch's loss and AUC afterwards. Of ``watch`` only ``report`` is read.

        Raises:
            DataError: a pair names a context or item that has no vector, or a part has one label only.
            ModelError: the loss is not finite.
        """
        for part, those in (("train", pairs), ("valid", valid)):
            those.require_both(part)
            self._check(vectors, those)
        found: list[float] = []

        def measure() -> float:
            found.append(auc(valid.labels, self.scores(vectors, valid)))
            return found[-1]

        def tell(done: int, total: int, _: str) -> None:
            if watch.report is not None:
                seen = f", validation AUC {max(found):.4f}" if found else ""
                watch.report(done, total, f"epoch {len(found) + 1} of at most {self.config.epochs}{seen}")

        learner, batches = _Learner(self.module, vectors), _Shuffled(pairs, self.config.batch_size)
        self.log = train(learner, batches, self.config, seed=seed, watch=Watch(report=tell), measure=measure)
        return self

    def scores(self, vectors: Vectors, pairs: Pairs) -> FloatArray:
        """Return the log-odds of each pair, float32 (n,).

        Raises:
            DataError: a pair names a context or item that has no vector, or vectors are of another length.
        """
        self._check(vectors, pairs)
        found = np.empty(len(pairs), np.float32)
        for rows in row_blocks(len(pairs), 4 * self.embedding_dim):
            contexts, items = pairs.contexts[rows], pairs.items[rows]
            chosen = (vectors.contexts[contexts], vectors.items[items], vectors.generated[contexts])
            with torch.inference_mode():
                found[rows] = self.module(*map(self._tensor, chosen)).float().cpu().numpy()
        return found

    def every(self, vectors: Vectors, contexts: NDArray[np.int32]) -> Iterator[tuple[slice, FloatArray]]:
        """Yield the log-odds of some contexts (q,) with all items, in blocks: rows, and float32 (b, i)."""
        items = self._tensor(vectors.items)
        for rows in row_blocks(len(contexts), len(vectors.items) * max(self.config.hidden)):
            some = contexts[rows]
            asked = (self._tensor(each[some]) for each in (vectors.contexts, vectors.generated))
            with torch.inference_mode():
                context, generated = asked
                yield rows, self.module.every(context, items, generated).float().cpu().numpy()

    def _tensor(self, array: FloatArray) -> Tensor:
        return torch.tensor(array).to(next(self.module.parameters()).device)

    def _check(self, vectors: Vectors, pairs: Pairs) -> None:
        if vectors.embedding_dim != self.embedding_dim:
            raise DataError(
                f"vectors of length {vectors.embedding_dim}",
                expected=f"{self.embedding_dim}, as the matcher was made for",
                cure=f"embed with {self.embedder.name}",
            )
        for word, numbers, size in (
            ("context", pairs.contexts, len(vectors.contexts)),
            ("item", pairs.items, len(vectors.items)),
        ):
            if numbers.min() < 0 or numbers.max() >= size:
                wrong = int(numbers.min() if numbers.min() < 0 else numbers.max())
                raise DataError(
                    f"a pair of {word} number {wrong}",
                    expected=f"numbers from 0 to {size - 1}, the {word}s with vectors",
                    cure=f"embed that {word}, or leave its pairs out",
                )

    def save(self, folder: Path) -> Path:
        """Write ``config.json`` and ``model.safetensors``, whole or not at all."""
        about = {
            "kind": KIND,
            "schema_version": SCHEMA_VERSION,
            "form": self.form,
            "generated": self.generated,
            "embedding_dim": self.embedding_dim,
            "embedder": self.embedder.model_dump(mode="json"),
            "parameters": self.config.model_dump(mode="json"),
        }
        with atomic_folder(folder) as temporary:
            write_json(temporary / CONFIG, about)
            weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.module.state_dict().items()}
            save_file(weights, temporary / WEIGHTS)
        return folder

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder that ``save`` wrote.

        Raises:
            ModelError: a file is missing, damaged or of something else.
        """
        try:
            about = read_json(folder / CONFIG)
            if about.get("kind") != KIND or about.get("schema_version") != SCHEMA_VERSION:
                raise ValueError(f"kind {about.get('kind')!r}, schema {about.get('schema_version')!r}")  # noqa: TRY301
            if about["form"] not in get_args(Form):
                raise ValueError(f"form {about['form']!r}")  # noqa: TRY301 - one reply below
            matcher = cls(
                about["form"],
                generated=about["generated"],
                embedding_dim=about["embedding_dim"],
                config=MatcherConfig.model_validate(about["parameters"]),
                embedder=Part.model_validate(about["embedder"]),
            )
            matcher.module.load_state_dict(load_file(folder / WEIGHTS))
        except (DataError, KeyError, ValueError, TypeError, RuntimeError, OSError, SafetensorError) as e:
            raise ModelError(
                f"{str(folder)!r} cannot be read ({e})", expected="the folder of a saved matcher", cure=AGAIN
            ) from None
        return matcher


class _Learner(nn.Module):
    """A matcher with its vectors beside it, so that a batch is numbers."""

    contexts: Tensor
    items: Tensor
    generated: Tensor

    def __init__(self, matcher: nn.Module, vectors: Vectors) -> None:
        super().__init__()
        self.matcher = matcher
        for name in ("contexts", "items", "generated"):
            self.register_buffer(name, torch.tensor(getattr(vectors, name)), persistent=False)

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the sum of the log-losses and how many there are."""
        contexts, items, labels = batch["contexts"], batch["items"], batch["labels"]
        logits = self.matcher(self.contexts[contexts], self.items[items], self.generated[contexts])
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum"), labels.new_tensor(len(labels))


class _Shuffled:
    """Pairs in a new order each epoch."""

    def __init__(self, pairs: Pairs, batch_size: int) -> None:
        self.pairs, self.batch_size = pairs, batch_size

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-len(self.pairs) // self.batch_size)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield numbers and labels."""
        order = rng.permutation(len(self.pairs))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            yield {
                "contexts": self.pairs.contexts[rows].astype(np.int64),
                "items": self.pairs.items[rows].astype(np.int64),
                "labels": self.pairs.labels[rows].astype(np.float32),
            }
