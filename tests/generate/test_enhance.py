"""Matchers: logits and gradients by hand, what they learn from generated texts, and what is kept of them."""

import json
import math

import numpy as np
import pytest
import torch
from enhancing import DIM, EACH, made

from llmrec.config import Part
from llmrec.errors import DataError, ModelError
from llmrec.eval.yes_no import auc
from llmrec.generate.enhance import Matcher
from llmrec.generate.enhance_forms import DotMatcher, MlpMatcher
from llmrec.generate.enhance_pairs import Pairs
from llmrec.generate.enhance_recipe import MatcherConfig
from llmrec.generate.enhance_vectors import Vectors
from llmrec.protocols import Watch
from llmrec.testing import expect_error

QUICK = MatcherConfig(hidden=(32,), dropout=0.0, epochs=60, patience=15, learning_rate=3e-3, batch_size=64)
FORMS = pytest.mark.parametrize("form", ["mlp", "dot"])
BOTH = pytest.mark.parametrize("generated", [True, False])


def fit(form, generated, vectors, parts, *, seed=0, config=QUICK):
    matcher = Matcher(form, generated=generated, embedding_dim=DIM, config=config, seed=seed)
    return matcher.fit(vectors, parts["train"], parts["valid"], seed=seed)


def tensor(*numbers):
    return torch.tensor([numbers], dtype=torch.float32)


def set_weights(module, **weights):
    with torch.no_grad():
        for name, values in weights.items():
            target = dict(module.named_parameters())[name.replace("__", ".")]
            target.copy_(torch.tensor(values, dtype=torch.float32).reshape(target.shape))
    return module.eval()


def test_an_mlp_by_hand() -> None:
    """Vectors of one number, two hidden units: relu(c + 2 j + 3 j' + 0.5) and relu(-c + j - j'), weighed 2 and -1."""
    module = MlpMatcher(1, MatcherConfig(hidden=(2,)), generated=True)
    set_weights(
        module,
        first__weight=[[1, 2, 3], [-1, 1, -1]],
        first__bias=[0.5, 0],
        rest__3__weight=[2, -1],
        rest__3__bias=[0.25],
    )
    # 1 - 4 + 9 + 0.5 = 6.5; -1 - 2 - 3 < 0
    assert module(tensor(1), tensor(-2), tensor(3)).item() == pytest.approx(2 * 6.5 + 0.25)
    # 1 + 4 - 3 + 0.5 = 2.5; -1 + 2 + 1 = 2
    assert module(tensor(1), tensor(2), tensor(-1)).item() == pytest.approx(2 * 2.5 - 2 + 0.25)


def test_a_dot_product_by_hand() -> None:
    """The MLP's inputs are multiplied by the root of 2, its output meets the item as it is."""
    module = DotMatcher(2, MatcherConfig(hidden=(1,)), generated=True)
    set_weights(
        module, net__0__weight=[1, 0, 0, 2], net__0__bias=[1], net__3__weight=[1, -1], net__3__bias=[0, 3], bias=[0.5]
    )
    root = math.sqrt(2)
    hidden = root * 0.6 + 2 * root * 0.8 + 1  # c = (0.6, 0.8), j' = (0, 0.8)
    logit = hidden * 0.28 + (3 - hidden) * 0.96 + 0.5  # j = (0.28, 0.96)
    assert module(tensor(0.6, 0.8), tensor(0.28, 0.96), tensor(0, 0.8)).item() == pytest.approx(logit, rel=1e-6)


