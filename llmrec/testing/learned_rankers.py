"""What every ranker keeps that learns from data."""

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from llmrec.data import Candidates, Queries
from llmrec.errors import DataError, ModelError
from llmrec.protocols import Ranker, Storable, Trainable
from llmrec.testing.rankers import RankerContract
from llmrec.testing.toy import TOY_HISTORIES, assert_same, expect_error, toy


class LearnedRankerContract(RankerContract):
    """What every ranker keeps that is fitted and stored. ``new`` returns one that is not fitted yet."""

    @abstractmethod
    def new(self) -> Any:  # noqa: ANN401 - a Ranker that is Trainable and Storable at once
        """Return a new, unfitted ranker."""

    def make(self) -> Any:  # noqa: ANN401
        """Return one fitted on the toy data."""
        return self.new().fit(toy(), seed=0)

    def test_it_is_fitted_and_stored(self) -> None:
        ranker = self.new()
        assert isinstance(ranker, Ranker)
        assert isinstance(ranker, Trainable)
        assert isinstance(ranker, Storable)

    def test_every_candidate_gets_a_finite_score(self) -> None:
        ranked = self.make().rank(self.queries(), self.candidates())
        assert np.isfinite(ranked.scores[ranked.items >= 0]).all()

    def test_a_row_alone_gets_the_scores_that_it_gets_in_a_batch(self) -> None:
        ranker, queries, candidates = self.make(), self.queries(), self.candidates()
        batch = ranker.rank(queries, candidates)
        for row in range(len(queries)):
            part = slice(row, row + 1)
            assert_same(ranker.rank(queries.select(part), candidates.select(part)), batch.select(part))

    def test_a_score_does_not_depend_on_the_other_candidates(self) -> None:
        ranker, queries = self.make(), self.queries().select(slice(0, 1))
        found = [ranker.rank(queries, _candidates([items])) for items in ([4, 5, 6], [6, 4, -1])]
        one, two = (dict(zip(each.items[0].tolist(), each.scores[0].tolist(), strict=True)) for each in found)
        for item in (4, 6):
            np.testing.assert_allclose(one[item], two[item], rtol=1e-4, atol=1e-5)

    def test_the_same_seed_gives_the_same_numbers(self) -> None:
        queries, candidates = self.queries(), self.candidates()
        assert_same(self.make().rank(queries, candidates), self.make().rank(queries, candidates))

    def test_a_saved_ranker_comes_back_with_the_same_scores(self, tmp_path: Path) -> None:
        ranker, queries, candidates = self.make(), self.queries(), self.candidates()
        folder = ranker.save(tmp_path / "ranker")
        again = type(ranker).load(folder)
        assert_same(again.rank(queries, candidates), ranker.rank(queries, candidates))
        assert again.config == ranker.config
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", "weights.safetensors"]

    def test_what_is_not_fitted_is_an_error(self, tmp_path: Path) -> None:
        expect_error(ModelError, lambda: self.new().rank(self.queries(), self.candidates()), "fit")
        expect_error(ModelError, lambda: self.new().save(tmp_path / "ranker"), "fit")
        assert not list(tmp_path.iterdir())

    def test_nothing_to_learn_from_is_an_error(self) -> None:
        data = toy()
        nothing = data.with_interactions(data.interactions.select(np.zeros(0, np.int64)))
        expect_error(DataError, lambda: self.new().fit(nothing), "no interaction")

    def test_an_item_beyond_the_catalogue_is_an_error(self) -> None:
        ranker = self.make()
        known, beyond = Queries.from_histories([TOY_HISTORIES[0]]), Queries.from_histories([(0, 7)])
        expect_error(DataError, lambda: ranker.rank(known, _candidates([[7]])), "item number 7", "0 to 6")
        expect_error(DataError, lambda: ranker.rank(beyond, _candidates([[0]])), "item number 7", "0 to 6")

    def test_a_user_beyond_the_training_data_is_served_as_an_unseen_one(self) -> None:
        ranker, candidates = self.make(), self.candidates().select(slice(0, 2))
        unseen, beyond = (Queries.from_histories(TOY_HISTORIES[:2], [user, user]) for user in (-1, 99))
        assert_same(ranker.rank(beyond, candidates), ranker.rank(unseen, candidates))

    def test_weights_that_are_not_finite_are_refused(self, tmp_path: Path) -> None:
        folder = self.make().save(tmp_path / "ranker")
        path = folder / "weights.safetensors"
        arrays = load_file(path)
        name = next(name for name, array in arrays.items() if array.dtype.kind == "f" and array.size)
        broken = arrays[name].copy()
        broken.flat[0] = np.nan
        save_file({**arrays, name: broken}, path)
        expect_error(ModelError, lambda: type(self.new()).load(folder), "NaN or infinity", "fit")

    def test_a_damaged_or_foreign_folder_is_refused(self, tmp_path: Path) -> None:
        folder = self.make().save(tmp_path / "ranker")
        path, about = folder / "weights.safetensors", folder / "config.json"
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        expect_error(ModelError, lambda: type(self.new()).load(folder), "weights.safetensors", "cannot be read")
        save_file({"other": np.zeros(1)}, path)
        expect_error(ModelError, lambda: type(self.new()).load(folder), "does not fit")
        path.unlink()
        expect_error(ModelError, lambda: type(self.new()).load(folder), "no file")
        said = json.loads(about.read_text(encoding="utf-8"))
        about.write_text(json.dumps({**said, "schema_version": 99}), encoding="utf-8")
        expect_error(ModelError, lambda: type(self.new()).load(folder), "schema_version 99")


def _candidates(items: list[list[int]]) -> Candidates:
    return Candidates(np.array(items, np.int32), np.zeros((len(items), len(items[0])), np.float32))
