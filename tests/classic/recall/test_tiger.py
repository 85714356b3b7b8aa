"""TIGER: the contract, a pattern to learn, exactness with enough beams, cold items, items without text."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from llmrec.classic.recall.base.history import popularity
from llmrec.classic.recall.semantic.ids import SemanticIds
from llmrec.classic.recall.semantic.rqvae import RQVAEConfig
from llmrec.classic.recall.tiger import TIGER, PooledPairs, TIGERConfig
from llmrec.config import Part, load_config
from llmrec.data import Queries, Targets
from llmrec.errors import ConfigError, DataError, ModelError
from llmrec.protocols import Watch
from llmrec.testing import RecommenderContract, assert_same, expect_error, toy

QUANTISED = RQVAEConfig(epochs=3, levels=2, codes=3, hidden=(8,), latent_dim=4)
TINY = {
    "embedding_dim": 16,
    "heads": 2,
    "blocks": 1,
    "epochs": 3,
    "dropout": 0.1,
    "embedder": Part(name="fake"),
    "rqvae": QUANTISED,
}


def tiny(**changes) -> TIGER:
    return TIGER(TIGERConfig(**{**TINY, **changes}))


class TestTIGER(RecommenderContract):
    def make(self) -> TIGER:
        return tiny()


class TestTIGERWithFewBeams(RecommenderContract):
    def make(self) -> TIGER:
        return tiny(beams=2)


def chain(make_data, n_items=8):
    """Users who walk through the items in a circle, each from another start."""
    return make_data([[(start + step) % n_items for step in range(5)] for start in range(n_items)], n_items)


def test_it_learns_what_comes_next(make_data):
    model = tiny(epochs=60, learning_rate=1e-2, dropout=0.0, embedding_dim=32).fit(chain(make_data))
    found = model.recommend(Queries.from_histories([[3, 4], [6, 7], [1], [7, 0, 1]]), 1)
    assert found.items[:, 0].tolist() == [5, 0, 2, 2]
    assert np.exp(found.scores[:, 0]).min() > 0.5


def test_scores_are_log_probabilities_of_whole_ids(make_data):
    """With as many beams as items every score is what teacher forcing gives; in sum they are below one."""
    data = chain(make_data)
    model = tiny(beams=8).fit(data)
    queries = Queries.from_histories([[3, 4], [0, 1, 2, 3, 4]])
    found = model.recommend(queries, 8, exclude_seen=False)
    module = model._generation.module
    for row, history in enumerate(queries.lists()):
        with torch.inference_mode():
            each = module.logprobs(torch.tensor([history] * 8), torch.tensor(found.items[row].tolist()))
        np.testing.assert_allclose(found.scores[row], each, rtol=1e-4, atol=1e-5)
    assert (np.exp(found.scores).sum(axis=1) < 1).all()


def test_items_that_no_beam_found_follow_by_popularity():
    model = tiny(beams=2).fit(toy())
    found = model.recommend(Queries.from_histories([(0,)]), 7, exclude_seen=False)
    beams, rest = found.items[0, :2].tolist(), found.items[0, 2:].tolist()
    counts = popularity(toy())
    assert rest == sorted(set(range(7)) - set(beams), key=lambda item: (-counts[item], item))
    lowest = found.scores[0, 1]
    np.testing.assert_allclose(found.scores[0, 2:], lowest - 2 + counts[rest] / 5, rtol=1e-5)  # 4 is the most


def test_an_item_that_nobody_touched_is_generated():
    """Gattaca, item 6, has a text and so an id: its score is its id's log-probability, and a history of it is read."""
    model = tiny(beams=7).fit(toy())
    found = model.recommend(Queries.from_histories([(0,)]), 7, exclude_seen=False)
    with torch.inference_mode():
        alone = model._generation.module.logprobs(torch.tensor([[0]]), torch.tensor([6])).item()
    assert found.scores[0, found.items[0].tolist().index(6)] == pytest.approx(alone, rel=1e-4)
    assert model.recommend(Queries.from_histories([(6,)]), 1).scores[0, 0] < 0  # no count of users


def test_a_cold_item_follows_its_text(make_data):
    """Item 4 is new and has the text of item 1, which comes after item 0; item 5 is new and has that of item 3."""
    data = make_data([[0, 1], [2, 3]] * 8, 6)
    data = replace(data, item_table=pl.DataFrame({"title": ["east", "west", "north", "south", "west", "south"]}))
    model = tiny(epochs=60, learning_rate=1e-2, dropout=0.0, beams=6).fit(data)
    assert model.collisions >= 2
    found = model.recommend(Queries.from_histories([[0], [2]]), 5)
    assert [row.index(4) < row.index(5) for row in found.items.tolist()] == [True, False]


def test_an_item_without_text_is_never_generated_and_histories_skip_it():
    titles = ["Alien", "", None, "Dune", "Heat", "Fargo", "Gattaca"]
    data = replace(toy(), item_table=pl.DataFrame({"title": titles}))
    model = tiny().fit(data)
    assert model.semantic_ids.known.tolist() == [True, False, False, True, True, True, True]
    assert (model.semantic_ids.tokens[[1, 2]] == -1).all()
    found = model.recommend(Queries.from_histories([(0, 1, 2), (0,)]), 7, exclude_seen=False)
    assert_same(found.select([0]), found.select([1]))
    assert found.items[0, -2:].tolist() == [2, 1]  # after all others, by popularity: 4 users, 3 users
    nothing = model.recommend(Queries.from_histories([(1, 2)]), 1)
    assert nothing.scores[0, 0] == 3  # popularity: three users had Alien


