"""Rankers with several tasks: what they reduce to, labels, the contract, and what one shared layer cannot learn."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from llmrec.classic.ranking.base.examples import ExamplesConfig
from llmrec.classic.ranking.features import FeatureConfig
from llmrec.classic.ranking.multitask import (
    ESMM,
    PLE,
    Bottom,
    ESMMConfig,
    Extraction,
    Funnel,
    Mixture,
    MMoE,
    MMoEConfig,
    PLEConfig,
    SharedBottom,
    SharedBottomConfig,
)
from llmrec.classic.ranking.neural.tasks import TASKS, Experts, log_odds_of_product
from llmrec.config import load_config
from llmrec.data import Candidates, Dataset, Interactions, Queries, Split, Targets, Vocabulary
from llmrec.errors import ConfigError, DataError
from llmrec.eval.yes_no import auc
from llmrec.protocols import UNWATCHED, Watch
from llmrec.registry import LEARNED_RANKERS
from llmrec.testing import LearnedRankerContract, assert_same, expect_error, toy

TINY = {"epochs": 2, "batch_size": 8, "embedding_dim": 4, "hidden": (8,), "tower": (4,)}
MODELS = [
    (SharedBottom, SharedBottomConfig, {}),
    (ESMM, ESMMConfig, {}),
    (MMoE, MMoEConfig, {"experts": 3}),
    (PLE, PLEConfig, {"experts": 1, "task_experts": 2}),
]
IDS = [kind.name for kind, *_ in MODELS]
SHARES = {"x": (0.9, 0.1), "y": (0.5, 0.45), "z": (0.1, 0.02)}  # of liked and of loved items, by kind


@pytest.mark.parametrize("model", MODELS, ids=IDS)
class TestTasksRankers(LearnedRankerContract):
    @pytest.fixture(autouse=True)
    def _model(self, model):
        kind, config_class, more = model
        self.kind, self.config = kind, config_class(**{**TINY, **more})

    def new(self):
        return self.kind(self.config)


def rated() -> Dataset:
    """Return the toy data with ratings 1, 3½ and 5 in turns."""
    events = toy().interactions
    values = np.resize([1.0, 3.5, 5.0], len(events)).astype(np.float32)
    return toy().with_interactions(Interactions(events.users, events.items, events.times, values))


def made(kind, config_class, **more):
    """Return a module on the toy data, a batch of it, and its ranker's config."""
    config = config_class(**{**TINY, "dropout": 0.0, "above": (3.0, 4.0), **more})
    lesson = kind(config)._lesson(rated(), 0, UNWATCHED)
    torch.manual_seed(0)
    module = kind(config)._module(lesson.space, config)
    return module, {name: torch.from_numpy(each) for name, each in lesson.train.batch(slice(0, 30), 5).items()}


def copy(source: nn.Module, goal: nn.Module) -> None:
    goal.load_state_dict(source.state_dict())


def test_mmoe_with_one_expert_is_a_shared_bottom():
    one, batch = made(MMoE, MMoEConfig, experts=1, hidden=(8, 5))
    bottom, _ = made(SharedBottom, SharedBottomConfig, hidden=(8, 5))
    assert isinstance(one, Mixture)
    assert isinstance(bottom, Bottom)
    copy(one.vectors, bottom.vectors)
    copy(one.towers, bottom.towers)
    with torch.no_grad():
        for place, (weight, bias) in enumerate(zip(one.experts.weights, one.experts.biases, strict=True)):
            bottom.bottom[3 * place].weight.copy_(weight[0].T)
            bottom.bottom[3 * place].bias.copy_(bias[0, 0])
    torch.testing.assert_close(one.task_logits(batch), bottom.task_logits(batch))
    assert one.task_logits(batch).shape == (30, 3)


def test_ple_without_experts_of_a_tasks_own_is_mmoe():
    ple, batch = made(PLE, PLEConfig, experts=3, task_experts=0, levels=1)
    mmoe, _ = made(MMoE, MMoEConfig, experts=3)
    assert isinstance(ple, Extraction)
    copy(ple.vectors, mmoe.vectors)
    copy(ple.towers, mmoe.towers)
    copy(ple.levels[0].shared, mmoe.experts)
    copy(ple.levels[0].gates, mmoe.gates)
    torch.testing.assert_close(ple.task_logits(batch), mmoe.task_logits(batch))


def test_experts_are_layers_beside_one_another():
    torch.manual_seed(0)
    experts, values = Experts(3, 4, (5, 2), 0.0), torch.randn(6, 4)
    found = experts(values)
    assert found.shape == (6, 3, 2)
    for number in range(3):
        wanted = values
        for weight, bias in zip(experts.weights, experts.biases, strict=True):
            wanted = torch.relu(wanted @ weight[number] + bias[number])
        torch.testing.assert_close(found[:, number], wanted)


