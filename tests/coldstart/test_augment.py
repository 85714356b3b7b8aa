"""Preferences in training: weight 0 changes nothing, a planted item goes up and no warm one down, kill and resume."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors import safe_open

from llmrec.classic.recall.base.store import load_recommender, make_recommender, read_arrays
from llmrec.classic.training import STATE
from llmrec.coldstart.augment import fit_augmented
from llmrec.config import Part
from llmrec.data import Candidates, Dataset, Interactions, Targets, Vocabulary
from llmrec.data.preferences import Preferences
from llmrec.errors import ConfigError, DataError, ModelError
from llmrec.eval.metrics import compute
from llmrec.protocols import Watch
from llmrec.testing import assert_same, expect_error

PARTS = {
    "bpr": Part(name="bpr", parameters={"factors": 8, "epochs": 60}),
    "dssm": Part(
        name="dssm",
        parameters={"embedding_dim": 16, "epochs": 80, "batch_size": 128, "learning_rate": 0.03, "dropout": 0.1},
    ),
    "sasrec": Part(
        name="sasrec",
        parameters={"embedding_dim": 8, "epochs": 60, "batch_size": 8, "history": 5, "learning_rate": 0.01},
    ),
    "comirec": Part(name="comirec", parameters={"embedding_dim": 8, "epochs": 30, "batch_size": 32}),
}
WARM = 12  # items that somebody has had
SOFTMAX = ("sasrec", "comirec")  # learn from a softmax over all items: a cold one is weighed against the warm ones too
CHOSEN, REJECTED, UNTOUCHED = 12, 13, 14  # of users of the first kind; nobody has touched any of them
QUICK = [Part(name=name, parameters={**part.parameters, "epochs": 3}) for name, part in PARTS.items()]
WEIGHTS = {"bpr": 1.5, "dssm": 0.45, "sasrec": 1.5, "comirec": 1.5}  # with more, dssm forgets some of what comes next
every_part = pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
every_part_quickly = pytest.mark.parametrize("part", QUICK, ids=PARTS)


def circles() -> tuple[Dataset, Targets]:
    """Return 36 users who walk one of two circles of six items, and the item that comes next of each."""
    walks = [[6 * (user % 2) + (user // 2 + step) % 6 for step in range(5)] for user in range(36)]
    events = Interactions.sort(
        np.repeat(range(36), 4), [item for walk in walks for item in walk[:4]], [1, 2, 3, 4] * 36
    )
    titles = pl.DataFrame({"title": [f"film {number}" for number in range(15)]})
    data = Dataset("circles", events, Vocabulary([f"u{user}" for user in range(36)]), Vocabulary(range(15)), titles)
    return data, Targets(data.queries(range(36)), np.array([[walk[4]] for walk in walks]))


def planted() -> Preferences:
    """Return pairs in which users of the first kind choose item 12 and those of the second 13."""
    first = np.arange(36) % 2 == 0
    return Preferences(range(36), np.where(first, 12, 13), np.where(first, 13, 12), np.full(36, 1.5))


def warm_ndcg(model, targets: Targets, *, among: int) -> float:
    """Return the mean NDCG@10 of the next items, all of them warm, in the order of the first ``among`` items."""
    found = model.recommend(targets.queries, 15)
    order = np.argsort(found.items >= among, axis=1, kind="stable")
    items = np.take_along_axis(np.where(found.items >= among, -1, found.items), order, 1)
    return float(compute(Candidates(items, np.zeros(items.shape)), targets, ["ndcg@10"])["ndcg@10"].mean())


def places(model, data: Dataset, item: int) -> np.ndarray:
    """Return where an item stands in each user's order of all items, from 0."""
    found = model.recommend(data.queries(range(36)), 15, exclude_seen=False).items
    return np.nonzero(found == item)[1]


