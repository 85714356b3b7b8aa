"""Strategies that choose by one token: with a model that knows, each finds the order; with any model, a permutation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Oracle

from llmrec.config import Part
from llmrec.data import Candidates, Queries
from llmrec.errors import ConfigError, DataError, EngineError
from llmrec.llm.fake import FakeConfig, FakeEngine
from llmrec.rank.make import make_ranker
from llmrec.testing import TOY_TITLES, RankerContract, expect_error

TITLES = [f"Film {chr(65 + number)}" for number in range(26)]
SORTING = {
    "pointwise": {},
    "pairwise, all": {"method": "all"},
    "pairwise, heap": {"method": "heap", "k": 30},
    "pairwise, sliding": {"method": "sliding", "k": 30},
    "setwise": {"k": 30},
    "one-token": {"size": 26},
    "bootstrap": {"inner": {"name": "one-token", "size": 26}},
    "window": {"size": 26, "step": 3, "inner": {"name": "one-token", "size": 26}},
}
ALL = [*SORTING, "tournament", "likelihood", "likelihood, mean", "likelihood, calibrated", "window, short"]


def make(name, engine, titles=TITLES, train=None, **more):
    named = {
        "likelihood, mean": {"score": "mean"},
        "likelihood, calibrated": {"score": "calibrated"},
        "window, short": {"size": 2, "step": 1, "inner": {"name": "pointwise"}},
    }
    parameters = {**SORTING.get(name, named.get(name, {})), **more}
    return make_ranker(Part(name=name.split(",")[0], **parameters), engine, titles, train)


def one_row(items):
    return Queries.from_histories([()]), Candidates(np.array([items]), np.zeros((1, len(items))))


@pytest.mark.parametrize("name", ALL)
class TestContract(RankerContract):
    @pytest.fixture(autouse=True)
    def _name(self, name):
        self.name = name

    def make(self):
        return self.make_titled(TOY_TITLES)

    def make_titled(self, titles):
        return make(self.name, FakeEngine(), titles)

    def test_it_counts(self):
        ranker = self.make()
        ranker.rank(self.queries(), self.candidates())
        assert not +ranker.counts


@pytest.mark.parametrize("name", SORTING)
@settings(max_examples=25)
@given(order=st.permutations(range(26)), n=st.integers(1, 26), seed=st.integers(0, 9))
def test_with_a_model_that_knows_the_order_is_found(name, order, n, seed):
    items = np.random.default_rng(seed).permutation(26)[:n]
    ranked = make(name, Oracle([TITLES[item] for item in order])).rank(*one_row(items))
    assert ranked.items[0].tolist() == sorted(items.tolist(), key=order.index)


@settings(max_examples=25)
@given(order=st.permutations(range(26)), bias=st.floats(-50, 50))
def test_both_orders_of_a_pair_undo_a_liking_for_the_first_place(order, bias):
    ranked = make("pairwise, all", Oracle([TITLES[item] for item in order], bias)).rank(*one_row(range(6)))
    assert ranked.items[0].tolist() == sorted(range(6), key=order.index)


def test_the_probabilities_of_all_pairs_by_hand():
    ranked = make("pairwise, all", Oracle(TITLES)).rank(*one_row([1, 0, 2]))
    one, two = 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-2))  # worth differs by one place and by two
    np.testing.assert_allclose(ranked.scores[0], [(one + two) / 2, (1 - one + one) / 2, 1 - (one + two) / 2], rtol=1e-6)
    assert ranked.items[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "rounds", "prompts"),
    [
        ("pointwise", 1, 20),
        ("one-token", 1, 1),
        ("pairwise, all", 1, 20 * 19),
        ("bootstrap", 1, 3),
        ("tournament", None, 3 * (2 + 1 + 1)),
    ],
)
def test_how_much_is_asked(name, rounds, prompts):
    engine = Oracle(TITLES)
    make(name, engine).rank(*one_row(range(20)))
    assert sum(engine.asked) == prompts
    assert rounds is None or len(engine.asked) == rounds


def test_queries_are_asked_together():
    engine = Oracle(TITLES)
    queries = Queries.from_histories([()] * 7)
    items = np.tile(np.arange(12), (7, 1))
    make("setwise", engine).rank(queries, Candidates(items, np.zeros(items.shape)))
    alone = Oracle(TITLES)
    make("setwise", alone).rank(*one_row(range(12)))
    assert engine.asked == [7 * n for n in alone.asked]


@pytest.mark.parametrize("name", ["pairwise, heap", "pairwise, sliding", "setwise"])
def test_only_the_best_are_scored_and_the_others_keep_their_order(name):
    ranked = make(name, Oracle(TITLES), k=2).rank(*one_row([5, 4, 3, 2, 1]))
    assert ranked.items[0, :2].tolist() == [1, 2]
    np.testing.assert_array_equal(ranked.scores[0], [5, 4, np.nan, np.nan, np.nan])
    if name != "pairwise, sliding":  # passes move what they meet
        assert ranked.items[0].tolist() == [1, 2, 5, 4, 3]


@settings(max_examples=25)
@given(order=st.permutations(range(26)), seed=st.integers(0, 5))
def test_the_best_wins_every_tournament(order, seed):
    ranker = make("tournament", Oracle([TITLES[item] for item in order]), size=5, rounds=4, seed=seed)
    ranked = ranker.rank(*one_row(range(26)))
    scores = dict(zip(ranked.items[0].tolist(), ranked.scores[0].tolist(), strict=True))
    assert max(scores.values()) == scores[order[0]] == 4 * 3  # of 26 go on 12, then 6, then 2


def test_who_is_alone_in_a_group_goes_on_unasked():
    engine = Oracle(TITLES)
    ranked = make("tournament", engine, size=2, rounds=1).rank(*one_row(range(5)))
    assert engine.asked == [2, 1]  # five: two pairs and one alone; three: a pair and one alone
    assert ranked.scores[0, 0] == 2


@settings(max_examples=25)
@given(order=st.permutations(range(26)))
def test_a_window_carries_the_best_to_the_front(order):
    ranker = make("window", Oracle([TITLES[item] for item in order]), size=10, step=4)
    ranked = ranker.rank(*one_row(range(26)))
    assert ranked.items[0, :6].tolist() == order[:6]


def test_windows_of_rows_of_several_lengths():
    items = np.full((3, 9), -1)
    for row, length in enumerate((9, 4, 1)):
        items[row, :length] = np.arange(length)[::-1] + row
    queries, engine = Queries.from_histories([()] * 3), Oracle(TITLES)
    scores = np.where(items < 0, np.nan, 0)
    ranked = make("window", engine, size=4, step=2).rank(queries, Candidates(items, scores))
    assert ranked.items[0, :2].tolist() == [0, 1]
    assert ranked.items[1].tolist() == [1, 2, 3, 4, *[-1] * 5]
    assert ranked.items[2].tolist() == [2, *[-1] * 8]
    np.testing.assert_array_equal(ranked.scores[1], [4, 3, 2, 1, *[np.nan] * 5])


def test_borda_counts_by_hand():
    class Fickle(Oracle):
        """Likes the order in which it is shown: the rounds' own orders are what votes."""

        def _row(self, text, answers):
            self.shown = [*getattr(self, "shown", []), text.split("next?\n")[-1]]
            return -np.arange(len(answers), dtype=np.float32)

    engine = Fickle(TITLES)
    ranked = make("bootstrap", engine, rounds=5).rank(*one_row([3, 1, 2]))
    orders = [[line[3:] for line in text.splitlines() if ". Film" in line] for text in engine.shown]
    assert len(set(map(tuple, orders))) > 1
    points = {item: sum(2 - order.index(TITLES[item]) for order in orders) for item in (3, 1, 2)}
    assert ranked.items[0].tolist() == sorted((3, 1, 2), key=lambda item: -points[item])
    assert ranked.scores[0].tolist() == sorted(map(float, points.values()), reverse=True)


