"""Sorting by questions to a model: every user's sort goes on until it needs answers; all are asked together."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

Question = TypeVar("Question")
Reply = TypeVar("Reply")
Result = TypeVar("Result")
Sets = Generator[list[tuple[int, ...]], list[int], list[int]]
"""Asks which of a few candidates is the best, takes places in the sets, returns candidates in order."""


def in_rounds(
    sorts: Sequence[Generator[list[Question], list[Reply], Result]],
    ask: Callable[[list[tuple[int, Question]]], Sequence[Reply]],
) -> list[Result]:
    """Return what each sort returns.

    Args:
        sorts: each yields lists of questions and is sent their replies.
        ask: called with (number of the sort, question) for the questions of all sorts that still run.
    """
    results: dict[int, Result] = {}
    waiting: dict[int, list[Question]] = {}

    def go_on(number: int, replies: list[Reply] | None) -> None:
        try:
            sort = sorts[number]
            waiting[number] = next(sort) if replies is None else sort.send(replies)
        except StopIteration as stop:
            results[number] = stop.value

    for number in range(len(sorts)):
        go_on(number, None)
    while waiting:
        asked, waiting = waiting, {}
        replies = iter(ask([(number, question) for number, questions in asked.items() for question in questions]))
        for number, questions in asked.items():
            go_on(number, [next(replies) for _ in questions])
    return [results[number] for number in range(len(sorts))]


def heap_order(n: int, k: int, children: int) -> Sets:
    """Return the k best of n candidates by heap sort, then the others as they were.

    A node has ``children`` children, so a question is about ``children`` + 1 candidates at most, the parent first.

    Paper: Zhuang et al., A Setwise Approach for Effective and Highly Efficient Zero-shot Ranking with Large Language
    Models, SIGIR 2024.
    """
    heap = list(range(n))
    for node in range((n - 2) // children, -1, -1):
        yield from _sift(heap, node, children)
    best: list[int] = []
    while heap and len(best) < k:
        best.append(heap[0])
        last = heap.pop()
        if heap:
            heap[0] = last
            if len(best) < k:
                yield from _sift(heap, 0, children)
    return [*best, *sorted(set(range(n)) - set(best))]


def _sift(heap: list[int], node: int, children: int) -> Sets:
    while (first := children * node + 1) < len(heap):
        places = [node, *range(first, min(first + children, len(heap)))]
        chosen = places[(yield [tuple(heap[place] for place in places)])[0]]
        if chosen == node:
            break
        heap[node], heap[chosen] = heap[chosen], heap[node]
        node = chosen
    return heap


def sliding_order(n: int, k: int) -> Sets:
    """Return n candidates after k passes from the end to the front in which the better of two neighbours moves up."""
    order = list(range(n))
    for done in range(min(k, n - 1)):
        for place in range(n - 2, done - 1, -1):
            if (yield [(order[place], order[place + 1])])[0]:
                order[place], order[place + 1] = order[place + 1], order[place]
    return order


def by_pairs(order: Sets) -> Sets:
    """Return the same order from questions about two candidates at a time: the winner meets the next one."""
    try:
        sets = next(order)
        while True:
            chosen = []
            for members in sets:
                best = 0
                for place in range(1, len(members)):
                    if (yield [(members[best], members[place])])[0]:
                        best = place
                chosen.append(best)
            sets = order.send(chosen)
    except StopIteration as stop:
        found: list[int] = stop.value
        return found
