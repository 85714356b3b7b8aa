"""What a simulation is told: of preferences between cold items, of interactions with them; and what compares both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from llmrec.classic.recall.text import TextConfig
from llmrec.coldstart.budget import Budget
from llmrec.coldstart.near import NearConfig
from llmrec.coldstart.pairs import Rule
from llmrec.config import Config, Part
from llmrec.llm.make import EngineRecipe


class PairsRecipe(EngineRecipe):
    """One simulation of preferences between pairs of cold items."""

    dataset: Path
    """Data set folder from ``llmrec prepare``, split by global-time-cut."""
    out: Path
    """Parquet file of preferences to write; all answers and the run's record go beside it."""
    ask: Part = Part(name="likelihood")
    """Way of asking with its parameters."""
    pairs: int = Field(1000, ge=1)
    """Questions, two prompts each; those of a smaller number are the first of them."""
    users: Rule = "random"
    """Who is asked: ``random`` users, ``active`` ones first, or by ``content`` those near one of the two items."""
    pairs_per_user: int = Field(5, ge=1)
    """Questions that a user is asked in a row."""
    neighbours: int = Field(20, ge=1)
    """Of ``content``: the nearest users of an item, of whom one is drawn."""
    near: NearConfig = NearConfig()
    """Of ``content``: how near a user is to an item."""
    budget: Budget = Budget()
    """What may be spent; when it is used up, what there is is written."""
    block: int = Field(2048, ge=1)
    """Questions that are held in memory and asked together."""
    seed: int = 0
    """Of users and pairs."""


class FunnelRecipe(EngineRecipe):
    """One simulation of interactions with cold items (ColdLLM)."""

    dataset: Path
    """Data set folder from ``llmrec prepare``, split by global-time-cut."""
    out: Path
    """Parquet file of interactions to write; all answers and the run's record go beside it."""
    ask: Part = Part(name="likelihood")
    """Way of asking about one item, with its parameters: likelihood or yes-no."""
    neighbours: int = Field(200, ge=1)
    """The nearest users of each cold item, who are asked."""
    near: NearConfig = NearConfig()
    """How near a user is to an item."""
    keep: int | None = Field(20, ge=1)
    """Interactions of each item that are kept, those with the largest odds; null for all."""
    threshold: float | None = None
    """Log-odds above which an interaction is kept; null for any."""
    budget: Budget = Budget()
    """What may be spent; when it is used up, what there is is written."""
    block: int = Field(2048, ge=1)
    """Questions that are held in memory and asked together."""


class FunnelConfig(Config):
    """Which interactions with cold items an evaluation simulates."""

    ask: Part = Part(name="likelihood")
    """Way of asking about one item, with its parameters: likelihood or yes-no."""
    neighbours: int = Field(20, ge=1)
    """The nearest users of each cold item, who are asked."""
    keep: int | None = Field(10, ge=1)
    """Interactions of each item that are kept, those with the largest odds; null for all."""
    threshold: float | None = None
    """Log-odds above which an interaction is kept; null for any."""


class EvaluateRecipe(EngineRecipe):
    """Recommenders with simulated behaviour and without, and controls, on the same test."""

    dataset: Path
    """Data set folder from ``llmrec prepare``, split by global-time-cut."""
    out: Path
    """Run folder to write: simulations, results, report.html."""
    models: tuple[Part, ...] = Field((Part(name="bpr"), Part(name="dssm"), Part(name="sasrec")), min_length=1)
    """Recommenders that learn with simulated behaviour and without."""
    controls: tuple[Part, ...] = (Part(name="text"), Part(name="category-popular"))
    """Recommenders that propose cold items without any simulation."""
    ask: Part = Part(name="likelihood")
    """Way of asking about pairs, with its parameters."""
    users: Rule = "random"
    """Who is asked about pairs: ``random`` users, ``active`` ones first, or by ``content`` those near an item."""
    pairs_per_user: int = Field(5, ge=1)
    """Questions that a user is asked in a row."""
    neighbours: int = Field(20, ge=1)
    """Of ``content``: the nearest users of an item, of whom one is drawn."""
    text: TextConfig = TextConfig()
    """What an item's text is: for users near an item, and for the control that takes the nearer of two items."""
    text_history: int = Field(50, ge=1)
    """Newest training events of a user that are compared with texts."""
    pairs: tuple[Annotated[int, Field(ge=1)], ...] = Field((1000, 5000, 20000), min_length=1)
    """Numbers of pairs to choose from, on the validation cut."""
    weights: tuple[Annotated[float, Field(gt=0)], ...] = Field((0.01, 0.03, 0.1, 0.3), min_length=1)
    """Weights of a pair against an event (lambda) to choose from, on the validation cut."""
    interactions: FunnelConfig | None = FunnelConfig()
    """Interactions to simulate; null for none."""
    truth: int = Field(500, ge=0)
    """Pairs of which the test says what is true, to measure answers by; nothing learns from them."""
    train: float = Field(0.7, gt=0)
    """Fraction of the training events that the validation cut trains on."""
    valid: float = Field(0.1, gt=0)
    """Fraction behind it that training stops by; the rest is what weight and number of pairs are chosen on."""
    warm_loss: float = Field(0.01, ge=0)
    """Share of NDCG@k of warm items that a choice may lose on the validation cut."""
    k: int = Field(10, ge=1)
    """Length of the lists: Recall@k and NDCG@k are reported."""
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    """Of the models; a query's value is the mean over them. Choices are made with the first."""
    budget: Budget = Budget()
    """What all simulations together may spend; when it is used up, what there is is compared."""
    block: int = Field(2048, ge=1)
    """Questions that are held in memory and asked together."""
    seed: int = 0
    """Of users and pairs."""
