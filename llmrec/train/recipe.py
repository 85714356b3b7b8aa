"""What a fine-tuning run is told: where rows come from, the stages, the adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from llmrec.config import Config
from llmrec.data_prep.examples.recipe import ExamplesRecipe
from llmrec.llm.models import EMBEDDED_MODEL


class Source(Config):
    """Where rows come from: a file of examples, or a data set that they are made of."""

    file: Path | None = None
    """JSON lines from ``llmrec examples``, or a JSON array of TALLRec's instruction, input and output."""
    dataset: Path | None = None
    """Data set folder from ``llmrec prepare``; goes with ``examples``."""
    examples: ExamplesRecipe | None = None
    """Which examples to make of the data set; they are cut to ``max_length`` unless it says otherwise."""
    rows: int | None = Field(None, ge=1)
    """Only so many, drawn from the seed; where rows are yes or no, as many of each (K-shot)."""
    repeats: bool = False
    """Keep rows whose target stands in its own history, as it does where people buy a thing again."""


class Stage(Config):
    """One stage of training; the adapter goes on from the stage before."""

    name: str = Field("tuning", pattern=r"^[\w-]+$")
    """What reports and folders call it."""
    train: tuple[Source, ...] = Field(min_length=1)
    """Rows to learn from, mixed; yes/no rows and next-item rows may stand together."""
    valid: Source | None = None
    """Rows that drive early stopping: by AUC where they are yes or no, by accuracy where they are pairs, else
    by loss; none trains for all epochs."""
    epochs: int = Field(3, ge=1)
    """Passes over the rows, at most."""
    learning_rate: float = Field(3e-4, gt=0)
    """Of AdamW; rises over the first twentieth of the updates, then falls to zero in a line."""
    batch_size: int = Field(8, ge=1)
    """Rows of a step on each device."""
    accumulation: int = Field(1, ge=1)
    """Steps whose gradients make one update: ``batch_size`` x ``accumulation`` rows count as one batch."""
    weight_decay: float = Field(0.0, ge=0)
    """Of AdamW."""
    evaluate_every: int | None = Field(None, ge=1)
    """Updates between two looks at ``valid``; null for one after each epoch."""
    patience: int | None = Field(3, ge=1)
    """Looks without a gain after which a stage ends; null trains on. The best state is kept either way."""


class LoraRecipe(Config):
    """The adapter (Hu et al.: LoRA, ICLR 2022)."""

    rank: int = Field(8, ge=1)
    """Columns of its matrices."""
    alpha: float = Field(16.0, gt=0)
    """Its output counts ``alpha / rank``."""
    dropout: float = Field(0.05, ge=0, lt=1)
    """Share of its inputs left out while learning."""
    targets: tuple[str, ...] = ()
    """Names of linear layers, such as ``q_proj``; none: all but the head."""


class RunRecipe(Config):
    """What every run is told: its folder, its model and how that is held."""

    out: Path
    """Run folder to write: adapter, curves, metrics, the run's record."""
    model: str = EMBEDDED_MODEL
    """The embedded model, a folder or a hub name."""
    lora: LoraRecipe = LoraRecipe()
    """The adapter."""
    quantize: bool = False
    """Hold the base model in 4 bits (QLoRA: Dettmers et al., NeurIPS 2023); needs bitsandbytes and a GPU."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the base model; the adapter is float32. ``auto``: bfloat16 where the device computes in it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` takes a GPU where there is one."""
    max_length: int = Field(512, ge=8)
    """Tokens of prompt and answer; histories are cut to it, rows of a file that are longer are left out and counted."""
    gradient_checkpointing: bool = False
    """Compute activations twice rather than keep them: less memory, a third more time."""
    seed: int = 0
    """Of the rows drawn, their order, the adapter's first weights and dropout."""


class TallrecRecipe(RunRecipe):
    """One run of TALLRec (Bao et al., RecSys 2023): LoRA instruction tuning in stages."""

    stages: tuple[Stage, ...] = Field(min_length=1)
    """In the paper two: general instructions, then recommendation rows. Each starts from the adapter before."""
    test: Source | None = None
    """Rows to report on once, at the end."""
