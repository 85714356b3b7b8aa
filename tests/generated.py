"""Small files of generated texts, and engines that know what they are to say."""

import json

import numpy as np
import polars as pl

from llmrec.generate.describe import TEXTS
from llmrec.llm.fake import FakeEngine
from llmrec.protocols import Completion

CONTEXTS = [
    {"prompt": "Write.\n\nAnn nurses at night.\nJob:", "system": "Write.", "user": "ann", "completion": " Nurse"},
    {"prompt": "Write.\n\nBob cooks soups.\nJob:", "system": "Write.", "user": "bob", "completion": " Cook"},
    {"prompt": "Write.\n\nEve flies.\nJob:", "system": "Write.", "user": "eve", "completion": " Pilot"},
]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def texts(rows, **columns):
    """A table as ``llmrec generate`` writes it, of (prompt, text) or (prompt, text, finish) rows; columns on top."""
    seen, table = {}, []
    for prompt, text, *finish in rows:
        context = seen.setdefault(prompt, [len(seen), 0])
        table.append(
            {
                "context": context[0],
                "user": prompt,
                "system": "",
                "prompt": prompt,
                "sample": context[1],
                "text": text,
                "tokens": len(text.split()),
                "finish": finish[0] if finish else "stop",
            }
        )
        context[1] += 1
    return pl.DataFrame(table, schema=TEXTS).with_columns(**columns)


class Told(FakeEngine):
    """An engine that writes what it is told: a function of the prompt and the sampling."""

    def __init__(self, write, config=None):
        super().__init__(config)
        self.write, self.asked = write, []

    def generate(self, prompts, sampling):
        self.asked += [(prompt, sampling) for prompt in prompts]
        return [
            one if isinstance(one := self.write(prompt, sampling), Completion) else Completion(one, 1, len(one.split()))
            for prompt in prompts
        ]


class Opinionated(FakeEngine):
    """A judge whose log-odds of the first label are a function of the two texts that it reads."""

    def __init__(self, odds, config=None):
        super().__init__(config)
        self.odds, self.asked = odds, []

    def logprobs(self, prompts, answers):
        self.asked += zip(prompts, answers, strict=True)
        return [np.array([self.odds(*shown(prompt)), 0], np.float32) for prompt in prompts]


def shown(prompt):
    """The two texts of a prompt of judge-pairwise, the one that stands first in front."""
    first, second = prompt.user.split("\nText A:\n")[1].split("\n\nThe text that fits")[0].split("\n\nText B:\n")
    return first.strip(), second.strip()
