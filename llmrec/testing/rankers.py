"""What every ranker keeps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from llmrec.data import Candidates, Queries
from llmrec.errors import DataError
from llmrec.protocols import Ranker
from llmrec.testing.injections import INJECTIONS
from llmrec.testing.toy import TOY_HISTORIES, TOY_TITLES, expect_error


class RankerContract:
    """What every ranker keeps. ``make`` returns one that can rank the toy data set.

    A ranker that reads titles also overrides ``make_titled``, so that titles which give orders are tried on it.
    """

    @abstractmethod
    def make(self) -> Ranker:
        """Return a ranker for ``toy()``."""

    def make_titled(self, titles: Sequence[str]) -> Ranker | None:  # noqa: ARG002
        """Return what ``make`` does, for seven items that are called so; None where titles are not read."""
        return None

    def queries(self) -> Queries:
        """Three toy users and one without a history."""
        return Queries.from_histories([TOY_HISTORIES[0], TOY_HISTORIES[2], (5,), ()], [0, 2, -1, -1])

    def candidates(self) -> Candidates:
        """Candidates of several lengths, padded with -1."""
        items = np.array([[4, 5, 6], [0, 3, -1], [6, -1, -1], [2, 0, 1]])
        return Candidates(items, np.where(items < 0, np.nan, [3.0, 2.0, 1.0]))

    def test_it_has_the_method(self) -> None:
        assert isinstance(self.make(), Ranker)

    def test_the_result_is_a_permutation_of_each_row(self) -> None:
        candidates = self.candidates()
        ranked = self.make().rank(self.queries(), candidates)
        np.testing.assert_array_equal(np.sort(ranked.items, axis=1), np.sort(candidates.items, axis=1))
        scores = np.where(ranked.items < 0, -np.inf, np.nan_to_num(ranked.scores, nan=-np.inf))
        assert np.all(scores[:, :-1] >= scores[:, 1:])

    def test_titles_that_give_orders_leave_it_a_permutation(self) -> None:
        queries, candidates = self.queries(), self.candidates()
        for start in range(0, len(INJECTIONS), len(TOY_TITLES)):
            texts = (INJECTIONS * 2)[start : start + len(TOY_TITLES)]
            for titles in (texts, [f"{title} {text}" for title, text in zip(TOY_TITLES, texts, strict=True)]):
                if (ranker := self.make_titled(titles)) is None:
                    return
                ranked = ranker.rank(queries, candidates)
                np.testing.assert_array_equal(np.sort(ranked.items, axis=1), np.sort(candidates.items, axis=1))

    def test_padding_stays_behind(self) -> None:
        ranked = self.make().rank(self.queries(), self.candidates())
        assert (ranked.items[1] >= 0).tolist() == [True, True, False]
        assert (ranked.items[2] >= 0).tolist() == [True, False, False]

    def test_a_row_alone_is_ranked_as_in_a_batch(self) -> None:
        ranker, queries, candidates = self.make(), self.queries(), self.candidates()
        batch = ranker.rank(queries, candidates)
        for row in range(len(queries)):
            alone = ranker.rank(queries.select(slice(row, row + 1)), candidates.select(slice(row, row + 1)))
            np.testing.assert_array_equal(alone.items, batch.items[row : row + 1])

    def test_an_empty_row_is_an_error(self) -> None:
        empty = Candidates(np.array([[0, 1], [-1, -1]]), np.array([[1.0, 0.5], [np.nan, np.nan]]))
        queries = self.queries().select(slice(0, 2))
        expect_error(DataError, lambda: self.make().rank(queries, empty), "row 1", "empty")

    def test_no_query_is_no_error(self) -> None:
        assert len(self.make().rank(self.queries().select(slice(0, 0)), self.candidates().select(slice(0, 0)))) == 0
