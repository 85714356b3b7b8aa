"""A student learns what its teacher knows: losses by hand, planted teachers, folders, bad input."""

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax

from llmrec.classic.ranking.distillation import Student, StudentConfig
from llmrec.classic.ranking.losses import (
    LOSSES,
    margin_error,
    soft_labels,
    soft_lists,
    soft_pairs,
    squared_error,
)
from llmrec.data import Candidates, Queries
from llmrec.errors import DataError, ModelError
from llmrec.protocols import Ranker, Watch
from llmrec.testing import expect_error

NAN = float("nan")
STUDENT = torch.tensor([[1.0, 3.0, 0.0], [2.0, 5.0, 9.0]])
TEACHER = torch.tensor([[2.0, 4.0, -2.0], [6.0, 0.0, 0.0]])
KNOWN = torch.tensor([[True, True, True], [True, False, False]])


def test_pointwise_losses_by_hand():
    total, count = squared_error(STUDENT, TEACHER, KNOWN, 2.0)
    assert (float(total), int(count)) == ((1 - 1) ** 2 + (3 - 2) ** 2 + (0 + 1) ** 2 + (2 - 3) ** 2, 4)
    total, count = soft_labels(STUDENT, TEACHER, KNOWN, 2.0)
    labels, given = expit(np.array([1.0, 2, -1, 3])), expit(np.array([1.0, 3, 0, 2]))
    by_hand = -(labels * np.log(given) + (1 - labels) * np.log(1 - given)).sum()
    assert (float(total), int(count)) == (pytest.approx(by_hand), 4)


def test_pairwise_losses_by_hand():
    total, count = margin_error(STUDENT, TEACHER, KNOWN, 2.0)
    # Pairs of the first list; the second has one candidate that counts.
    assert (float(total), int(count)) == ((-2 + 1) ** 2 + (1 - 2) ** 2 + (3 - 3) ** 2, 3)
    total, count = soft_pairs(STUDENT, TEACHER, KNOWN, 2.0)
    labels, given = expit(np.array([-1.0, 2, 3])), expit(np.array([-2.0, 1, 3]))
    by_hand = -(labels * np.log(given) + (1 - labels) * np.log(1 - given)).sum()
    assert (float(total), int(count)) == (pytest.approx(by_hand), 3)


def test_the_list_wise_loss_by_hand():
    total, count = soft_lists(STUDENT, TEACHER, KNOWN, 2.0)
    wanted, given = log_softmax(np.array([1.0, 2, -1])), log_softmax(np.array([0.5, 1.5, 0]))
    assert (float(total), int(count)) == (pytest.approx(4 * (np.exp(wanted) * (wanted - given)).sum(), rel=1e-5), 1)


@pytest.mark.parametrize("name", LOSSES)
def test_what_does_not_count_changes_nothing_not_even_a_gradient(name):
    gradients = []
    for absent in (0.0, 1e6):
        student = torch.where(KNOWN, STUDENT, absent).requires_grad_()
        LOSSES[name](student, torch.where(KNOWN, TEACHER, -absent), KNOWN, 1.5)[0].backward()
        gradients.append(student.grad)
    assert torch.isfinite(gradients[0]).all()
    assert torch.equal(*gradients)
    assert (gradients[0][~KNOWN] == 0).all()
    assert (gradients[0][0] != 0).any()


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_is_lower_than_the_teachers_own(name):
    known = torch.ones_like(KNOWN)
    temperature = 1.0 if name == "listwise" else 2.0  # list-wise divides both
    own = float(LOSSES[name](TEACHER / temperature, TEACHER, known, temperature)[0])
    for seed in range(20):
        other = TEACHER / temperature + torch.randn(2, 3, generator=torch.Generator().manual_seed(seed))
        assert float(LOSSES[name](other, TEACHER, known, temperature)[0]) > own