def test_ready_made_codes_are_taken():
    codes = [["a", "x"], ["a", "y"], ["b", "x"], ["b", "x"], ["a", "x"], [], ["c", "z"]]
    data = replace(toy(), item_table=pl.DataFrame({"semantic": codes}))
    model = tiny(codes_column="semantic").fit(data)
    assert model.collisions == 2
    assert model.semantic_ids.tokens.tolist() == [
        [0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1], [-1, -1, -1], [2, 2, 0],
    ]  # fmt: skip
    assert model.semantic_ids.sizes.tolist() == [3, 3, 2]


def test_a_saved_model_keeps_its_ids_and_curves(tmp_path):
    valid = Targets(toy().queries([0, 1]), np.array([[4], [5]]))
    model = tiny().fit(toy(), watch=Watch(valid=valid))
    loaded = TIGER.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.semantic_ids.tokens, model.semantic_ids.tokens)
    assert loaded.collisions == model.collisions
    assert loaded._arrays["validation_ndcg"].shape == loaded._arrays["training_loss"].shape == (3,)
    assert loaded._arrays["rqvae_loss"].shape == (3,)


def test_ids_of_another_shape_are_refused(tmp_path):
    folder = tiny().fit(toy()).save(tmp_path / "model")
    with np.load(folder / "weights.npz") as stored:
        arrays = dict(stored)
    np.savez(folder / "weights.npz", **{**arrays, "ids": arrays["ids"][:-1]})
    expect_error(ModelError, lambda: TIGER.load(folder), "ids of shape")
    np.savez(folder / "weights.npz", **{**arrays, "ids": np.zeros_like(arrays["ids"])})
    expect_error(ModelError, lambda: TIGER.load(folder), "same tokens")
    about = json.loads((folder / "config.json").read_text())
    about["parameters"]["blocks"] = 2
    (folder / "config.json").write_text(json.dumps(about))
    np.savez(folder / "weights.npz", **arrays)
    expect_error(ModelError, lambda: TIGER.load(folder), "does not fit its config.json")


def test_a_killed_fit_resumes_to_the_same_numbers(tmp_path):
    class KilledError(Exception):
        pass

    def kill(_done, _total, text):
        if text.startswith("epoch 3"):
            raise KilledError

    whole = tiny().fit(toy(), seed=1)
    with pytest.raises(KilledError):
        tiny().fit(toy(), seed=1, watch=Watch(checkpoint=tmp_path, report=kill))
    assert (tmp_path / "semantic-ids").is_dir()
    resumed = tiny().fit(toy(), seed=1, watch=Watch(checkpoint=tmp_path))
    queries = toy().queries([0, 3])
    assert_same(resumed.recommend(queries, 3), whole.recommend(queries, 3))


def test_the_parts_of_a_fit_say_what_they_are():
    said = []
    tiny().fit(toy(), watch=Watch(report=lambda _done, _total, text: said.append(text)))
    assert said[0] == "semantic ids: texts embedded"
    assert said[1].startswith("semantic ids: epoch 1 of at most 3")
    assert said[-1].startswith("epoch 3 of at most 3")


def test_rows_of_a_batch_have_like_lengths_and_every_target_comes_once(make_data):
    data = make_data([list(range(6))] * 40, 6)
    batches = PooledPairs.of(data, 4, 10)
    rows = list(batches.epoch(np.random.default_rng(0)))
    assert len(rows) == batches.steps == 20
    assert sum(len(batch["target"]) for batch in rows) == 200
    targets = np.concatenate([batch["target"] for batch in rows])
    assert np.bincount(targets).tolist() == [0, 40, 40, 40, 40, 40]
    lengths = [(batch["history"] >= 0).sum(axis=1) for batch in rows]
    assert np.mean([np.ptp(length) for length in lengths]) < 1


def test_a_query_is_read_the_same_beside_longer_ones():
    """Padding within a batch is no part of a history."""
    model = tiny().fit(toy())
    one = model.recommend(Queries.from_histories([(4,)]), 5)
    two = model.recommend(Queries.from_histories([(4,), (0, 1, 2, 3, 5)]), 5)
    assert_same(one, two.select([0]))


def test_no_text_and_heads_that_do_not_divide_are_errors():
    without = replace(toy(), item_table=pl.DataFrame({"year": [1979] * 7}))
    expect_error(DataError, lambda: tiny().fit(without), "title")
    expect_error(ConfigError, lambda: load_config(TIGERConfig, None, ["heads=3"]), "multiple of heads", "128 of 3")
    alone = toy().interactions.select(np.array([0]))
    expect_error(DataError, lambda: tiny().fit(toy().with_interactions(alone)), "two training events")


def test_a_catalogue_of_one_item(make_data):
    model = tiny().fit(make_data([[0, 0], [0, 0]], 1))
    assert model.recommend(Queries.from_histories([(0,)]), 1, exclude_seen=False).items.tolist() == [[0]]
    assert isinstance(model.semantic_ids, SemanticIds)