def test_the_levels_of_ple_by_their_formulas():
    """Each task's gate reads the task's own input over its own and shared experts; the common one reads all."""
    ple, batch = made(PLE, PLEConfig, experts=2, task_experts=1, levels=2)
    each, common = [ple.read(batch)] * 3, ple.read(batch)
    for number, level in enumerate(ple.levels):
        own = [level.own[task](each[task])[:, 0] for task in range(3)]
        shared = [level.shared(common)[:, expert] for expert in range(2)]
        mixed = []
        for task in range(3):
            odds = torch.exp(each[task] @ level.gates[task].weight.T)
            known = [own[task], *shared]
            mixed.append(sum(odds[:, [place]] * part for place, part in enumerate(known)) / odds.sum(1, keepdim=True))
        if number == 0:
            odds = torch.exp(common @ level.gate.weight.T)
            parts = enumerate([*own, *shared])
            common = sum(odds[:, [place]] * part for place, part in parts) / odds.sum(1, keepdim=True)
        each = mixed
    assert ple.levels[1].gate is None
    wanted = torch.stack([tower(part) for tower, part in zip(ple.towers.each, each, strict=True)], 1)
    torch.testing.assert_close(ple.task_logits(batch), wanted)


def test_esmm_multiplies_what_its_towers_say():
    funnel, batch = made(ESMM, ESMMConfig)
    assert isinstance(funnel, Funnel)
    steps = torch.sigmoid(funnel.step_logits(batch))
    found = funnel.probabilities(batch)
    torch.testing.assert_close(found[:, 0], steps[:, 0])
    torch.testing.assert_close(found[:, 1], steps[:, 0] * steps[:, 1])
    torch.testing.assert_close(found[:, 2], steps.prod(1))
    loss, rows = funnel(batch)
    labels = batch[TASKS]
    wanted = -(labels * found.log() + (1 - labels) * (1 - found).log()).sum()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert rows == 30


def test_the_odds_of_a_product_hold_where_probabilities_round():
    logits = torch.tensor([[0.0, 0.0], [90.0, 90.0], [-90.0, 3.0], [-90.0, -90.0], [200.0, 200.0]], requires_grad=True)
    found = log_odds_of_product(logits)
    assert found[0].tolist() == pytest.approx([0, -np.log(3)])  # ¼ against ¾
    assert found[2:4, 1].tolist() == pytest.approx([-90 + np.log(1 / (1 + np.exp(-3))), -180])
    assert found[1, 1] > 60
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(logits.grad).all()


def test_the_score_is_the_powers_of_the_probabilities():
    module, batch = made(MMoE, MMoEConfig, powers=(1.0, 0.5, 2.0))
    one, two, three = module.probabilities(batch).unbind(1)
    torch.testing.assert_close(module.logits(batch).exp(), one * two**0.5 * three**2)
    last, _ = made(MMoE, MMoEConfig)
    torch.testing.assert_close(last.logits(batch).exp(), last.probabilities(batch)[:, 2])


def test_labels_of_tasks():
    config = MMoEConfig(**TINY, above=(3.0, 4.0), examples=ExamplesConfig(negatives=1))
    lesson = MMoE(config)._lesson(rated(), 0, UNWATCHED)
    found = lesson.train.extra[TASKS].reshape(16, 2, 3)
    assert not found[:, 1].any()  # negatives
    assert found[:3, 0].tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert found[:, 0].sum(0).tolist() == [16, 10, 5]
    liked = MMoEConfig(**TINY, above=(4.0,), examples=ExamplesConfig(labels="ratings"))
    rows = MMoE(liked)._lesson(rated(), 0, UNWATCHED).train
    np.testing.assert_array_equal(rows.extra[TASKS], np.stack([rows.rows.values > 3, rows.rows.values > 4], 1))


def test_tasks_that_the_data_does_not_have():
    two, many = MMoEConfig(**TINY, above=(3.0,)), MMoEConfig(**TINY, above=(3.0, 5.0))
    expect_error(DataError, lambda: MMoE(two).fit(toy()), "'toy' without values", "above")
    expect_error(DataError, lambda: MMoE(many).fit(rated()), "no values above 5", "above")
    for change, word in (
        ("above=[4, 3]", "low to high"),
        ("powers=[1, 2]", "1 powers"),
        ("hidden=[]", "hidden"),
        ("balance=fair", "balance"),
    ):
        settings = [change] if "powers" not in change else [change, "above=[]"]
        expect_error(ConfigError, lambda settings=settings: load_config(MMoEConfig, None, settings), word)
    wrong = MMoEConfig(**TINY, powers=(1.0, 1.0))
    expect_error(ConfigError, lambda: MMoE(wrong).fit(toy()), "1 powers, one a task, not 2")


def test_the_tasks_that_are_usual():
    for data, labels, above in (
        (toy(), None, ()),
        (rated(), None, (3.0,)),
        (rated(), "ratings", ()),
    ):
        config = MMoEConfig(**TINY, examples=ExamplesConfig(labels=labels))
        assert MMoE(config).fit(data).config.above == above


