"""What every recommender keeps."""

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.data import Dataset, Interactions, Queries, Vocabulary
from llmrec.errors import DataError, ModelError
from llmrec.protocols import Recommender, Storable, Trainable
from llmrec.testing.toy import TOY_HISTORIES, assert_same, expect_error, toy


class RecommenderContract:
    """What every recommender keeps. ``make`` returns one that is not fitted yet."""

    @abstractmethod
    def make(self) -> Any:  # noqa: ANN401 - a Recommender that is Trainable and Storable at once
        """Return a new, unfitted recommender."""

    def fitted(self) -> Any:  # noqa: ANN401
        """Return one fitted on the toy data."""
        return self.make().fit(toy(), seed=0)

    def queries(self) -> Queries:
        """All users of the toy data, one unseen user with a history, and one about whom nothing is known."""
        return Queries.from_histories([*TOY_HISTORIES, (0, 1), ()], [0, 1, 2, 3, 4, -1, -1])

    def test_it_has_the_methods(self) -> None:
        model = self.make()
        assert isinstance(model, Recommender)
        assert isinstance(model, Trainable)
        assert isinstance(model, Storable)

    def test_every_query_gets_k_items_best_first_and_none_twice(self) -> None:
        found = self.fitted().recommend(self.queries(), 3)
        assert found.items.shape == (7, 3)
        assert (found.items >= 0).all()
        assert (np.diff(found.scores, axis=1) <= 0).all()

    def test_seen_items_are_left_out_unless_asked_for(self) -> None:
        model, queries = self.fitted(), self.queries()
        for row, history in zip(model.recommend(queries, 7).items, queries.lists(), strict=True):
            assert not set(row.tolist()) & set(history)
            assert sum(row >= 0) == 7 - len(history)
        assert (model.recommend(queries, 7, exclude_seen=False).items >= 0).all()

    def test_a_query_alone_gets_what_it_gets_in_a_batch(self) -> None:
        model, queries = self.fitted(), self.queries()
        batch = model.recommend(queries, 3)
        for row in range(len(queries)):
            assert_same(model.recommend(queries.select(slice(row, row + 1)), 3), batch.select(slice(row, row + 1)))

    def test_an_unseen_user_gets_what_a_known_one_with_that_history_gets(self) -> None:
        model, known = self.fitted(), toy().queries([0, 1, 2])
        unseen = Queries(np.full(3, -1), known.history, known.values, known.times)
        assert_same(model.recommend(unseen, 3), model.recommend(known, 3))

    def test_the_same_seed_gives_the_same_numbers(self) -> None:
        assert_same(self.fitted().recommend(self.queries(), 3), self.fitted().recommend(self.queries(), 3))

    def test_a_saved_model_comes_back_with_the_same_scores(self, tmp_path: Path) -> None:
        model = self.fitted()
        folder = model.save(tmp_path / "model")
        assert_same(type(model).load(folder).recommend(self.queries(), 3), model.recommend(self.queries(), 3))
        assert not list(folder.rglob("*.pkl"))

    def test_k_above_the_catalogue_is_an_error(self) -> None:
        expect_error(DataError, lambda: self.fitted().recommend(self.queries(), 8), "k = 8", "7")

    def test_an_item_beyond_the_catalogue_is_an_error(self) -> None:
        wrong = Queries.from_histories([(0, 1), (2, 7)])
        expect_error(DataError, lambda: self.fitted().recommend(wrong, 3), "item number 7", "0 to 6")

    def test_a_history_that_was_never_seen_in_training_gets_what_an_empty_one_gets_or_better(self) -> None:
        found = self.fitted().recommend(Queries.from_histories([(6,), ()]), 6)
        assert (found.items >= 0).all()
        assert np.isfinite(found.scores).all()
        assert 6 not in found.items[0]

    def test_what_is_not_fitted_is_an_error(self, tmp_path: Path) -> None:
        expect_error(ModelError, lambda: self.make().recommend(self.queries(), 3), "fit")
        expect_error(ModelError, lambda: self.make().save(tmp_path / "model"), "fit")
        assert not list(tmp_path.iterdir())

    def test_nothing_to_learn_from_is_an_error(self) -> None:
        data = toy()
        nothing = data.with_interactions(data.interactions.select(np.zeros(0, np.int64)))
        expect_error(DataError, lambda: self.make().fit(nothing), "no interaction")

    def test_a_catalogue_of_one_item_is_served_or_refused_with_a_reason(self) -> None:
        times = [10, 11, 12, 20, 21, 22]
        one = Dataset(
            "one",
            Interactions.sort([0, 1, 2, 0, 1, 2], [0] * 6, times, toy().interactions.values[:6]),
            Vocabulary(["a", "b", "c"]),
            Vocabulary([1]),
            toy().item_table[:1],
        )
        try:
            model = self.make().fit(one)
        except (DataError, ModelError):
            return  # it says why: there is nothing to compare
        found = model.recommend(Queries.from_histories([(0,), ()]), 1, exclude_seen=False)
        assert found.items.tolist() == [[0], [0]]
        assert model.recommend(Queries.from_histories([(0,)]), 1).items.tolist() == [[-1]]

    def test_weights_that_are_not_finite_are_refused(self, tmp_path: Path) -> None:
        folder = self.fitted().save(tmp_path / "model")
        for path in sorted(folder.rglob("weights.npz")):
            with np.load(path, allow_pickle=False) as stored:
                arrays = dict(stored)
            for wrong in (np.nan, np.inf):
                broken = {name: array.astype(np.float64) for name, array in arrays.items() if array.dtype.kind == "f"}
                name = next(name for name, array in broken.items() if array.size)
                broken[name].flat[0] = wrong
                np.savez(path, **{**arrays, **broken})
                expect_error(ModelError, lambda: type(self.make()).load(folder), "NaN or infinity", "fit")
            np.savez(path, **arrays)

    def test_a_folder_of_another_version_is_refused(self, tmp_path: Path) -> None:
        folder = self.fitted().save(tmp_path / "model")
        about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps({**about, "schema_version": 99}), encoding="utf-8")
        expect_error(ModelError, lambda: type(self.make()).load(folder), "schema_version 99")

    def test_no_query_is_no_error(self) -> None:
        assert len(self.fitted().recommend(self.queries().select(slice(0, 0)), 3)) == 0
