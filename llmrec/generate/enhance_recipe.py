"""What generation-enhanced recommendation is told: pairs, generated texts, how matchers are built."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from llmrec.classic.recall.faiss_index import IndexConfig
from llmrec.classic.training import TrainingConfig
from llmrec.config import Config, Part
from llmrec.data_prep.examples.recipe import ExamplesRecipe

Form = Literal["mlp", "dot"]


class MatcherConfig(TrainingConfig):
    """How a matcher is built and trained."""

    hidden: tuple[int, ...] = Field(default=(256,), min_length=1)
    """Widths of the hidden layers."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of activations that training silences."""
    epochs: int = Field(100, ge=1)
    """Passes over the training pairs, at most."""
    batch_size: int = Field(256, ge=1)
    """Pairs of a step."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's pull towards zero."""
    patience: int = Field(10, ge=1)
    """Epochs without a better validation AUC before training stops; the best epoch's weights are kept."""


class EnhanceRecipe(Config):
    """One run: matchers with and without the generated texts, and these texts as queries."""

    out: Path
    """Run folder to write: matchers, metrics, reports, the run's record."""
    texts: Path
    """Parquet file from ``llmrec generate``: ``text``, and ``prompt`` or ``user``."""
    texts_by: Literal["prompt", "user"] = "prompt"
    """What says whose a text is. ``user`` suits CVs; histories differ from moment to moment, and so do their texts."""
    dataset: Path | None = None
    """Data set folder from ``llmrec prepare``; goes with ``examples``."""
    examples: ExamplesRecipe | None = None
    """The contexts, as ``llmrec generate`` was given them: describe-item, cv-posting or next-item; all three parts."""
    negatives: int = Field(4, ge=1)
    """Of a data set: items drawn for each that was chosen."""
    rule: Literal["random", "popular", "mismatched"] = "random"
    """The rule that draws them."""
    columns: tuple[str, ...] | None = Field(None, min_length=1)
    """Of a data set: columns of the item table that make an item's text; null for title, categories, description."""
    train: Path | None = None
    """Or files: JSON lines of prompt, completion and label; a completion is an item's text."""
    valid: Path | None = None
    """Pairs that training stops by."""
    test: Path | None = None
    """Pairs to report on."""
    context: Literal["text", "history"] = "text"
    """A context's vector: that of its text, or the mean of its history's items, the newest counting most. An embedder
    cuts long texts, and of a history that is the newest."""
    embedder: Part = Part(name="sentence")
    """What turns texts into vectors."""
    forms: tuple[Form, ...] = Field(default=("mlp", "dot"), min_length=1)
    """MLP([c; j; j']) and dot(MLP([c; j']), j), of context, item and generated text."""
    matcher: MatcherConfig = MatcherConfig()
    """How each is built and trained."""
    metrics: tuple[str, ...] = Field(default=("recall@10", "recall@50"), min_length=1)
    """Of recall, over the whole catalogue."""
    index: IndexConfig = IndexConfig(kind="flat")
    """The index of item vectors that texts ask."""
    samples: int = Field(2000, ge=100)
    """How often the bootstrap draws users anew."""
    seed: int = 0
    """Of negatives, weights, batches and tests."""