def tempting(seed: int = 0) -> Split:
    """Return ratings of items of three kinds: x is liked most often, y is loved most often; half is held out."""
    rng, users, items = np.random.default_rng(seed), 100, 30
    user, item = (each.ravel() for each in np.indices((users, items)))
    order = rng.permutation(len(user))
    user, item = user[order], item[order]
    kinds = np.array(list(SHARES))[item % 3]
    liked, loved = (np.array([SHARES[kind][place] for kind in kinds]) for place in (0, 1))
    draw = rng.random(len(user))
    values = np.where(draw < loved, 5.0, np.where(draw < liked, 4.0, 1.0))
    events = Interactions.sort(user, item, np.arange(len(user)), values)
    cut = len(user) // 2
    table = pl.DataFrame({"kind": [list(SHARES)[each % 3] for each in range(items)]})
    data = Dataset("tempting", events.select(np.arange(cut)), Vocabulary(range(users)), Vocabulary(range(items)), table)
    relevant, given = np.full((users, items), -1), np.zeros((users, items))
    for each in range(users):
        mine = np.flatnonzero(user[cut:] == each) + cut
        relevant[each, : len(mine)], given[each, : len(mine)] = item[mine], values[mine]
    targets = Targets(data.queries(np.arange(users)), relevant, values=given)
    return Split(data, targets, targets)


def orders(ranker) -> list[str]:
    """Return the kinds by the probability of each task, highest first."""
    found = ranker.probabilities(Queries.from_histories([()]), Candidates(np.array([[0, 1, 2]]), np.zeros((1, 3))))[0]
    return ["".join(np.array(list(SHARES))[np.argsort(-task)]) for task in found.T]


NARROW = {"hidden": (1,), "tower": (), "dropout": 0.0, "weight_decay": 0.0, "above": (4.0,), "embedding_dim": 4}
NARROW |= {"features": FeatureConfig(categories=("item.kind",), statistics=(), history=0), "learning_rate": 3e-2}
NARROW |= {"examples": ExamplesConfig(labels="ratings"), "epochs": 12, "batch_size": 64, "patience": 12}


@pytest.fixture(scope="module")
def split():
    return tempting()


def test_one_number_cannot_order_items_in_two_ways(split):
    ranker = SharedBottom(SharedBottomConfig(**NARROW)).fit(split.train)
    assert orders(ranker) != ["xyz", "yxz"]


@pytest.mark.parametrize(
    ("kind", "config_class", "more"),
    [
        (ESMM, ESMMConfig, {"hidden": (8,)}),
        (MMoE, MMoEConfig, {"experts": 6}),
        (PLE, PLEConfig, {"levels": 1, "experts": 3, "task_experts": 3}),
    ],
    ids=IDS[1:],
)
def test_each_task_learns_its_own_order(split, kind, config_class, more):
    ranker = kind(config_class(**{**NARROW, **more})).fit(split.train)
    assert orders(ranker) == ["xyz", "yxz"]
    found = ranker.probabilities(Queries.from_histories([()]), Candidates(np.array([[0, 1, 2, -1]]), np.zeros((1, 4))))
    np.testing.assert_allclose(found[0, :3], list(SHARES.values()), atol=0.12)
    assert np.isnan(found[0, 3]).all()


def test_early_stopping_looks_at_the_mean_of_the_tasks(split):
    config = SharedBottomConfig(**{**NARROW, "hidden": (8,), "epochs": 3})
    ranker = SharedBottom(config).fit(split.train, watch=Watch(split.valid))
    targets = split.valid
    found = ranker.probabilities(targets.queries, Candidates(targets.relevant, np.zeros(targets.relevant.shape)))
    real = targets.relevant >= 0
    each = [auc(targets.values[real] > above, found[real][:, task]) for task, above in enumerate((3, 4))]
    assert ranker.validation_auc.max() == pytest.approx(np.mean(each), abs=1e-6)


@pytest.mark.parametrize("balance", ["uncertainty", "gradnorm", "pcgrad"])
def test_every_balance_learns_and_is_kept(split, balance, tmp_path):
    config = PLEConfig(**{**NARROW, "balance": balance, "levels": 1, "hidden": (4,)})
    ranker = PLE(config).fit(split.train)
    assert orders(ranker) == ["xyz", "yxz"]
    again = PLE.load(ranker.save(tmp_path / "ple"))
    candidates = Candidates(np.array([[0, 1, 2]]), np.zeros((1, 3)))
    assert_same(
        again.rank(Queries.from_histories([()]), candidates), ranker.rank(Queries.from_histories([()]), candidates)
    )
    names = [name for name in ranker._arrays if "balancer" in name]
    assert len(names) == {"uncertainty": 1, "gradnorm": 2, "pcgrad": 0}[balance]


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_it_is_registered(model):
    assert LEARNED_RANKERS.get(model[0].name) is model[0]
