"""What a PPO run is told."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from llmrec.train.recipe import RunRecipe, Source
from llmrec.train.rewards import RewardPart


class PpoRecipe(RunRecipe):
    """One run of PPO: answers are drawn, judged, and made likelier or less likely than they were.

    Nothing of an adapter is dropped out, whatever its ``dropout`` says: an answer must be as probable when it is learnt
    as it was when it was drawn.
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
    rollout: int = Field(32, ge=1)
    """Answers drawn in a step by each process."""
    max_tokens: int = Field(64, ge=1)
    """Tokens of an answer, at most."""
    epochs: int = Field(4, ge=1)
    """Passes over a step's answers, at most."""
    batch_size: int = Field(8, ge=1)
    """Rows of a forward pass on each device."""
    accumulation: int = Field(1, ge=1)
    """Forward passes of an update: ``batch_size`` x ``accumulation`` rows count as one batch."""
    learning_rate: float = Field(5e-5, gt=0)
    """Of AdamW, for the adapter; falls to zero in a line."""
    value_learning_rate: float = Field(1e-3, gt=0)
    """The same for the head that foretells rewards, which begins with nothing."""
    kl_coefficient: float = Field(0.05, ge=0)
    """Price of a nat between policy and reference, taken off the reward; with ``kl_target`` only the first one."""
    kl_target: float | None = Field(None, gt=0)
    """Nats of an answer that the price is adapted to (Ziegler et al., 2019); null keeps the price."""
    kl_gain: float = Field(0.1, gt=0)
    """How fast the price is adapted: times the error in targets, a fifth at most; so by 2 % a step at most."""
    stop_kl: float | None = Field(0.1, gt=0)
    """Nats of a token between the policy that drew and the one that learns which end a step's passes; null: never."""
    clip: float = Field(0.2, gt=0)
    """How far a token's probability ratio may move to be rewarded."""
    value_clip: float = Field(0.2, gt=0)
    """How far a foretold reward may move to be rewarded."""
    value_coefficient: float = Field(0.1, ge=0)
    """Weight of the value loss."""
    entropy_coefficient: float = Field(0.0, ge=0)
    """Bonus for each nat of a token's entropy."""
    gamma: float = Field(1.0, gt=0, le=1)
    """What a reward loses with each token that it is away."""
    lam: float = Field(0.95, ge=0, le=1)
    """Of GAE: 1 takes rewards as they came, 0 believes the next value."""
    max_gradient_norm: float = Field(1.0, gt=0)
    """Longer gradients are shortened to it."""
    missing_end_penalty: float | None = Field(None, ge=0)
    """Taken off the reward of an answer that does not end within ``max_tokens``; null takes nothing."""
    checkpoint_every: int = Field(10, ge=1)
    """Steps between two checkpoints: what a kill costs."""
    samples: int = Field(4, ge=0)
    """Answers of each step that the log keeps."""
