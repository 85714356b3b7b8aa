"""Sorts by questions: right for every input, and asked together."""

from hypothesis import given
from hypothesis import strategies as st

from llmrec.rank.rounds import by_pairs, heap_order, in_rounds, sliding_order

values = st.lists(st.integers(0, 1000), min_size=1, max_size=25, unique=True)


def sort(order, worth):
    """Answer one sort's questions by worth; return its order and how many questions it had."""
    asked = 0

    def ask(questions):
        nonlocal asked
        asked += len(questions)
        return [max(range(len(members)), key=lambda place: worth[members[place]]) for _, members in questions]

    return in_rounds([order], ask)[0], asked


@given(worth=values, k=st.integers(1, 30), children=st.integers(2, 5))
def test_heap_sort_finds_the_best_in_order_and_leaves_the_others_as_they_were(worth, k, children):
    order, _ = sort(heap_order(len(worth), k, children), worth)
    best = sorted(range(len(worth)), key=lambda place: -worth[place])[:k]
    assert order == [*best, *sorted(set(range(len(worth))) - set(best))]


@given(worth=values, k=st.integers(1, 30))
def test_pairs_give_the_same_order_as_sets(worth, k):
    sizes = []

    def listening(order):
        replies = None
        while True:
            try:
                questions = order.send(replies)
            except StopIteration as stop:
                return stop.value
            sizes.extend(map(len, questions))
            replies = yield questions

    order, _ = sort(listening(by_pairs(heap_order(len(worth), k, 2))), worth)
    assert order == sort(heap_order(len(worth), k, 2), worth)[0]
    assert set(sizes) <= {2}


@given(worth=values, k=st.integers(1, 30))
def test_k_passes_bring_the_k_best_to_the_front(worth, k):
    order, asked = sort(sliding_order(len(worth), k), worth)
    assert sorted(order) == list(range(len(worth)))
    assert order[:k] == sorted(range(len(worth)), key=lambda place: -worth[place])[:k]
    passes = min(k, len(worth) - 1)
    assert asked == sum(len(worth) - 1 - done for done in range(passes))


def test_a_pass_keeps_the_order_of_those_that_do_not_win():
    assert sort(sliding_order(4, 1), [3, 1, 2, 4])[0] == [3, 0, 1, 2]


def test_heap_sort_asks_far_less_than_all_pairs():
    worth = [(place * 37) % 100 for place in range(100)]
    assert sort(heap_order(100, 10, 3), worth)[1] < 100


def test_all_sorts_are_asked_together_and_end_one_by_one():
    seen = []

    def counting(n):
        total = 0
        for number in range(n):
            total += sum((yield [number] * (number + 1)))
        return total

    def ask(questions):
        seen.append([number for number, _ in questions])
        return [question for _, question in questions]

    assert in_rounds([counting(0), counting(1), counting(3)], ask) == [0, 0, 0 + 2 + 6]
    assert seen == [[1, 2], [2, 2], [2, 2, 2]]
