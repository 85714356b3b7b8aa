"""Which prompts and answers are computed together: runs of them that begin with the same tokens."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Owner = tuple[int, int]
_WIDEST = 64
"""Prompts that share one computation at most: their tails are kept in memory together."""


@dataclass(frozen=True, slots=True)
class Read:
    """One log-probability to read off.

    Attributes:
        place: after which token, in the prefix or in the tail.
        token: the token whose log-probability is meant.
        owners: the (prompt, answer) pairs that it counts for.
    """

    place: int
    token: int
    owners: list[Owner]


@dataclass(slots=True)
class Group:
    """Prompts with their answers that begin alike.

    Attributes:
        prefix: tokens that all of them begin with; never none.
        tails: distinct tokens that are read behind the prefix, of which none is empty.
        from_prefix: what is read off the prefix.
        from_tails: what is read off each tail.
        prompt_tokens: tokens of prompts that are computed.
    """

    prefix: list[int]
    tails: list[list[int]] = field(default_factory=list)
    from_prefix: list[Read] = field(default_factory=list)
    from_tails: list[list[Read]] = field(default_factory=list)
    prompt_tokens: int = 0

    @property
    def answer_tokens(self) -> int:
        """Tokens of answers that are scored; what answers begin with alike counts once where it is computed once."""
        return len(self.from_prefix) + sum(map(len, self.from_tails))

    @classmethod
    def of(cls, members: Sequence[tuple[int, list[int], list[list[int]]]]) -> Group:
        """Return the group of (number, tokens, tokens of each answer) of prompts that have at least one answer."""
        texts = [
            ((number, place), prompt + answer, len(prompt))
            for number, prompt, answers in members
            for place, answer in enumerate(answers)
        ]
        shared = min(_common(texts[0][1], ids) for _, ids, _ in texts)
        group = cls(texts[0][1][: min(shared, *(len(ids) - 1 for _, ids, _ in texts))])
        group.prompt_tokens = min(len(group.prefix), *(start for _, _, start in texts))
        numbers: dict[tuple[int, ...], int] = {}
        reads: dict[tuple[int, int, int], Read] = {}
        for owner, ids, start in texts:
            tail = tuple(ids[len(group.prefix) : -1])
            if tail and tail not in numbers:
                numbers[tail] = len(numbers)
                group.prompt_tokens += max(0, start - len(group.prefix))
            group._ask(owner, ids, start, numbers.get(tail, -1), reads)
        group.tails = [list(tail) for tail in numbers]
        return group

    def _ask(
        self, owner: Owner, ids: list[int], start: int, tail: int, reads: dict[tuple[int, int, int], Read]
    ) -> None:
        """Note what has to be read off for the tokens of ``ids`` from ``start`` on, each log-probability once."""
        if tail == len(self.from_tails):
            self.from_tails.append([])
        for place in range(start, len(ids)):
            # The token at a place is read off the one before it.
            within = place <= len(self.prefix)
            key = (-1, place - 1, ids[place]) if within else (tail, place - 1 - len(self.prefix), ids[place])
            if key not in reads:
                reads[key] = Read(key[1], key[2], [])
                (self.from_prefix if within else self.from_tails[tail]).append(reads[key])
            reads[key].owners.append(owner)


def group_prompts(prompts: Sequence[list[int]], answers: Sequence[Sequence[list[int]]]) -> list[Group]:
    """Return groups of neighbouring prompts, cut where that computes the fewest tokens.

    Args:
        prompts: tokens of each prompt, never none.
        answers: tokens of each answer to each prompt; a prompt without answers is in no group.
    """
    asked = [number for number, row in enumerate(answers) if row]
    alike = [_common(prompts[left], prompts[right]) for left, right in pairwise(asked)]
    # Behind what a group shares, the rest of a prompt is read once for each of its distinct answers (their last token
    # is not read); alone, a prompt is read once. What answers read is the same either way.
    repeats = [len({tuple(ids[:-1]) for ids in answers[number]}) for number in asked]
    cost, cuts = [0] + [sys.maxsize] * len(asked), [0] * (len(asked) + 1)
    for end in range(1, len(asked) + 1):
        shared, times, read = len(prompts[asked[end - 1]]), 0, 0
        for start in range(end - 1, max(-1, end - 1 - _WIDEST), -1):
            length = len(prompts[asked[start]])
            shared = min(shared, alike[start]) if start < end - 1 else shared
            times, read = times + repeats[start], read + repeats[start] * length
            tokens = cost[start] + (length if start == end - 1 else shared + read - times * shared)
            if tokens < cost[end]:
                cost[end], cuts[end] = tokens, start
            if not shared:
                break
    groups, end = [], len(asked)
    while end:
        members = [(number, prompts[number], list(answers[number])) for number in asked[cuts[end] : end]]
        groups.append(Group.of(members))
        end = cuts[end]
    return groups[::-1]


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many tokens two texts begin with alike."""
    for place, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return place
    return min(len(left), len(right))
