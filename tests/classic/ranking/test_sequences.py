"""Rankers that look at each event of a history: the contract, padding, and what a mean of the history cannot tell."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from histories import marked, newest

from llmrec.classic.ranking.bst import BST, BSTConfig
from llmrec.classic.ranking.deep import DeepCrossing, DeepCrossingConfig
from llmrec.classic.ranking.dien import DIEN, DIENConfig
from llmrec.classic.ranking.din import DIN, DINConfig
from llmrec.classic.ranking.features import FeatureConfig
from llmrec.classic.ranking.learning import prepare
from llmrec.classic.ranking.long import ETA, SIM, ETAConfig, SIMConfig
from llmrec.protocols import UNWATCHED
from llmrec.registry import LEARNED_RANKERS
from llmrec.testing import LearnedRankerContract, toy

TINY = {"epochs": 2, "batch_size": 8, "embedding_dim": 4, "hidden": (8,)}
LEARN = {"batch_size": 128, "learning_rate": 1e-2, "weight_decay": 0.0, "embedding_dim": 8, "hidden": (16,)}
LEARN |= {"dropout": 0.0}
MODELS = [
    (DIN, DINConfig, {"attention": (6,)}),
    (SIM, SIMConfig, {"category": "item", "recent": 2, "k": 2}),
    (SIM, SIMConfig, {"search": "soft", "recent": 1, "k": 2}),
    (ETA, ETAConfig, {"bits": 5, "recent": 1, "k": 2}),
    (DIEN, DIENConfig, {}),
    (BST, BSTConfig, {"layers": 2}),
]
IDS = [f"{kind.name}{number}" for number, (kind, *_) in enumerate(MODELS)]


def read(*columns: str, history: int) -> FeatureConfig:
    """Return features that are columns of items and a history alone."""
    columns = ("item", *(f"item.{name}" for name in columns))
    return FeatureConfig(categories=columns, statistics=(), history=history, min_count=1)


@pytest.mark.parametrize("model", MODELS, ids=IDS)
class TestSequenceRankers(LearnedRankerContract):
    @pytest.fixture(autouse=True)
    def _model(self, model):
        kind, config_class, more = model
        self.kind, self.config = kind, config_class(**{**TINY, **more})

    def new(self):
        return self.kind(self.config)


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_padding_changes_nothing(model):
    """Rows whose history stands behind more padding, in training mode too, where layers look at the whole batch."""
    kind, config_class, more = model
    config = config_class(**{**TINY, **more, "dropout": 0.0, "features": FeatureConfig(history=6, min_count=1)})
    lesson = prepare(toy(), config, 0, UNWATCHED)
    torch.manual_seed(0)
    module = kind(config)._module(lesson.space, config)
    batch = {name: torch.from_numpy(each) for name, each in lesson.train.batch(np.arange(len(lesson.train)), 6).items()}
    assert batch["history"].shape[1] == 3
    wide = {**batch, "history": torch.nn.functional.pad(batch["history"], (3, 0), value=-1)}
    for mode in (True, False):
        module.train(mode)
        torch.testing.assert_close(module.logits(wide), module.logits(batch))


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_it_is_registered(model):
    assert LEARNED_RANKERS.get(model[0].name) is model[0]


def test_din_finds_the_one_event_that_tells_and_a_mean_of_the_history_does_not():
    world, features = marked(12), read("kind", "mark", history=12)
    mean = DeepCrossing(DeepCrossingConfig(**LEARN, features=features, epochs=6)).fit(world.data)
    assert world.auc(mean) < 0.75
    din = DIN(DINConfig(**LEARN, features=features, epochs=6)).fit(world.data)
    assert world.auc(din) > 0.99


@pytest.fixture(scope="module")
def moved():
    """Return a world in which only the order of the history tells."""
    return newest()


def test_what_looks_at_no_order_cannot_tell_what_came_last(moved):
    din = DIN(DINConfig(**LEARN, features=read("kind", history=4), epochs=6)).fit(moved.data)
    assert abs(moved.auc(din) - 0.5) < 0.05


@pytest.mark.parametrize(
    ("kind", "config_class", "epochs"), [(DIEN, DIENConfig, 6), (BST, BSTConfig, 12)], ids=["dien", "bst"]
)
def test_what_looks_at_the_order_can(moved, kind, config_class, epochs):
    config = config_class(**LEARN, features=read("kind", history=4), epochs=epochs)
    assert moved.auc(kind(config).fit(moved.data)) > 0.95