def test_calibration_takes_off_what_a_title_is_worth_without_a_history():
    queries, candidates = Queries.from_histories([(0, 1)]), Candidates(np.array([[2, 3]]), np.zeros((1, 2)))
    plain, calibrated = (
        make(name, FakeEngine()).rank(queries, candidates) for name in ("likelihood", "likelihood, calibrated")
    )
    alone = make("likelihood", FakeEngine()).rank(Queries.from_histories([()]), candidates)
    by_item = [dict(zip(each.items[0].tolist(), each.scores[0], strict=True)) for each in (plain, alone, calibrated)]
    for item in (2, 3):
        assert by_item[2][item] == pytest.approx(by_item[0][item] - by_item[1][item])


def test_a_mean_is_over_the_tokens_of_the_title():
    titles = ["Alien", "One two three four"]
    queries, candidates = Queries.from_histories([()]), Candidates(np.array([[0, 1]]), np.zeros((1, 2)))
    total, mean = (make(name, FakeEngine(), titles).rank(queries, candidates) for name in ALL[9:11])
    sums = dict(zip(total.items[0].tolist(), total.scores[0], strict=True))
    means = dict(zip(mean.items[0].tolist(), mean.scores[0], strict=True))
    assert means[0] == pytest.approx(sums[0] / 2)  # the line break is a token of the fake engine
    assert means[1] == pytest.approx(sums[1] / 5)


