"""Made vectors of contexts, items and generated texts, and files of pairs in words."""

import json

import numpy as np
import polars as pl

from llmrec.generate.enhance_pairs import Pairs
from llmrec.generate.enhance_vectors import Vectors

GROUPS, DIM, EACH = 4, 8, 40
"""Groups that contexts and items are of, numbers in a vector, contexts of a part."""


def made(telling: str, *, seed: int = 0) -> tuple[Vectors, dict[str, Pairs]]:
    """Return vectors and pairs: an item suits the contexts of its group, and only ``telling`` says which that is.

    Contexts of the three parts differ. The vectors of the other one, ``contexts`` or ``generated``, are noise.
    """
    rng = np.random.default_rng(seed)
    kinds = np.eye(DIM, dtype=np.float32)[:GROUPS]
    groups, items = rng.integers(0, GROUPS, 3 * EACH), np.arange(24) % GROUPS

    def near(chosen: np.ndarray) -> np.ndarray:
        return (kinds[chosen] + rng.normal(0, 0.15, (len(chosen), DIM))).astype(np.float32)

    noise = rng.normal(0, DIM**-0.5, (len(groups), DIM)).astype(np.float32)
    told = near(groups)
    vectors = Vectors(
        contexts=told if telling == "contexts" else noise,
        items=near(items),
        generated=told if telling == "generated" else noise,
    )
    parts = {}
    for place, part in enumerate(("train", "valid", "test")):
        contexts = np.repeat(np.arange(place * EACH, (place + 1) * EACH), len(items)).astype(np.int32)
        asked = np.tile(np.arange(len(items)), EACH).astype(np.int32)
        parts[part] = Pairs(contexts, asked, groups[contexts] == items[asked])
    return vectors, parts


WORDS = ("baker bread oven", "nurse ward care", "pilot plane sky")


def write_pairs(folder, *, users: int = 12, known: bool = True) -> dict[str, str]:
    """Write labelled examples of three parts and return their paths; a CV says no more than who it is of."""
    paths = {}
    for part in ("train", "valid", "test"):
        rows = []
        for number in range(users):
            for kind, words in enumerate(WORDS):
                row = {
                    "prompt": f"Write a posting.\n\nCV:\nperson {part}{number}\n\nPosting:",
                    "system": "Write a posting.",
                    "completion": f"\n{words} wanted",
                    "label": kind == number % len(WORDS),
                }
                rows.append(row | ({"user": f"{part}-{number}", "item": kind} if known else {}))
        paths[part] = str(folder / f"{part}.jsonl")
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return paths


def write_texts(path, *, users: int = 12, parts=("train", "valid", "test"), without=(), more=()) -> str:
    """Write a generated text for each person, with the words of the posting that suits; and further rows."""
    rows = [
        {
            "user": f"{part}-{number}",
            "prompt": f"Write a posting.\n\nCV:\nperson {part}{number}\n\nPosting:",
            "text": f" {WORDS[number % len(WORDS)]}",
        }
        for part in parts
        for number in range(users)
        if f"{part}-{number}" not in without
    ]
    pl.DataFrame([*rows, *more]).write_parquet(path)
    return str(path)
