"""Small rows of preference: contexts, answers that are preferred and others."""

import numpy as np

LETTERS = "bcdfghjklmnpqrstvwxyz"


def pairs(n, *, seed=0, rejected=1, long=0):
    """Rows whose chosen answer is made of vowels and whose rejected ones are made of x, after some words.

    Args:
        n: how many.
        seed: of the words.
        rejected: how many rejected answers; with 1 a text, else a list.
        long: letters that chosen answers have more.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        context = "".join(rng.choice(list(LETTERS), 6)) + str(number)
        good = " " + "".join(rng.choice(list("aeiou"), rng.integers(3, 6) + long))
        bad = [" " + "x" * int(rng.integers(2, 6)) + "xyzk"[(number + place) % 4] for place in range(rejected)]
        answers = {"chosen": good, "rejected": bad[0] if rejected == 1 else bad}
        rows.append({"prompt": f"CV: {context}\nJob:", "system": "", **answers})
    return rows


def postings(n, *, seed=0, user=True):
    """Rows of a context, an answer and whether it suits."""
    rows = []
    for number, row in enumerate(pairs(n, seed=seed)):
        yes = number % 2 == 0
        about = {"user": f"u{number // 4}", "item": number} if user else {}
        answer = row["chosen"] if yes else row["rejected"]
        rows.append({"prompt": row["prompt"], "system": "", "completion": answer, "label": yes, **about})
    return rows
