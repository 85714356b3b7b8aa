"""Searches in long histories: what each finds, against brute force, and what recent events alone cannot tell."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from histories import marked
from torch import nn

from llmrec.classic.ranking.din import DIN, DINConfig
from llmrec.classic.ranking.features import FeatureConfig
from llmrec.classic.ranking.learning import prepare
from llmrec.classic.ranking.long import ETA, SIM, ETAConfig, SIMConfig, TargetAttention, differing, sim_hash
from llmrec.data import Dataset
from llmrec.errors import ConfigError
from llmrec.protocols import UNWATCHED
from llmrec.testing import expect_error, toy

# Alien and Dune, Brazil and Casablanca, Alien and Heat share something; Fargo has its own, Gattaca nothing.
KINDS = [["a", "b"], ["c"], ["c"], ["a"], ["b"], ["d"], []]
HISTORY = torch.tensor([[-1, 0, 3, 4, 1, 0], [3, 6, 2, 5, 1, 2]])


def module_of(kind, config_class, **more):
    """Return a module on the toy films with kinds."""
    data = toy()
    table = data.item_table.with_columns(categories=pl.Series(KINDS))
    films = Dataset("films", data.interactions, data.users, data.items, table)
    features = FeatureConfig(categories=("user", "item", "item.categories"), statistics=(), history=6, min_count=1)
    config = config_class(features=features, embedding_dim=4, hidden=(8,), **more)
    torch.manual_seed(3)
    return kind(config)._module(prepare(films, config, 0, UNWATCHED).space, config).eval()


def found(module, target: list[int]) -> list[set[int]]:
    """Return the items that are found for targets."""
    rows = module.search(HISTORY, torch.tensor(target))
    return [set(row[row >= 0].tolist()) for row in rows]


def test_the_hard_search_picks_the_newest_events_of_the_targets_categories_only():
    module = module_of(SIM, SIMConfig, k=2)
    assert module.search(HISTORY, torch.tensor([3, 1])).tolist() == [[0, 3], [2, 1]]
    assert module.search(HISTORY, torch.tensor([4, 5])).tolist() == [[0, 4], [5, -1]]
    assert found(module, [6, 6]) == [set(), set()]  # what is unknown is nothing to share
    assert found(module_of(SIM, SIMConfig, k=6), [0, 1]) == [{0, 3, 4}, {1, 2}]
    assert found(module_of(SIM, SIMConfig, k=6, category="item"), [0, 1]) == [{0}, {1}]


def test_the_soft_search_is_brute_force():
    module = module_of(SIM, SIMConfig, search="soft", k=3)
    with torch.no_grad():
        for target in range(7):
            wanted = []
            for row in HISTORY.tolist():
                real = [item for item in row if item >= 0]
                vector = module.of_target(module.items(torch.tensor(target)))
                scores = [(module.of_event(module.items(torch.tensor(item))) @ vector).item() for item in real]
                wanted.append(sorted(np.array(real)[np.argsort(scores)[-3:]].tolist()))
            rows = module.search(HISTORY, torch.tensor([target, target])).tolist()
            assert [sorted(row) for row in rows] == wanted


def test_the_search_of_sim_learns_from_its_own_ranker():
    module = module_of(SIM, SIMConfig, search="soft", k=3)
    batch = {"user": torch.tensor([0, 1]), "item": torch.tensor([4, 5]), "history": HISTORY}
    batch |= {"numbers": torch.zeros(2, 0), "label": torch.tensor([1.0, 0.0])}
    loss, rows = module(batch)
    loss.backward()
    assert rows == 2
    assert module.of_event.weight.grad.abs().sum() > 0
    alone = nn.functional.binary_cross_entropy_with_logits(module.logits(batch), batch["label"], reduction="sum")
    weights = module.close(module.items(HISTORY), module.items(batch["item"]))
    means = [
        sum(weights[row, place] * module.items(item) for place, item in enumerate(items) if item >= 0) / real
        for row, (items, real) in enumerate(zip(HISTORY, (5, 6), strict=True))
    ]
    taught = module.searcher(torch.cat([torch.stack(means), module.items(batch["item"])], 1))
    own = nn.functional.binary_cross_entropy_with_logits(taught, batch["label"], reduction="sum")
    assert loss.item() == pytest.approx((alone + own).item(), rel=1e-5)


def test_hashes_by_hand():
    planes = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, -1.0]])
    one, two = sim_hash(torch.tensor([[[2.0, -1.0], [1.0, 3.0]]]), planes), sim_hash(torch.tensor([[1.0, 1.0]]), planes)
    assert one.tolist() == [[[1, -1, 1], [1, 1, -1]]]
    assert two.tolist() == [[1, 1, 1]]  # 0 counts as above
    assert differing(one, two.unsqueeze(1)).tolist() == [[1, 1]]


def test_many_bits_keep_who_is_nearest():
    """The share of bits that differ is the angle over a half turn, and so its order is that of the cosine."""
    torch.manual_seed(0)
    vectors, target = torch.randn(1, 40, 8), torch.randn(1, 8)
    planes = torch.randn(8, 100_000)
    apart = differing(sim_hash(vectors, planes), sim_hash(target, planes).unsqueeze(1))[0]
    cosine = torch.cosine_similarity(vectors[0], target)
    torch.testing.assert_close(apart / 100_000, torch.arccos(cosine) / torch.pi, atol=0.01, rtol=0)
    assert apart.argmin() == cosine.argmax()
    assert set(apart.topk(5, largest=False).indices.tolist()) == set(cosine.topk(5).indices.tolist())


def test_eta_finds_what_is_nearest_and_the_newer_of_equals():
    module = module_of(ETA, ETAConfig, bits=20_000, k=2)
    with torch.no_grad():
        for target in range(6):
            goal, rows = module.items(torch.tensor(target)), []
            for row in HISTORY.tolist():
                real = [item for item in row if item >= 0]
                near = [torch.cosine_similarity(module.items(torch.tensor(item)), goal, dim=0).item() for item in real]
                order = sorted(range(len(real)), key=lambda place: (-near[place], -place))
                rows.append([real[place] for place in order[:2]])
            assert module.search(HISTORY, torch.tensor([target, target])).tolist() == rows
    one_bit = module_of(ETA, ETAConfig, bits=1, k=6)
    with torch.no_grad():
        one_bit.planes.zero_()  # all hashes are the same
    assert one_bit.search(HISTORY, torch.tensor([0, 0])).tolist() == [[0, 1, 4, 3, 0, -1], [2, 1, 5, 2, 6, 3]]


def test_attention_to_what_was_found_is_torchs_own():
    torch.manual_seed(0)
    mine, theirs = TargetAttention(6, 2), nn.MultiheadAttention(6, 2, bias=False, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([mine.query.weight, mine.key.weight, mine.value.weight]))
        theirs.out_proj.weight.copy_(mine.out.weight)
    target, events = torch.randn(4, 6), torch.randn(4, 5, 6)
    there = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]]) > 0
    found = mine(target, events, there)
    wanted, _ = theirs(target[:3, None], events[:3], events[:3], key_padding_mask=~there[:3])
    torch.testing.assert_close(found[:3], wanted[:, 0])
    torch.testing.assert_close(found[1], mine.out(mine.value(events[1, 0])))  # a single event has all the weight
    assert not found[3].any()


LEARN = {"batch_size": 128, "learning_rate": 1e-2, "weight_decay": 0.0, "embedding_dim": 8, "hidden": (16,)}
LEARN |= {"dropout": 0.0, "epochs": 8}


def reading(history: int) -> FeatureConfig:
    return FeatureConfig(categories=("item.kind", "item.mark"), statistics=(), history=history, min_count=1)


@pytest.fixture(scope="module")
def world():
    """Return a world in which what tells lies behind ten events that say nothing."""
    return marked(8, noise=10)


def test_recent_events_alone_cannot_tell(world):
    assert abs(world.auc(DIN(DINConfig(**LEARN, features=reading(10))).fit(world.data)) - 0.5) < 0.05


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (SIM, SIMConfig(**LEARN, features=reading(18), recent=5, k=2, category="item.kind")),
        (SIM, SIMConfig(**LEARN, features=reading(18), recent=5, k=6, search="soft")),
        (ETA, ETAConfig(**LEARN, features=reading(18), recent=5, k=8)),
    ],
    ids=["hard", "soft", "eta"],
)
def test_a_search_brings_back_what_lies_far_behind(world, kind, config):
    assert world.auc(kind(config).fit(world.data)) > 0.9


def test_settings_that_do_not_fit_are_named():
    expect_error(ConfigError, lambda: SIM().fit(toy()), "category None", "item", "search=soft")
    wrong = SIMConfig(category="item.brand")
    expect_error(ConfigError, lambda: SIM(wrong).fit(toy()), "'item.brand'")
    expect_error(ConfigError, lambda: ETA(ETAConfig(heads=3)).fit(toy()), "heads = 3", "16")