class TestExamples:
    @pytest.fixture
    def listening(self):
        class Listening(FakeEngine):
            heard = ()

            def logprobs(self, prompts, answers):
                self.heard = [prompt.user for prompt in prompts]
                return super().logprobs(prompts, answers)

            def generate(self, prompts, sampling):
                self.heard = [prompt.user for prompt in prompts]
                return super().generate(prompts, sampling)

        return Listening()

    @pytest.mark.parametrize("name", [*ALL, "listwise"])
    def test_they_are_of_training_users_and_solved(self, name, films, targets, candidates, listening):
        inner = {"window": "inner.", "bootstrap": "inner.", "window, short": "inner."}.get(name, "")
        if inner:
            parameters = dict(SORTING.get(name, {}) or {"size": 2, "step": 1})
            parameters["inner"] = {**parameters.get("inner", {"name": "pointwise"}), "examples": 2}
        else:
            parameters = {**SORTING.get(name, {}), "examples": 2}
        ranker = make(name, listening, films.titles(), films, **parameters)
        ranker.rank(targets.queries.select(slice(0, 3)), candidates.select(slice(0, 3)))
        shown = {text.rsplit("\n\n", 2)[0][:60] for text in listening.heard}
        assert len(shown) == 1, "all prompts begin with the same examples"
        titles = films.titles()
        order, starts = films.by_user
        lasts = [titles[films.interactions.items[order[end - 1]]] for end in starts[1:]]
        assert any(last in listening.heard[0] for last in lasts)

    def test_another_seed_draws_others_and_the_same_the_same(self, films, targets, candidates, listening):
        heard = []
        for seed in (0, 0, 1):
            ranker = make("one-token", listening, films.titles(), films, examples=2, seed=seed)
            ranker.rank(targets.queries.select(slice(0, 1)), candidates.select(slice(0, 1)))
            heard.append(listening.heard[0])
        assert heard[0] == heard[1] != heard[2]

    def test_without_training_data_they_are_refused(self):
        expect_error(ConfigError, lambda: make("pointwise", FakeEngine(), examples=1), "examples = 1", "training data")

    def test_more_than_there_are_users_are_refused(self, films):
        expect_error(
            DataError, lambda: make("pointwise", FakeEngine(), train=films, examples=99), "30 training users", "99"
        )


class TestContext:
    QUERIES = Queries.from_histories([tuple(range(20)), (1,)])
    CANDIDATES = Candidates(np.array([[20, 21], [22, 23]]), np.zeros((2, 2)))

    def test_a_history_is_cut_from_its_old_end_and_counted(self):
        class Listening(FakeEngine):
            def logprobs(self, prompts, answers):
                self.heard = [prompt.user for prompt in prompts]
                return super().logprobs(prompts, answers)

        engine = Listening(FakeConfig(context=64 + 40))
        ranker = make("one-token", engine)
        ranker.rank(self.QUERIES, self.CANDIDATES)
        assert ranker.counts == {"shortened": 1}
        assert TITLES[19] in engine.heard[0]
        assert TITLES[0] not in engine.heard[0]
        longer = len(engine.heard[0].split()) + 2  # one more title would have been too long
        assert len(engine.heard[0].split()) + 1 <= 40 < longer + 1
        assert TITLES[1] in engine.heard[1]

    def test_what_does_not_fit_without_a_history_either_is_an_error(self):
        ranker = make("one-token", FakeEngine(FakeConfig(context=64 + 10)))
        expect_error(EngineError, lambda: ranker.rank(self.QUERIES, self.CANDIDATES), "at most 74", "fewer candidates")

    def test_room_for_the_answer_counts(self):
        ranker = make("listwise", FakeEngine(FakeConfig(context=600)), max_tokens=100)
        ranker.rank(self.QUERIES, self.CANDIDATES)
        assert ranker.counts["shortened"] == 0
        ranker = make("listwise", FakeEngine(FakeConfig(context=600)), max_tokens=500)
        expect_error(EngineError, lambda: ranker.rank(self.QUERIES, self.CANDIDATES), "at most 600")


def test_fewer_labels_than_candidates_are_refused():
    expect_error(ConfigError, lambda: make("one-token", FakeEngine(), size=27), "26 labels", "27", "window")


def test_labels_of_several_tokens_are_refused(tmp_path):
    path = tmp_path / "words.yaml"
    path.write_text(
        'name: words\nversion: 1\ndescription: Words.\nuser: "{{ candidates }}"\nanswer: continuation\n'
        'continuation: " {{ candidate }}"\nlabels: ["the first", "the second"]\n'
    )
    expect_error(
        ConfigError, lambda: make("one-token", FakeEngine(), size=2, template=str(path)), "'the first'", "2 tokens"
    )


def test_windows_that_do_not_overlap_are_refused():
    expect_error(ConfigError, lambda: make("window", FakeEngine(), size=5, step=5), "overlap")