@every_part_quickly
@pytest.mark.parametrize("zero", ["of the term", "of each pair"])
def test_a_weight_of_0_learns_what_the_plain_model_does_to_the_bit(part, zero, tmp_path):
    data, targets = circles()
    pairs, weight = planted(), 0.0
    if zero == "of each pair":
        pairs, weight = Preferences(pairs.users, pairs.chosen, pairs.rejected, np.zeros(36)), 3.0
    plain = make_recommender(part).fit(data, seed=3, watch=Watch(targets))
    model = fit_augmented(part, data, pairs, weight, seed=3, watch=Watch(targets))
    plain.save(tmp_path / "plain")
    model.save(tmp_path / "model")
    assert (tmp_path / "model" / "config.json").read_bytes() == (tmp_path / "plain" / "config.json").read_bytes()
    one, two = (read_arrays(tmp_path / name / "weights.npz") for name in ("plain", "model"))
    assert one.keys() == two.keys()
    for name, array in one.items():
        assert array.tobytes() == two[name].tobytes(), name
    assert (places(model, data, CHOSEN) >= 12).all()


@every_part
def test_a_planted_preference_moves_the_item_up_and_no_warm_metric_down(part):
    data, targets = circles()
    plain = make_recommender(part).fit(data, seed=1)
    model = fit_augmented(part, data, planted(), WEIGHTS[part.name], seed=1)
    first = np.arange(36) % 2 == 0
    for item, takers in ((CHOSEN, first), (REJECTED, ~first)):
        before, after = places(plain, data, item), places(model, data, item)
        assert (after[takers] < before[takers]).all()
        assert after[takers].mean() < after[~takers].mean() - 0.5
    assert (places(model, data, UNTOUCHED) == 14).all()
    for among in (WARM, 15) if part.name in SOFTMAX else (WARM,):
        before, after = (warm_ndcg(each, targets, among=among) for each in (plain, model))
        assert after >= before - 1e-9


def test_the_weight_decides_where_untouched_items_stand_at_the_price_of_warm_ones():
    """BPR's negatives are items of events: with a large weight, pairs put untouched ones before all others."""
    (data, targets), part = circles(), PARTS["bpr"]
    plain = make_recommender(part).fit(data, seed=1)
    little, much = (fit_augmented(part, data, planted(), weight, seed=1) for weight in (0.03, 1.0))
    first = np.arange(36) % 2 == 0
    before, between, after = (places(each, data, CHOSEN)[first].mean() for each in (plain, little, much))
    assert after < between < before
    before, between, after = (warm_ndcg(each, targets, among=15) for each in (plain, little, much))
    assert after < 0.9 * before
    assert between > 0.95 * before


@every_part_quickly
def test_the_ordinary_store_keeps_what_was_taught(part, tmp_path):
    data, targets = circles()
    model = fit_augmented(part, data, planted(), 1.0)
    back = load_recommender(model.save(tmp_path / "model"))
    assert_same(back.recommend(targets.queries, 10), model.recommend(targets.queries, 10))
    assert back.servable.tolist() == [True] * 14 + [False]
    arrays = read_arrays(tmp_path / "model" / "weights.npz")
    np.savez(tmp_path / "model" / "weights.npz", **{**arrays, "taught": arrays["taught"][:-1]})
    expect_error(ModelError, lambda: load_recommender(tmp_path / "model"), "taught of shape (14,)", "again")


@every_part_quickly
def test_histories_skip_what_was_taught(part):
    """What an untouched item means as part of a history was not learned: it says nothing of who now has it."""
    data, _ = circles()
    model = fit_augmented(part, data, planted(), 1.0)
    one, two, three = (
        model.query_vectors(type(data.queries([0])).from_histories([history]))
        for history in ((0, 1, 2), (0, CHOSEN, 1, 2, REJECTED), (CHOSEN,))
    )
    np.testing.assert_allclose(two, one, rtol=1e-6)
    assert np.isnan(three).all()


@every_part_quickly
def test_the_seed_decides(part):
    data, _ = circles()
    models = [fit_augmented(part, data, planted(), 1.0, seed=seed) for seed in (0, 0, 1)]
    assert models[0].item_vectors.tobytes() == models[1].item_vectors.tobytes()
    assert models[0].item_vectors.tobytes() != models[2].item_vectors.tobytes()


