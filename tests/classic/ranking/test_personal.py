"""Personalised gates: what they begin as, what they read, the contract, and what cannot be learned without them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from histories import held_out_auc, newcomers
from torch import nn

from llmrec.classic.ranking.base.examples import ExamplesConfig
from llmrec.classic.ranking.deep import DeepCrossing, DeepCrossingConfig
from llmrec.classic.ranking.features import FeatureConfig
from llmrec.classic.ranking.learning import prepare
from llmrec.classic.ranking.multitask import TasksRanker
from llmrec.classic.ranking.neural.layers import Deep
from llmrec.classic.ranking.personal import (
    LHUC,
    POSO,
    Gate,
    GatedDeep,
    LHUCConfig,
    PEPNet,
    PEPNetConfig,
    POSOConfig,
)
from llmrec.errors import ConfigError
from llmrec.protocols import UNWATCHED
from llmrec.registry import LEARNED_RANKERS
from llmrec.testing import LearnedRankerContract, expect_error, toy

TINY = {"epochs": 2, "batch_size": 8, "embedding_dim": 4, "hidden": (8,), "gate": 3}
MODELS = [
    (LHUC, LHUCConfig, {}),
    (POSO, POSOConfig, {"copies": 2}),
    (PEPNet, PEPNetConfig, {"domain": "item"}),
]
IDS = [kind.name for kind, *_ in MODELS]
PLAIN = FeatureConfig(categories=("user", "item"), statistics=(), history=9, min_count=1)


@pytest.mark.parametrize("model", MODELS, ids=IDS)
class TestGatedRankers(LearnedRankerContract):
    @pytest.fixture(autouse=True)
    def _model(self, model):
        kind, config_class, more = model
        self.kind, self.config = kind, config_class(**{**TINY, **more})

    def new(self):
        return self.kind(self.config)


def made(kind, config_class, **more):
    """Return a module on the toy data, and a batch of it."""
    config = config_class(**{**TINY, "dropout": 0.0, "features": PLAIN, "hidden": (6, 5), **more})
    if issubclass(kind, TasksRanker):
        config = config.model_copy(update={"above": ()})
    lesson = prepare(toy(), config, 0, UNWATCHED)
    torch.manual_seed(0)
    module = kind(config)._module(lesson.space, config)
    return module, {name: torch.from_numpy(each) for name, each in lesson.train.batch(slice(0, 30), 9).items()}


def stir(module: nn.Module) -> None:
    """Give every gate weights that are not those of its start."""
    torch.manual_seed(1)
    for each in module.modules():
        if isinstance(each, Gate):
            nn.init.normal_(each.out.weight)
            nn.init.normal_(each.out.bias)


def test_a_gate_by_hand():
    gate = Gate(2, 1, 2)
    assert gate(torch.randn(3, 2)).tolist() == [[1.0, 1.0]] * 3  # as it begins
    with torch.no_grad():
        gate.inside.weight.copy_(torch.tensor([[1.0, -2.0]]))
        gate.inside.bias.fill_(0.5)
        gate.out.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    share = 1 / (1 + np.exp(-1.5))
    assert gate(torch.tensor([[3.0, 1.0]])).tolist() == [pytest.approx([2 * share, 2 * (1 - share)])]
    assert gate(torch.tensor([[1.0, 3.0]])).tolist() == [[1.0, 1.0]]  # the rectifier is closed


def plain_layers(gated: GatedDeep, width: int) -> Deep:
    """Return the layers of a gated network without its gates."""
    deep = Deep(width, (6, 5), 0.0)
    for place, layer in enumerate(gated.layers):
        deep.layers[3 * place].load_state_dict(layer.state_dict())
    deep.out.load_state_dict(gated.out.state_dict())
    return deep


def test_lhuc_begins_as_a_network_without_gates_and_reads_the_user_alone():
    module, batch = made(LHUC, LHUCConfig)
    vectors = module.vectors(module.fields(batch))
    deep = plain_layers(module.deep, vectors.flatten(1).shape[1])
    torch.testing.assert_close(module.logits(batch), deep(vectors.flatten(1)))
    stir(module)
    assert not torch.allclose(module.logits(batch), deep(vectors.flatten(1)))
    values = vectors.flatten(1)
    for layer, gate in zip(module.deep.layers, module.deep.gates, strict=True):
        values = torch.relu(layer(values)) * gate(vectors[:, module.fields.names.index("user")])
    torch.testing.assert_close(module.logits(batch), module.deep.out(values)[:, 0])


def test_poso_with_one_copy_begins_as_a_network_without_gates():
    module, batch = made(POSO, POSOConfig, copies=1)
    values = module.vectors(module.fields(batch)).flatten(1)
    torch.testing.assert_close(module.logits(batch), module.out(module.copies(values)[:, 0])[:, 0])
    stir(module)
    gate = module.shares(batch["history"])
    torch.testing.assert_close(module.logits(batch), module.out(gate * module.copies(values)[:, 0])[:, 0])


def test_poso_begins_as_the_mean_of_its_copies():
    module, batch = made(POSO, POSOConfig, copies=3)
    values = module.vectors(module.fields(batch)).flatten(1)
    torch.testing.assert_close(module.logits(batch), module.out(module.copies(values).mean(1))[:, 0])


def test_posos_gate_reads_how_many_events_there_are():
    module, _ = made(POSO, POSOConfig, copies=2)
    stir(module)
    history = torch.full((11, 10), -1)
    for events in range(11):
        history[events, 10 - events :] = events % 7
    shares = module.shares(history)
    groups = [[0], [1, 2], [3, 4, 5, 6], [7, 8, 9, 10]]
    assert len(module.bounds) == 3  # up to nine events are read
    for group in groups:
        torch.testing.assert_close(shares[group], shares[group[:1]].expand(len(group), -1))
    assert len({round(shares[group[0], 0].item(), 6) for group in groups}) == 4


def test_pepnet_by_its_formulas():
    module, batch = made(PEPNet, PEPNetConfig, domain="item")
    vectors = module.vectors(module.fields(batch))
    names = module.fields.names
    user, item = (vectors[:, names.index(name)] for name in ("user", "item"))
    plain = vectors.flatten(1)
    deep = plain_layers(module.ppnet[0], plain.shape[1])
    torch.testing.assert_close(module.task_logits(batch)[:, 0], deep(plain))
    stir(module)
    values = plain * module.epnet(torch.cat([item, plain], 1))
    read, task = torch.cat([user, item, values], 1), module.ppnet[0]
    for layer, gate in zip(task.layers, task.gates, strict=True):
        values = torch.relu(layer(values)) * gate(read)
    torch.testing.assert_close(module.task_logits(batch)[:, 0], task.out(values)[:, 0])


def test_what_pepnets_gates_weigh_is_not_taught_by_them():
    """With all else silent, a field that is neither domain nor prior learns through its own way only."""
    module, batch = made(PEPNet, PEPNetConfig)
    stir(module)
    inputs = module.fields(batch)
    vectors = module.vectors(inputs).detach().requires_grad_()
    module.vectors.forward = lambda _: vectors
    values = vectors.flatten(1) * module.epnet(vectors.flatten(1)).detach()
    read = torch.cat([vectors[:, module.prior].flatten(1), values.detach()], 1)
    (wanted,) = torch.autograd.grad(module.ppnet[0](values, read).sum(), vectors)
    (found,) = torch.autograd.grad(module.task_logits(batch).sum(), vectors)
    torch.testing.assert_close(found, wanted)


RATED = {"examples": ExamplesConfig(labels="ratings"), "batch_size": 128, "embedding_dim": 8, "learning_rate": 2e-2}
KINDS = FeatureConfig(categories=("user.kind", "item.kind"), statistics=(), history=0)


def test_gates_by_the_user_learn_which_kind_likes_which(planted):
    kinds = {**RATED, "epochs": 12, "weight_decay": 0.0, "hidden": (16,)}
    ids = KINDS.model_copy(update={"categories": ("user", "item", "user.kind", "item.kind")})
    for ranker in (LHUC(LHUCConfig(**kinds, features=KINDS)), PEPNet(PEPNetConfig(**kinds, features=ids))):
        ranker.fit(planted.train, seed=0)
        assert held_out_auc(ranker, planted.valid) > 0.95


def test_newcomers_are_told_from_those_who_stay():
    world = newcomers()
    features = FeatureConfig(categories=("item.kind",), statistics=(), history=8, min_count=1)
    learn = {"batch_size": 64, "epochs": 8, "learning_rate": 1e-2, "features": features, "hidden": (8,)}
    alone = DeepCrossing(DeepCrossingConfig(**learn)).fit(world.data)
    assert world.auc(alone) < 0.95  # the share of regular users, who have their way
    assert world.auc(POSO(POSOConfig(**learn)).fit(world.data)) > 0.99


def test_features_that_gates_need_are_named():
    no_user = PLAIN.model_copy(update={"categories": ("item",)})
    expect_error(ConfigError, lambda: LHUC(LHUCConfig(features=no_user)).fit(toy()), "category of users", "add user")
    blind = PLAIN.model_copy(update={"history": 0})
    expect_error(ConfigError, lambda: POSO(POSOConfig(features=blind)).fit(toy()), "features.history = 0")
    expect_error(
        ConfigError, lambda: PEPNet(PEPNetConfig(domain="user.region")).fit(toy()), "'user.region'", "user, item"
    )


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_it_is_registered(model):
    assert LEARNED_RANKERS.get(model[0].name) is model[0]
