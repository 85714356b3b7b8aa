"""An auxiliary term: which items only it teaches, and what tells two terms apart."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.classic.recall.base.auxiliary import Auxiliary
from llmrec.data.preferences import Preferences

TOUCHED = np.array([True, True, False, False, False, False])


@pytest.mark.parametrize(("weight", "taught"), [(0.5, [2, 3]), (0.0, [])])
def test_only_items_without_events_are_taught_and_pairs_of_weight_0_teach_none(weight, taught):
    pairs = Preferences([0, 0, 1], [2, 0, 4], [3, 1, 5], [1, 1, 0])
    assert np.flatnonzero(Auxiliary(pairs, weight).taught(TOUCHED)).tolist() == taught


def test_whatever_differs_makes_another_digest():
    same = [Auxiliary(Preferences([0, 1], [2, 3], [3, 4], [1, 2]), weight) for weight in (1, 1.0)]
    others = [
        Auxiliary(Preferences([0, 1], [2, 3], [3, 4], [1, 2]), 0.5),
        Auxiliary(Preferences([1, 1], [2, 3], [3, 4], [1, 2]), 1),
        Auxiliary(Preferences([0, 1], [3, 3], [2, 4], [1, 2]), 1),
        Auxiliary(Preferences([0, 1], [2, 3], [3, 4], [1, 3]), 1),
    ]
    assert len({each.digest for each in (*same, *others)}) == 5