def test_gradients_by_hand() -> None:
    """Of the log-loss: (sigmoid(logit) - label) times what the weight was multiplied by."""
    mlp = set_weights(
        MlpMatcher(1, MatcherConfig(hidden=(1,)), generated=True),
        first__weight=[1, 2, 3], first__bias=[0], rest__3__weight=[0.5], rest__3__bias=[0],
    )  # fmt: skip
    logit = mlp(tensor(0.1), tensor(0.2), tensor(0.3))
    torch.nn.functional.binary_cross_entropy_with_logits(logit, torch.ones(1)).backward()
    assert logit.item() == pytest.approx(0.5 * 1.4)
    error = 1 / (1 + math.exp(-0.7)) - 1
    torch.testing.assert_close(mlp.first.weight.grad, error * 0.5 * tensor(0.1, 0.2, 0.3))
    torch.testing.assert_close(mlp.rest[2].weight.grad, error * tensor(1.4))
    dot = set_weights(
        DotMatcher(1, MatcherConfig(hidden=(1,)), generated=True),
        net__0__weight=[1, 2], net__0__bias=[0], net__3__weight=[0.5], net__3__bias=[0], bias=[0.1],
    )  # fmt: skip
    logit = dot(tensor(0.4), tensor(-2), tensor(0.3))
    torch.nn.functional.binary_cross_entropy_with_logits(logit, torch.zeros(1)).backward()
    assert logit.item() == pytest.approx(-2 * 0.5 * 1.0 + 0.1)
    error = 1 / (1 + math.exp(0.9))
    torch.testing.assert_close(dot.net[0].weight.grad, error * -2 * 0.5 * tensor(0.4, 0.3))
    assert dot.bias.grad.item() == pytest.approx(error)


@FORMS
def test_without_the_text_it_is_the_same_network_less_one_input(form) -> None:
    with_text, plain = (Matcher(form, generated=each, embedding_dim=5).module for each in (True, False))
    sizes = [sum(each.numel() for each in module.parameters()) for module in (with_text, plain)]
    assert sizes[0] - sizes[1] == 5 * MatcherConfig().hidden[0]


@FORMS
@BOTH
def test_all_items_get_what_pairs_get(form, generated) -> None:
    vectors, _ = made("generated")
    matcher = Matcher(form, generated=generated, embedding_dim=DIM, config=MatcherConfig(hidden=(7, 5)), seed=3)
    contexts, n = np.array([5, 0, 17], np.int32), len(vectors.items)
    pairs = Pairs(np.repeat(contexts, n), np.tile(np.arange(n, dtype=np.int32), 3), np.ones(3 * n, np.bool_))
    ((rows, found),) = matcher.every(vectors, contexts)
    assert rows.start == 0
    np.testing.assert_allclose(found.ravel(), matcher.scores(vectors, pairs), rtol=1e-4, atol=1e-5)
    assert found.std() > 1e-3


@FORMS
def test_where_only_the_text_tells_only_the_matcher_that_reads_it_learns(form) -> None:
    vectors, parts = made("generated")
    test = parts["test"]
    enhanced, plain = (fit(form, generated, vectors, parts) for generated in (True, False))
    assert auc(test.labels, enhanced.scores(vectors, test)) > 0.95
    assert abs(auc(test.labels, plain.scores(vectors, test)) - 0.5) < 0.06


@FORMS
def test_where_the_text_is_noise_both_tie(form) -> None:
    vectors, parts = made("contexts")
    test = parts["test"]
    found = [auc(test.labels, fit(form, each, vectors, parts).scores(vectors, test)) for each in (True, False)]
    assert min(found) > 0.95
    assert abs(found[0] - found[1]) < 0.03


@FORMS
def test_without_the_text_it_is_not_read(form) -> None:
    vectors, parts = made("contexts")
    plain = fit(form, False, vectors, parts, config=QUICK.model_copy(update={"epochs": 2}))
    other = Vectors(vectors.contexts, vectors.items, vectors.generated[::-1].copy())
    np.testing.assert_array_equal(plain.scores(vectors, parts["test"]), plain.scores(other, parts["test"]))
    assert np.ptp(plain.scores(vectors, parts["test"])) > 0


def test_the_best_epoch_is_kept_and_patience_ends_training() -> None:
    vectors, parts = made("generated", seed=1)
    seen = []
    matcher = Matcher("mlp", generated=False, embedding_dim=DIM, config=QUICK.model_copy(update={"patience": 3}))
    watch = Watch(report=lambda done, total, text: seen.append((done, total, text)))
    matcher.fit(vectors, parts["train"], parts["valid"], watch=watch)
    values = matcher.log.values
    assert len(values) - 1 - matcher.log.best == 3  # noise stops early
    assert auc(parts["valid"].labels, matcher.scores(vectors, parts["valid"])) == pytest.approx(max(values))
    steps = -(-len(parts["train"]) // 64)
    assert seen[0][:2] == (1, 60 * steps)
    assert seen[steps][2] == f"epoch 2 of at most 60, validation AUC {values[0]:.4f}"


def test_a_seed_decides_all() -> None:
    vectors, parts = made("generated")
    config = QUICK.model_copy(update={"epochs": 3, "dropout": 0.2})
    one, two, other = (fit("mlp", True, vectors, parts, seed=seed, config=config) for seed in (1, 1, 2))
    found = [each.scores(vectors, parts["test"]) for each in (one, two, other)]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2], atol=1e-3)


