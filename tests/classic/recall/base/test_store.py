"""Folders of recall models: what comes back, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from llmrec.classic.recall.base import history
from llmrec.classic.recall.base.store import Catalogue, check_catalogue, load_recommender
from llmrec.classic.recall.factorization import ALS, EASE, ALSConfig
from llmrec.classic.recall.fused import FusedRecommender
from llmrec.classic.recall.neighbours import ItemKNN, ItemKNNConfig
from llmrec.classic.recall.popular import Popular
from llmrec.data import Interactions, Queries, Vocabulary
from llmrec.errors import DataError, ModelError
from llmrec.registry import RECOMMENDERS
from llmrec.testing import assert_same, expect_error, toy

MODELS = [Popular(), ItemKNN(ItemKNNConfig(neighbours=3)), ALS(ALSConfig(factors=3)), EASE()]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Return the folder of an EASE fitted on the toy data."""
    return EASE().fit(toy()).save(tmp_path / "ease")


def edit(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_model_comes_back_by_its_name_with_its_parameters(model, tmp_path):
    queries = toy().queries([0, 1, -1])
    back = load_recommender(model.fit(toy()).save(tmp_path / "model"))
    assert type(back) is type(model)
    assert back.config == model.config
    assert back.catalogue == Catalogue.of(toy())
    assert_same(back.recommend(queries, 4), model.recommend(queries, 4))


def test_a_model_is_saved_over_another_one(folder):
    Popular().fit(toy()).save(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "weights.npz"]
    assert isinstance(load_recommender(folder), Popular)


def test_no_file_holds_a_pickle(folder):
    with np.load(folder / "weights.npz", allow_pickle=False) as file:
        assert {file[name].dtype.kind for name in file.files} <= {"f", "i"}


def test_the_catalogue_is_checked_by_its_ids(folder):
    check_catalogue(folder, toy())
    other = toy()
    other = type(other)(**{**vars(other), "name": "other", "items": Vocabulary([f"m{item}" for item in range(7)])})
    expect_error(ModelError, lambda: check_catalogue(folder, other), "7 items of 'toy'", "'other'", "fit it again")


def test_a_digest_tells_ids_apart_that_read_alike():
    def digest(ids):
        data = toy()
        return Catalogue.of(type(data)(**{**vars(data), "items": Vocabulary(ids)})).items_digest

    same = [str(item) for item in range(7)]
    assert digest(same) == digest(list(same))
    assert digest(same) != digest(range(7))
    assert digest(same) != digest(same[::-1])
    assert digest(["a", "bc", *same[:5]]) != digest(["ab", "c", *same[:5]])


def test_an_unfitted_model_says_so(tmp_path):
    expect_error(ModelError, lambda: ALS().recommend(toy().queries([0]), 1), "als without weights", "fit or load")
    expect_error(ModelError, lambda: ALS().save(tmp_path / "model"), "als without weights", "fit or load")
    assert not list(tmp_path.iterdir())


def test_a_data_set_without_events_is_refused():
    empty = toy().with_interactions(Interactions.sort([], [], []))
    expect_error(DataError, lambda: EASE().fit(empty), "'toy' has no interaction", "split")


def test_a_history_of_another_catalogue_is_refused():
    model = Popular().fit(toy())
    expect_error(DataError, lambda: model.recommend(Queries.from_histories([(0, 9)]), 1), "item number 9", "0 to 6")


def test_blocks_change_nothing(monkeypatch):
    model, queries = EASE().fit(toy()), toy().queries([0, 1, 2, 3, 4, -1])
    whole = model.recommend(queries, 3)
    monkeypatch.setattr(history, "BLOCK_ROWS", 1)
    monkeypatch.setattr(history, "BLOCK_FLOATS", 2 * 7)  # two rows a block
    assert_same(model.recommend(queries, 3), whole)


def test_a_folder_without_config_is_refused(tmp_path):
    expect_error(ModelError, lambda: load_recommender(tmp_path), "config.json", "saved recommender", "check the path")
    expect_error(ModelError, lambda: EASE.load(tmp_path), "config.json", "saved recommender", "check the path")


def test_an_unreadable_config_is_refused(folder):
    (folder / "config.json").write_text('{"kind": "recom')
    expect_error(ModelError, lambda: load_recommender(folder), "config.json", "JSON", "save the model again")


@pytest.mark.parametrize(("key", "value"), [("kind", "ranker"), ("schema_version", 99)])
def test_a_folder_of_something_else_is_refused(folder, key, value):
    edit(folder, **{key: value})
    expect_error(ModelError, lambda: load_recommender(folder), f"{key} {value!r}", "config.json")


def test_an_unknown_recommender_is_refused(folder):
    edit(folder, name="eaze")
    expect_error(ModelError, lambda: load_recommender(folder), "'eaze'", "registered", "did you mean 'ease'?")
    edit(folder, name=None)
    expect_error(ModelError, lambda: load_recommender(folder), "None", "a name")


def test_a_class_loads_its_own_folders_only(folder):
    expect_error(ModelError, lambda: ALS.load(folder), "'ease'", "'als'")


def test_a_parameter_that_the_model_has_not_is_refused(folder):
    edit(folder, parameters={"regularization": -1})
    expect_error(ModelError, lambda: load_recommender(folder), "parameters.regularization = -1", "greater than 0")
    edit(folder, parameters={"lambda": 1})
    expect_error(ModelError, lambda: load_recommender(folder), "parameters.lambda = 1", "not permitted")


def test_a_config_without_its_catalogue_is_refused(folder):
    edit(folder, items_digest=None)
    expect_error(ModelError, lambda: load_recommender(folder), "config.json", "items_digest", "save the model again")


def test_missing_weights_are_refused(folder):
    (folder / "weights.npz").unlink()
    expect_error(ModelError, lambda: load_recommender(folder), "weights.npz", "no file", "save the model again")


@pytest.mark.parametrize("keep", [0, 10, 300, 0.5, 0.99])
def test_truncated_weights_are_refused(folder, keep):
    path = folder / "weights.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if keep >= 1 else int(keep * len(whole))])
    expect_error(
        ModelError, lambda: load_recommender(folder), "weights.npz", "a whole npz file", "save the model again"
    )


def test_damaged_bytes_are_refused(folder):
    path = folder / "weights.npz"
    whole = bytearray(path.read_bytes())
    middle = whole.index(b"weights.npy") + 200
    whole[middle] ^= 0xFF
    path.write_bytes(whole)
    expect_error(ModelError, lambda: load_recommender(folder), "weights.npz", "a whole npz file")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(folder, value):
    with np.load(folder / "weights.npz") as file:
        arrays = dict(file)
    arrays["weights"] = arrays["weights"].copy()
    arrays["weights"][0, 1] = value
    np.savez(folder / "weights.npz", **arrays)
    expect_error(ModelError, lambda: load_recommender(folder), "'weights'", "NaN or infinity", "finite weights")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_weights_of_another_catalogue_are_refused(model, tmp_path):
    folder = model.fit(toy()).save(tmp_path / "model")
    edit(folder, n_items=5)
    expect_error(ModelError, lambda: load_recommender(folder), "does not fit", "5 items", "save the model again")


@pytest.mark.parametrize("model", MODELS[1:], ids=lambda model: model.name)
def test_weights_without_an_array_are_refused(model, tmp_path):
    folder = model.fit(toy()).save(tmp_path / "model")
    with np.load(folder / "weights.npz") as file:
        popularity = file["popularity"]
    np.savez(folder / "weights.npz", popularity=popularity)
    expect_error(ModelError, lambda: load_recommender(folder), "does not fit", model.name, "save the model again")


def test_neighbours_outside_the_catalogue_are_refused(tmp_path):
    folder = ItemKNN().fit(toy()).save(tmp_path / "model")
    with np.load(folder / "weights.npz") as file:
        arrays = dict(file)
    arrays["indices"] = arrays["indices"] + 7
    np.savez(folder / "weights.npz", **arrays)
    expect_error(ModelError, lambda: load_recommender(folder), "does not fit", "item-knn", "save the model again")


@pytest.mark.parametrize("model", [*MODELS, FusedRecommender()], ids=lambda model: model.name)
def test_the_registry_knows_each_class_by_its_own_name(model):
    assert RECOMMENDERS.get(model.name) is type(model)
