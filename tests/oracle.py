"""An engine that knows what everybody wants: it reads the prompt and answers by a hidden order of titles."""

from __future__ import annotations

import re

import numpy as np

from llmrec.protocols import Usage

_LETTERED = re.compile(r"^([A-Z])\. (.+)$", re.MULTILINE)
_ASKED = re.compile(r'Is "(.+)" what I choose next')


class Oracle:
    """Answers the built-in templates of labels as somebody would who likes earlier titles of ``order`` more.

    Args:
        order: titles, best first.
        bias: added to the log-probability of the label A, as models do that like a place.
    """

    identity = "oracle"
    context = None

    def __init__(self, order, bias=0.0):
        self.worth = {title: -float(place) for place, title in enumerate(order)}
        self.bias, self.usage, self.asked = bias, Usage(), []

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]

    def logprobs(self, prompts, answers):
        self.asked.append(len(prompts))
        return [self._row(prompt.user, row) for prompt, row in zip(prompts, answers, strict=True)]

    def _row(self, text, answers):
        if (asked := _ASKED.findall(text)) and not _LETTERED.search(text):
            chance = 1 / (1 + np.exp(-self.worth[asked[-1]] - 3))
            values = {"yes": chance, "no": 1 - chance}
            return np.array([np.log(values[answer.strip()]) for answer in answers], np.float32)
        shown = dict(_LETTERED.findall(text.split("Which of these do I choose next?")[-1]))
        values = np.array([self.worth[shown[answer.strip()]] for answer in answers])
        values[0] += self.bias
        return (values - np.logaddexp.reduce(values)).astype(np.float32)
