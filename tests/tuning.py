"""Small tuning runs: rows about letters, and recipes of them for the tiny model."""

import json

import numpy as np

TEMPLATE = "Does Ann like {}?\n"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def questions(n, *, seed=0, system="", user=False):
    """Rows of a question about some letters, whose answer is yes where the first one is a vowel."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        word = "".join(rng.choice(list(LETTERS), rng.integers(2, 9)))
        yes = number % 2 == 0
        word = str(rng.choice(list("aeiou" if yes else "xzqwk"))) + word
        row = {"prompt": TEMPLATE.format(word), "system": system, "completion": "Yes." if yes else "No.", "label": yes}
        rows.append(row | ({"user": f"u{number % 5}", "item": number} if user else {}))
    return rows


def titles(n, *, seed=0):
    """Rows of a list of words and the next one."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list(LETTERS), rng.integers(1, 7))) + str(place) for place in range(4 * n)]
    return [
        {
            "prompt": "\n".join(words[4 * row : 4 * row + 3]) + "\n",
            "system": "",
            "completion": f"{words[4 * row + 3]}\n",
        }
        for row in range(n)
    ]


def save(path, rows):
    """Write rows as JSON lines; return the path."""
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def source(path, made, **more):
    """A recipe's source with these rows."""
    return {"file": str(save(path, made)), **more}
