"""A ranker on declared features learns a teacher's scores: new lists in its order, folders, losses, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec.classic.ranking.autorec import AutoRec
from llmrec.classic.ranking.base.examples import ExamplesConfig
from llmrec.classic.ranking.base.ranker import load_learned_ranker
from llmrec.classic.ranking.base.rows import candidate_rows
from llmrec.classic.ranking.deep import FNN, DeepFM, DeepFMConfig, FNNConfig
from llmrec.classic.ranking.encoding import learn_features
from llmrec.classic.ranking.features import FeatureConfig
from llmrec.classic.ranking.learning import Encoded
from llmrec.classic.ranking.linear import FM, FMConfig, LogisticConfig, LogisticRegression
from llmrec.classic.ranking.losses import LOSSES, LossConfig, scored_lists
from llmrec.classic.ranking.neural.ranker import row_logits
from llmrec.classic.ranking.teaching import Lessons, teach
from llmrec.data import Candidates, Queries
from llmrec.errors import ConfigError, DataError
from llmrec.protocols import UNWATCHED, Watch
from llmrec.testing import assert_same, expect_error

KINDS = FeatureConfig(categories=("user.kind", "item.kind"), statistics=(), history=0)
IDS = FeatureConfig(categories=("user", "item", "item.kind"), statistics=(), history=5)
FAST = {"epochs": 30, "batch_size": 16, "learning_rate": 2e-2}


def taught(data, users, seed, *, scored=8, level=9.0):
    """Lists of eight items for users; a teacher likes items of a user's kind most, then those with a low number.

    Nothing of that is in the events: every user had all items, and the scores have another level in each list.
    """
    rng = np.random.default_rng(seed)
    items = np.stack([rng.permutation(40)[:8] for _ in users])
    scores = 3.0 * (items % 4 == np.asarray(users)[:, None] % 4) - items / 40 + level * rng.normal(size=(len(users), 1))
    scores[:, scored:] = np.nan
    return data.queries(np.asarray(users)), Candidates(items, np.zeros(items.shape)).with_scores(scores)


def agreement(ranker, queries, teacher):
    """Share of pairs that a ranker orders as the teacher does."""
    blind = Candidates(np.sort(teacher.items, axis=1), np.zeros(teacher.items.shape))
    ranked = ranker.rank(queries, blind).items
    place = [[row.tolist().index(item) for item in best] for row, best in zip(ranked, teacher.items, strict=True)]
    return (np.array(place)[:, :, None] < np.array(place)[:, None, :])[:, *np.triu_indices(8, 1)].mean()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_factorisation_machine_orders_new_lists_of_new_users_as_its_teacher(planted, loss):
    data = planted.train
    features = KINDS.model_copy(update={"categories": ("user.kind", "item.kind", "item")})
    student = FM(FMConfig(features=features, embedding_dim=8, weight_decay=0, **{**FAST, "epochs": 60}))
    level = 0.0 if loss in {"mse", "bce"} else 9.0  # pointwise losses would learn it too
    teach(student, data, *taught(data, range(80), 1, level=level), LossConfig(loss=loss))
    assert agreement(student, *taught(data, range(80, 120), 2)) > 0.9


def test_a_linear_student_learns_what_is_linear_only(planted):
    config = LogisticConfig(features=IDS, **FAST)
    student = teach(LogisticRegression(config), planted.train, *taught(planted.train, range(80), 1))
    found = agreement(student, *taught(planted.train, range(80, 120), 2))
    assert 0.55 < found < 0.8  # low numbers first, but not whose kind


def test_a_taught_ranker_is_stored_as_any_other(planted, tmp_path):
    config = FMConfig(features=IDS, embedding_dim=4, epochs=2)
    student = teach(FM(config), planted.train, *taught(planted.train, range(20), 1))
    again = load_learned_ranker(student.save(tmp_path / "fm"))
    lists = taught(planted.train, range(5), 3)
    assert_same(again.rank(*lists), student.rank(*lists))
    assert again.config == student.config
    assert again.catalogue == student.catalogue


def test_what_is_learned_is_the_loss_of_what_it_serves(planted):
    """The loss of a batch is that of the scores that ``rank`` gives, padding and unscored candidates left out."""
    data = planted.train
    queries, teacher = taught(data, range(6), 1)
    items, scores = teacher.items.copy(), teacher.scores.copy()
    items[2, 5:], scores[2, 5:] = -1, np.nan
    scores[3, 4:] = np.nan
    queries, teacher, known = scored_lists(queries, Candidates(items, scores))
    config = DeepFMConfig(features=IDS, epochs=1, batch_size=3, dropout=0)
    student = teach(DeepFM(config), data, queries, teacher)
    rows = candidate_rows(queries, teacher)
    space, numbers = learn_features(data, rows, IDS, ExamplesConfig(), UNWATCHED)
    lessons = Lessons(Encoded(rows, numbers), teacher, known, student.config)
    assert lessons.steps == 2
    batch = lessons.batch(np.array([4, 2, 3]))
    ranked = student.rank(queries.select([4, 2, 3]), teacher.select([4, 2, 3]))
    own = dict(
        zip(
            zip(np.nonzero(ranked.items >= 0)[0], ranked.items[ranked.items >= 0], strict=True),
            ranked.scores[ranked.items >= 0],
            strict=True,
        )
    )
    for name, each in (("user", rows.users), ("item", rows.items)):
        flat = batch[name][batch["item"] >= 0]
        assert flat.tolist() == np.concatenate([each[rows.lists == one] for one in (4, 2, 3)]).tolist()
    flat = {name: torch.from_numpy(each).flatten(0, 1) for name, each in batch.items()}
    with torch.inference_mode():
        logits = student._net.logits(flat).reshape(batch["item"].shape).numpy()
    for row, place in np.argwhere(batch["item"] >= 0):
        assert logits[row, place] == pytest.approx(own[row, batch["item"][row, place]], abs=1e-5)
    assert batch["known"].sum(axis=1).tolist() == [8, 5, 4]
    assert space.number_names == ()
    assert len(row_logits(student._net, lessons.rows, 5)) == len(rows)


def test_unscored_candidates_and_short_lists_teach_nothing(planted):
    data = planted.train
    queries, teacher = taught(data, range(20), 1, scored=5)
    scores = teacher.scores.copy()
    scores[:10, 1:] = np.nan  # one score: nothing to compare
    config = FMConfig(features=IDS, embedding_dim=4, epochs=3)
    mse = LossConfig(loss="mse")  # the others leave the level of scores to chance
    one = teach(FM(config), data, queries, Candidates(teacher.items, scores), mse)
    rest = Candidates(teacher.items[10:, :5], scores[10:, :5])
    two = teach(FM(config), data, queries.select(slice(10, None)), rest, mse)
    lists = taught(data, range(20, 30), 3)
    np.testing.assert_allclose(one.rank(*lists).scores, two.rank(*lists).scores, rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_numbers_and_a_stopped_lesson_goes_on(planted, tmp_path):
    class Stopped(BaseException):
        pass

    def stop(done, _total, _text):
        if done == 5:
            raise Stopped

    lesson, config = taught(planted.train, range(20), 1), FNNConfig(features=IDS, hidden=(8,), epochs=3, batch_size=8)
    lists = taught(planted.train, range(20, 30), 3)
    whole, again = (teach(FNN(config), planted.train, *lesson, seed=4).rank(*lists) for _ in range(2))
    assert_same(whole, again)
    other = teach(FNN(config), planted.train, *lesson, seed=5).rank(*lists)
    assert not np.array_equal(whole.scores, other.scores)
    with pytest.raises(Stopped):
        teach(FNN(config), planted.train, *lesson, seed=4, watch=Watch(None, tmp_path, stop))
    assert_same(teach(FNN(config), planted.train, *lesson, seed=4, watch=Watch(None, tmp_path)).rank(*lists), whole)


def test_a_user_beyond_the_training_data_is_taught_as_an_unseen_one(planted):
    queries, teacher = taught(planted.train, range(10), 1)
    config = FMConfig(features=IDS, embedding_dim=4, epochs=2)
    lists = taught(planted.train, range(20, 30), 3)
    found = [
        teach(FM(config), planted.train, Queries(np.full(10, user, np.int32), queries.history), teacher).rank(*lists)
        for user in (-1, 120)
    ]
    assert_same(*found)


def test_bad_input_is_an_error(planted):
    data, student = planted.train, FM(FMConfig(features=IDS, embedding_dim=4, epochs=1))
    queries, teacher = taught(data, range(10), 1)
    unscored = Candidates(teacher.items, np.full(teacher.items.shape, np.nan))
    expect_error(DataError, lambda: teach(student, data, queries, unscored), "0 with two scored", "with its scores")
    short = queries.select(slice(0, 9))
    expect_error(DataError, lambda: teach(student, data, short, teacher), "10 lists for 9 queries")
    beyond = Candidates(np.array([[40, 3]]), np.array([[2.0, 1.0]]))
    expect_error(DataError, lambda: teach(student, data, queries.select([0]), beyond), "number 40", "0 to 39")
    wrong = FM(FMConfig(features=FeatureConfig(categories=("item.genre",)), epochs=1))
    expect_error(DataError, lambda: teach(wrong, data, queries, teacher), "genre")
    expect_error(ConfigError, lambda: teach(AutoRec(), data, queries, teacher), "AutoRec", "by gradients", "lr")
