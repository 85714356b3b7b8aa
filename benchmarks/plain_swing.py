"""Swing as it is published in textbooks: a loop over item pairs, a loop over their users, an intersection of sets.

The peer that ``benchmarks/funrec.py --speed`` measures Swing against: FunRec's algorithm, written anew. As there, each
pair of users is counted in both orders.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence


def plain_swing(users: Sequence[int], items: Sequence[int], alpha: float) -> dict[tuple[int, int], float]:
    """Return the similarity of each two items (the lower number first) that two users or more had."""
    items_of: dict[int, set[int]] = defaultdict(set)
    users_of: dict[int, set[int]] = defaultdict(set)
    for user, item in zip(users, items, strict=True):
        items_of[user].add(item)
        users_of[item].add(user)
    weights = {user: 1 / math.sqrt(len(had)) for user, had in items_of.items()}
    pairs = set()
    for had in items_of.values():
        ordered = sorted(had)
        pairs.update((one, two) for place, one in enumerate(ordered) for two in ordered[place + 1 :])
    found = {}
    for one, two in pairs:
        both = users_of[one] & users_of[two]
        if len(both) < 2:
            continue
        score = 0.0
        for u in both:
            for v in both:
                if u != v:
                    score += weights[u] * weights[v] / (alpha + len(items_of[u] & items_of[v]))
        found[one, two] = score
    return found
