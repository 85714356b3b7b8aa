"""DIEN and BST by hand, and against torch's own layers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from llmrec.classic.ranking.bst import BST, BSTConfig
from llmrec.classic.ranking.dien import AUGRU, DIEN, DIENConfig, aligned
from llmrec.classic.ranking.features import FeatureConfig
from llmrec.classic.ranking.learning import prepare
from llmrec.errors import ConfigError
from llmrec.protocols import UNWATCHED
from llmrec.testing import expect_error, toy

IDS = FeatureConfig(categories=("user", "item"), statistics=(), history=4, min_count=1)
HISTORY = torch.tensor([[-1, -1, 2, 5], [-1, -1, -1, -1], [0, 1, 3, 4]])
BATCH = {"user": torch.tensor([0, 1, -1]), "item": torch.tensor([4, 5, 6]), "history": HISTORY}
BATCH |= {"numbers": torch.zeros(3, 0), "label": torch.tensor([1.0, 0.0, 1.0])}


def module_of(kind, config_class, **more):
    config = config_class(features=IDS, embedding_dim=4, hidden=(5,), dropout=0.0, **more)
    torch.manual_seed(0)
    return kind(config)._module(prepare(toy(), config, 0, UNWATCHED).space, config).eval()


def sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


def test_a_step_of_augru_by_hand():
    """State and inputs of one number; two inputs, the second of which gets a quarter of the attention."""
    layer = AUGRU(1)
    with torch.no_grad():
        layer.inputs.weight.copy_(torch.tensor([[1.0], [2.0], [-1.0]]))  # of update, reset, new
        layer.inputs.bias.copy_(torch.tensor([0.5, 0.0, 0.25]))
        layer.state.weight.copy_(torch.tensor([[0.5], [-1.0], [3.0]]))
    state = 0.75 * sigmoid(1 + 0.5) * np.tanh(-1 + 0.25)
    update, reset = 0.25 * sigmoid(2 + 0.5 + 0.5 * state), sigmoid(4 - state)
    wanted = (1 - update) * state + update * np.tanh(-2 + 0.25 + reset * 3 * state)
    found = layer(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[0.75, 0.25]]))
    assert found.tolist() == [[pytest.approx(wanted, rel=1e-5)]]


def test_with_full_attention_it_is_a_gated_recurrent_network():
    """torch's gate says what is kept, AUGRU's what is taken."""
    torch.manual_seed(0)
    mine, theirs = AUGRU(3), nn.GRU(3, 3, batch_first=True)
    with torch.no_grad():
        for one, two in ((mine.inputs, theirs.weight_ih_l0), (mine.state, theirs.weight_hh_l0)):
            update, reset, new = one.weight.chunk(3)
            two.copy_(torch.cat([reset, -update, new]))
        update, reset, new = mine.inputs.bias.chunk(3)
        theirs.bias_ih_l0.copy_(torch.cat([reset, -update, new]))
        theirs.bias_hh_l0.zero_()
    inputs = torch.randn(5, 6, 3)
    torch.testing.assert_close(mine(inputs, torch.ones(5, 6)), theirs(inputs)[0][:, -1])


def test_what_gets_no_attention_leaves_the_state_alone():
    torch.manual_seed(0)
    layer, inputs, share = AUGRU(3), torch.randn(2, 4, 3), torch.rand(2, 4)
    share[:, [1, 3]] = 0
    torch.testing.assert_close(layer(inputs, share), layer(inputs[:, [0, 2]], share[:, [0, 2]]))
    assert not layer(inputs, 0 * share).any()


def test_histories_begin_with_an_event():
    assert aligned(HISTORY).tolist() == [[2, 5, -1, -1], [-1] * 4, [0, 1, 3, 4]]


def test_dien_follows_its_formulas():
    module = module_of(DIEN, DIENConfig)
    with torch.no_grad():
        items = module.items(torch.tensor([[2, 5]]))
        states, target = module.extractor(items)[0], module.items(torch.tensor([4]))
        shares = torch.softmax((states[0] @ module.attention.weight) @ target[0], 0)
        interest = module.evolution(states, shares[None])
        fields = module.vectors(module.fields(BATCH))[:1].flatten(1)
        torch.testing.assert_close(module.logits(BATCH)[:1], module.deep(torch.cat([fields, interest], 1)))
        found = module.interest(module.states(aligned(HISTORY)), aligned(HISTORY) >= 0, module.items(BATCH["item"]))
        torch.testing.assert_close(found[:1], interest)
        assert not found[1].any()  # no history, no interest


def test_states_are_taught_to_foretell_the_next_event():
    module = module_of(DIEN, DIENConfig, auxiliary=0.5)
    history = aligned(HISTORY)
    states = module.states(history)
    torch.manual_seed(9)
    rows, places = (history[:, 1:] >= 0).nonzero(as_tuple=True)
    assert rows.tolist() == [0, 2, 2, 2]
    events = torch.tensor([5, 1, 3, 4])
    drawn = events[torch.randint(4, (4,))]
    wanted = 0.0
    for row, place, event, other in zip(rows, places, events, drawn, strict=True):
        state = states[row, place]
        one, two = (sigmoid((state @ module.items(each)).item()) for each in (event, other))
        wanted += -(np.log(one) + (np.log(1 - two) if other != event else 0)) / (1 if row == 0 else 3)
    torch.manual_seed(9)
    assert module.foretelling(history, states).item() == pytest.approx(wanted, rel=1e-4)
    plain = nn.functional.binary_cross_entropy_with_logits(module.logits(BATCH), BATCH["label"], reduction="sum")
    torch.manual_seed(9)
    assert module(BATCH)[0].item() == pytest.approx(plain.item() + wanted / 2, rel=1e-4)
    assert module.foretelling(history[:, :1], states[:, :1]) == 0


def test_bst_is_torchs_layer_on_what_is_there():
    module = module_of(BST, BSTConfig)
    layer = nn.TransformerEncoderLayer(4, 2, 16, 0.0, nn.LeakyReLU(), batch_first=True).eval()
    layer.load_state_dict(module.layers[0].state_dict())
    with torch.no_grad():
        inputs = module.items(torch.tensor([[2, 5, 4]])) + module.position[2:]
        read = module.read(BATCH)
        found = module.sequence(*read[1:])
        torch.testing.assert_close(found[0, 2:], layer(inputs)[0])
        assert not found[0, :2].any()
        torch.testing.assert_close(found[1, 4:], layer(module.items(torch.tensor([[5]])) + module.position[4:])[0])
        torch.testing.assert_close(module.logits(BATCH), module.deep(torch.cat([read.fields, found.flatten(1)], 1)))
        deep = module_of(BST, BSTConfig, layers=2)
        out = deep.sequence(*deep.read(BATCH)[1:])[2]
        wanted = deep.items(torch.tensor([[0, 1, 3, 4, 6]])) + deep.position
        for each in deep.layers:
            wanted = each(wanted)
        torch.testing.assert_close(out, wanted[0])


def test_heads_that_do_not_divide_are_named():
    expect_error(ConfigError, lambda: BST(BSTConfig(heads=3, features=IDS)).fit(toy()), "heads = 3", "16")
