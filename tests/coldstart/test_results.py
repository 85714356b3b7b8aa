"""Results are kept by all that they depend on, and by nothing else."""

import cold_run
import numpy as np
import pytest

from llmrec.coldstart.cuts import Cut
from llmrec.coldstart.funnel import SimulatedInteractions
from llmrec.coldstart.lessons import Pairwise, Taken
from llmrec.coldstart.results import Results, for_epochs, resolved
from llmrec.config import Part
from llmrec.data import Split
from llmrec.data.preferences import Preferences
from llmrec.testing import assert_same

PAIRS = Preferences([0, 1, 2], [50, 51, 50], [51, 50, 51], [1.0, 2.0, 0.5])
BPR = Part(name="bpr", parameters={"factors": 4, "epochs": 3})


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    folder = cold_run.save_shop(tmp_path_factory.mktemp("results") / "shop")
    return Cut.of("test", folder, Split.load(folder / "split"))


def test_each_of_what_a_result_depends_on_makes_another(cut, tmp_path):
    results = Results(tmp_path, 5)
    asked = [
        (BPR, None, 0),
        (BPR, None, 1),
        (for_epochs(BPR, 4), None, 0),
        (BPR, Pairwise(PAIRS, 1.0), 0),
        (BPR, Pairwise(PAIRS, 2.0), 0),
        (BPR, Pairwise(PAIRS.select(slice(2)), 1.0), 0),
        (BPR, Taken(SimulatedInteractions([0], [50], [1.0])), 0),
    ]
    first = [results.get("m", cut, part, lesson, seed=seed) for part, lesson, seed in asked]
    assert results.fitted == len(list(tmp_path.iterdir())) == len(asked)
    again = Results(tmp_path, 5)
    for one, (part, lesson, seed) in zip(first, asked, strict=True):
        two = again.get("another name", cut, part, lesson, seed=seed)
        assert_same(two.candidates, one.candidates)
        np.testing.assert_array_equal(np.isnan(two.candidates.scores), np.isnan(one.candidates.scores))
        assert (two.epochs, two.seconds) == (one.epochs, one.seconds)
    assert again.fitted == 0
    Results(tmp_path, 6).get("m", cut, BPR)
    assert len(list(tmp_path.iterdir())) == len(asked) + 1


def test_parts_are_told_apart_by_all_their_parameters():
    assert for_epochs(BPR, 0) is BPR
    assert for_epochs(BPR, 7).parameters == {"factors": 4, "epochs": 7}
    whole = resolved(BPR)
    assert whole.parameters["factors"] == 4
    assert {"learning_rate", "regularization", "fold_in_regularization"} < whole.parameters.keys()
    assert resolved(whole) == whole