@every_part_quickly
def test_margins_of_another_scale_teach_the_same(part):
    """Weights are relative: those of 1 and 3 are what 16 and 48 are, and 1 of all is what 1.5 of all is."""
    data, _ = circles()
    pairs = planted()
    ends = []
    for weights in (np.tile([1, 3], 18), np.tile([16, 48], 18), np.ones(36), np.full(36, 1.5)):
        scaled = Preferences(pairs.users, pairs.chosen, pairs.rejected, weights)
        ends.append(fit_augmented(part, data, scaled, 1.0).item_vectors.tobytes())
    assert ends[0] == ends[1] != ends[2] == ends[3]


SLOW = """
import sys, time
from pathlib import Path
from llmrec.coldstart.augment import fit_augmented
from llmrec.config import Part
from llmrec.data import Dataset
from llmrec.data.preferences import Preferences
from llmrec.protocols import Watch
folder = Path(sys.argv[1])
watch = Watch(checkpoint=folder / "state", report=lambda *_: time.sleep(0.02))
part = Part.model_validate_json(sys.argv[2])
fit_augmented(part, Dataset.load(folder / "data"), Preferences.load(folder / "pairs.parquet"), 1.0, seed=2, watch=watch)
"""


def epochs_done(path: Path) -> int:
    if not path.is_file():
        return 0
    with safe_open(path, "pt") as file:
        return len(json.loads(file.metadata()["about"])["log"]["losses"])


def test_a_killed_fit_goes_on_to_the_numbers_of_one_that_was_not_and_refuses_other_pairs(tmp_path):
    (data, _), part, state = circles(), PARTS["sasrec"], tmp_path / "state"
    data.save(tmp_path / "data")
    planted().save(tmp_path / "pairs.parquet")
    with subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path), part.model_dump_json()]) as process:
        deadline = time.monotonic() + 120
        while epochs_done(state / STATE) < 4:
            assert process.poll() is None, "the fit ended before it could be killed"
            assert time.monotonic() < deadline, "the fit writes no checkpoint"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert 4 <= epochs_done(state / STATE) < 60
    watch = Watch(checkpoint=state)
    for pairs, weight in ((planted().select(slice(1, None)), 1.0), (planted(), 0.5)):
        call = lambda pairs=pairs, weight=weight: fit_augmented(part, data, pairs, weight, seed=2, watch=watch)  # noqa: E731
        expect_error(ModelError, call, "differs in preferences", "remove")
    expect_error(ModelError, lambda: make_recommender(part).fit(data, seed=2, watch=watch), "differs in preferences")
    whole, resumed = (
        fit_augmented(part, data, planted(), 1.0, seed=2, watch=each) for each in (Watch(), Watch(checkpoint=state))
    )
    assert epochs_done(state / STATE) == 60
    assert resumed.item_vectors.tobytes() == whole.item_vectors.tobytes()


def one(user: int = 0, chosen: int = 12, rejected: int = 13) -> Preferences:
    return Preferences([0, user], [12, chosen], [13, rejected], [1, 1])


@pytest.mark.parametrize(
    ("name", "pairs", "weight", "kind", "words"),
    [
        ("als", one(), 1, ConfigError, ("'als'", "cannot learn from preferences", "bpr, dssm, sasrec")),
        ("popular", one(), 1, ConfigError, ("'popular'", "cannot learn from preferences")),
        ("bpr", one(), -0.5, ConfigError, ("weight = -0.5", "0 or more")),
        ("bpr", one(), float("nan"), ConfigError, ("weight = nan", "finite")),
        ("bpr", one().select(slice(0, 0)), 1, DataError, ("no preference for 'circles'", "plain model")),
        ("bpr", one(user=37), 1, DataError, ("user number 37", "0 to 36")),
        ("sasrec", one(chosen=15), 1, DataError, ("item number 15", "0 to 14")),
        ("dssm", one(rejected=99), 1, DataError, ("item number 99", "0 to 14")),
        ("dssm", one(user=36), 1, DataError, ("user 'u36'", "no training event (1 pairs", "before the cut")),
        ("bpr", one(user=36), 0, DataError, ("user 'u36'", "no training event")),
    ],
)
def test_bad_input_is_named(name, pairs, weight, kind, words):
    data, _ = circles()
    more = Vocabulary([*data.users.ids.to_list(), "u36"])  # a user without any event
    data = Dataset(data.name, data.interactions, more, data.items, data.item_table)
    expect_error(kind, lambda: fit_augmented(Part(name=name), data, pairs, weight), *words)
