"""What runs that learn from feedback are told: reward models, DPO, and policies tuned on rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from llmrec.train.recipe import RunRecipe, Source, Stage
from llmrec.train.rewards import RewardPart


class RewardRecipe(RunRecipe):
    """A reward model: one number that says how well an answer suits its context."""

    stage: Stage
    """Rows and how they are learnt; ``valid`` is what early stopping, and a length penalty, go by."""
    test: Source | None = None
    """Rows to report on once, at the end."""
    learn: Literal["pairs", "labels"] = "pairs"
    """``pairs``: -log sigmoid(chosen - rejected) of preference pairs; ``labels``: log-loss of rows with yes or no."""
    length_penalty: bool = False
    """Subtract what length alone explains: slope x (tokens of the answer - their mean), least squares on ``valid``."""


class DpoRecipe(RunRecipe):
    """Direct preference optimisation of a policy: DPO, and S-DPO where a row has several rejected answers."""

    stage: Stage
    """Rows of preference pairs and how they are learnt."""
    test: Source | None = None
    """Pairs to report on once, at the end."""
    start: Path | None = None
    """Adapter to start from, such as runs/sft/adapter; none: the base model. Where it starts is the reference too."""
    beta: float = Field(0.1, gt=0)
    """How much a change against the reference counts; more keeps the policy nearer to it."""


class GroupRecipe(RunRecipe):
    """One run of GRPO or RLOO: each prompt is answered several times, and the answers are judged against each other.

    As with PPO nothing of an adapter is dropped out, whatever its ``dropout`` says.
    """

    prompts: Source
    """What is answered; answers of the rows, where there are any, are not read, and equal prompts count once."""
    rewards: tuple[RewardPart, ...] = ()
    """What judges answers, summed with their weights; a script may hand over an object instead."""
    start: Path | None = None
    """Adapter folder to begin with and to be held to, such as ``runs/sft/adapter``; it then says rank and targets. None
    begins with, and is held to, the model as it is."""
    steps: int = Field(100, ge=1)
    """Rounds of drawing answers and learning from them."""
    rollout: int = Field(32, ge=2)
    """Answers drawn in a step by each process."""
    generations: int = Field(4, ge=2)
    """Answers of each prompt among them."""
    max_tokens: int = Field(64, ge=1)
    """Tokens of an answer, at most."""
    epochs: int = Field(1, ge=1)
    """Passes over a step's answers."""
    batch_size: int = Field(8, ge=1)
    """Rows of a forward pass on each device."""
    accumulation: int = Field(1, ge=1)
    """Forward passes of an update: ``batch_size`` x ``accumulation`` rows count as one batch."""
    learning_rate: float = Field(5e-5, gt=0)
    """Of AdamW; falls to zero in a line."""
    kl_coefficient: float = Field(0.05, ge=0)
    """Price of a nat between policy and reference: in GRPO's loss, off the reward in RLOO."""
    clip: float = Field(0.2, gt=0)
    """How far a token's (RLOO: an answer's) probability ratio may move to be rewarded."""
    max_gradient_norm: float = Field(1.0, gt=0)
    """Longer gradients are shortened to it."""
    checkpoint_every: int = Field(10, ge=1)
    """Steps between two checkpoints: what a kill costs."""
    samples: int = Field(4, ge=0)
    """Answers of each step that the log keeps."""