@pytest.mark.parametrize("name", ["margin", "ranknet", "listwise"])
def test_the_level_of_a_list_teaches_nothing(name):
    known = torch.ones_like(KNOWN)
    shifted = TEACHER + torch.tensor([[0.0], [100.0]])
    one, two = (float(LOSSES[name](STUDENT, each, known, 1.0)[0]) for each in (TEACHER, shifted))
    assert one == pytest.approx(two, rel=1e-4)


# A world: numbers of queries and items, and teachers that know different things of them.
RNG = np.random.default_rng(0)
OF_QUERIES, OF_ITEMS = RNG.normal(size=(300, 3)), RNG.normal(size=(50, 3))
KINDS = {
    "sum": (lambda query, item: item @ np.array([2.0, -1, 0.5]) + 0 * query[..., 0], {}),
    "square": (lambda query, item: item[..., 0] ** 2 + 0 * query[..., 0], {"hidden": (32,)}),
    "match": (lambda query, item: (query * item).sum(-1), {"query_features": 3, "embedding_dim": 8}),
}


def features(queries, candidates):
    """Numbers of query and item, side by side; the unit of one of them is a thousand times smaller."""
    query = np.repeat(OF_QUERIES[queries.users][:, None], candidates.items.shape[1], axis=1)
    both = np.concatenate([query, OF_ITEMS[candidates.items], np.full((*candidates.items.shape, 1), 7.0)], axis=2)
    return both * np.array([1, 1, 1, 1000, 1, 1, 1])


def taught(kind, users, seed):
    rng = np.random.default_rng(seed)
    queries = Queries.from_histories([()] * len(users), list(users))
    items = np.stack([rng.permutation(50)[:8] for _ in users])
    scores = KINDS[kind][0](OF_QUERIES[users][:, None], OF_ITEMS[items]).astype(np.float32)
    return queries, Candidates(items, np.zeros(items.shape)).with_scores(scores)


def agreement(student, queries, teacher):
    """Share of pairs that the student orders as the teacher does."""
    blind = Candidates(np.sort(teacher.items, axis=1), np.zeros(teacher.items.shape))
    ranked = student.rank(queries, blind).items
    place = [[row.tolist().index(item) for item in best] for row, best in zip(ranked, teacher.items, strict=True)]
    pairs = np.array(place)[:, :, None] < np.array(place)[:, None, :]
    return pairs[:, *np.triu_indices(8, 1)].mean()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_student_orders_new_lists_as_its_teacher_would(kind, loss):
    config = StudentConfig(loss=loss, epochs=30, batch_size=32, **KINDS[kind][1])
    student = Student(features, config).fit(*taught(kind, np.arange(200), 1), seed=0)
    assert isinstance(student, Ranker)
    assert agreement(student, *taught(kind, np.arange(200, 300), 2)) > 0.9


@pytest.mark.parametrize("kind", ["square", "match"])
def test_a_linear_student_cannot_learn_what_is_not_linear(kind):
    student = Student(features, StudentConfig(epochs=30)).fit(*taught(kind, np.arange(200), 1))
    assert agreement(student, *taught(kind, np.arange(200, 300), 2)) < 0.75