@FORMS
@BOTH
def test_saved_and_loaded_it_scores_the_same(form, generated, tmp_path) -> None:
    vectors, parts = made("generated")
    config = MatcherConfig(hidden=(6, 4), epochs=1)
    fake = Part(name="fake", parameters={"embedding_dim": DIM})
    matcher = Matcher(form, generated=generated, embedding_dim=DIM, config=config, embedder=fake, seed=5)
    matcher.fit(vectors, parts["train"], parts["valid"]).save(tmp_path / "matcher")
    assert sorted(path.name for path in (tmp_path / "matcher").iterdir()) == ["config.json", "model.safetensors"]
    again = Matcher.load(tmp_path / "matcher")
    assert (again.form, again.generated, again.config, again.embedder) == (form, generated, config, fake)
    np.testing.assert_array_equal(again.scores(vectors, parts["test"]), matcher.scores(vectors, parts["test"]))


def test_a_folder_that_is_no_matcher(tmp_path) -> None:
    expect_error(ModelError, lambda: Matcher.load(tmp_path), str(tmp_path), "config.json", "saved matcher")
    folder = Matcher("dot", generated=True, embedding_dim=3).save(tmp_path / "matcher")
    about = json.loads((folder / "config.json").read_text())
    changes = {
        "recommender": {"kind": "recommender"},
        "tree": {"form": "tree"},
        "hidden": {"parameters": {"hidden": []}},
        "size mismatch": {"embedding_dim": 4},
    }
    for word, change in changes.items():
        (folder / "config.json").write_text(json.dumps(about | change))
        expect_error(ModelError, lambda: Matcher.load(folder), word, "train and save the matcher again")
    (folder / "config.json").write_text(json.dumps(about))
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    expect_error(ModelError, lambda: Matcher.load(folder), "cannot be read")


def test_bad_vectors() -> None:
    good = np.ones((2, 3), np.float32)
    for name, place in (("contexts", 0), ("items", 1), ("generated", 2)):
        arrays = [good, good, good]
        arrays[place] = good.copy()
        arrays[place][1, 2] = np.nan
        expect_error(DataError, lambda arrays=arrays: Vectors(*arrays), f"{name} has NaN", "number 1")
    expect_error(DataError, lambda: Vectors(good, good, good[:1]), "(2, 3), (2, 3), (1, 3)", "(c, d)")
    expect_error(DataError, lambda: Vectors(good, good[:, :2], good), "(2, 2)", "one embedder")


def test_bad_pairs() -> None:
    vectors, parts = made("generated")
    matcher = Matcher("dot", generated=True, embedding_dim=DIM)
    yes = np.array([True, False])

    def pairs(contexts, items, labels=yes):
        return Pairs(np.array(contexts, np.int32), np.array(items, np.int32), np.array(labels))

    last = 3 * EACH
    unknown = pairs([0, last], [0, 1])
    expect_error(DataError, lambda: matcher.scores(vectors, unknown), f"context number {last}", f"0 to {last - 1}")
    expect_error(DataError, lambda: matcher.scores(vectors, pairs([0, 1], [-1, 1])), "item number -1", "0 to 23")
    expect_error(DataError, lambda: matcher.fit(vectors, unknown, parts["valid"]), f"context number {last}")
    one = pairs([0, 1], [0, 1], [True, True])
    expect_error(DataError, lambda: matcher.fit(vectors, one, parts["valid"]), "2 pairs of train, all of which match")
    none = pairs([0, 1], [0, 1], [False, False])
    expect_error(DataError, lambda: matcher.fit(vectors, parts["train"], none), "pairs of valid, none of which match")
    expect_error(DataError, lambda: pairs([], [], []), "0 contexts", "at least one")
    expect_error(DataError, lambda: pairs([0], [0, 1]), "1 contexts with 2 items")
    wide = Matcher("dot", generated=True, embedding_dim=DIM + 1)
    expect_error(DataError, lambda: wide.scores(vectors, parts["test"]), f"length {DIM}", f"{DIM + 1}", "sentence")