def test_unscored_candidates_and_short_lists_teach_nothing():
    queries, teacher = taught("sum", np.arange(100), 1)
    items, scores = teacher.items.copy(), teacher.scores.copy()
    scores[:, 6:] = np.nan
    scores[:50, 1:] = np.nan  # one score: no pair
    items[60, 4:], scores[60, 4:] = -1, np.nan
    config = StudentConfig(loss="mse", epochs=3)  # the others leave the level of scores to chance
    student = Student(features, config).fit(queries, Candidates(items, scores), seed=0)
    rest = [Candidates(items[50:, :6], scores[50:, :6])]
    same = Student(features, config).fit(queries.select(slice(50, None)), *rest, seed=0)
    candidates = taught("sum", np.arange(5), 3)
    np.testing.assert_allclose(student.rank(*candidates).scores, same.rank(*candidates).scores, rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_numbers_and_a_folder_keeps_them(tmp_path):
    config = StudentConfig(hidden=(4,), epochs=2)
    one, two = (Student(features, config).fit(*taught("sum", np.arange(50), 1), seed=3) for _ in range(2))
    queries, candidates = taught("sum", np.arange(5), 2)
    assert np.array_equal(one.rank(queries, candidates).scores, two.rank(queries, candidates).scores)
    other = Student(features, config).fit(*taught("sum", np.arange(50), 1), seed=4)
    assert not np.array_equal(one.rank(queries, candidates).scores, other.rank(queries, candidates).scores)
    back = Student.load(one.save(tmp_path / "student"), features)
    assert back.config == config
    assert np.array_equal(one.rank(queries, candidates).scores, back.rank(queries, candidates).scores)
    assert sorted(path.suffix for path in (tmp_path / "student").iterdir()) == [".json", ".safetensors"]


def test_a_stopped_lesson_goes_on(tmp_path):
    class Stopped(BaseException):
        pass

    def stop(done, _total, _text):
        if done == 3:
            raise Stopped

    lesson, config = taught("sum", np.arange(50), 1), StudentConfig(epochs=4, batch_size=25)
    with pytest.raises(Stopped):
        Student(features, config).fit(*lesson, watch=Watch(checkpoint=tmp_path, report=stop))
    resumed = Student(features, config).fit(*lesson, watch=Watch(checkpoint=tmp_path))
    whole = Student(features, config).fit(*lesson)
    assert np.array_equal(resumed.rank(*lesson).scores, whole.rank(*lesson).scores)


def test_bad_input_is_an_error(tmp_path):
    queries, teacher = taught("sum", np.arange(10), 1)
    unscored = Candidates(teacher.items, np.full(teacher.items.shape, np.nan))
    expect_error(
        DataError, lambda: Student(features).fit(queries, unscored), "10 lists for 10 queries, 0 with two scored"
    )
    expect_error(DataError, lambda: Student(features).fit(queries.select([0]), teacher), "10 lists for 1 queries")
    expect_error(ModelError, lambda: Student(features).rank(queries, teacher), "without weights", "fit or load")
    expect_error(ModelError, lambda: Student(features).save(tmp_path / "no"), "without weights")
    flat = lambda queries, candidates: np.zeros(candidates.items.shape)  # noqa: E731
    expect_error(DataError, lambda: Student(flat).fit(queries, teacher), "shape (10, 8)", "(q, k, f)")
    holes = lambda queries, candidates: np.full((10, 8, 2), NAN)  # noqa: E731
    expect_error(DataError, lambda: Student(holes).fit(queries, teacher), "80 candidates with NaN", "fill")
    student = Student(features, StudentConfig(epochs=1)).fit(queries, teacher)
    student.features = lambda queries, candidates: np.zeros((*candidates.items.shape, 2))
    expect_error(DataError, lambda: student.rank(queries, teacher), "shape (10, 8, 2)", "(q, k, 7)")
    towers = StudentConfig(query_features=7)
    expect_error(DataError, lambda: Student(features, towers).fit(queries, teacher), "query_features = 7 of 7")
    empty = Candidates(np.full((1, 2), -1), np.full((1, 2), NAN))
    expect_error(DataError, lambda: student.rank(queries.select(slice(0, 1)), empty), "row 0 is empty")


def test_a_damaged_folder_is_an_error(tmp_path):
    folder = Student(features, StudentConfig(epochs=1)).fit(*taught("sum", np.arange(10), 1)).save(tmp_path / "student")
    expect_error(ModelError, lambda: Student.load(tmp_path / "none", features), "none", "fit and save")
    (folder / "weights.safetensors").write_bytes(b"xx")
    expect_error(ModelError, lambda: Student.load(folder, features), "cannot be read")
    (folder / "config.json").write_text('{"kind": "recommender"}')
    expect_error(ModelError, lambda: Student.load(folder, features), "kind 'recommender'")
