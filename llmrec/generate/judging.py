"""Asking which of two texts fits a request better: in both orders, by the one token to come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from llmrec.errors import ConfigError
from llmrec.generate.contexts import OVERHEAD
from llmrec.prompts.labels import first_tokens
from llmrec.prompts.template import Template, clean_text, load_template
from llmrec.prompts.votes import Votes
from llmrec.protocols import Engine, Prompt

_NEEDED = {"document", "candidates"}


class PairJudge:
    """Asks an engine about pairs of texts.

    Texts and requests are cleaned line by line, since nobody vouches for them. A request that is too long for the
    model's context loses its last words, a text none.

    Args:
        engine: scores the labels.
        template: sees ``document`` (the request), ``candidates`` (the two texts) and their ``labels``.
        chat: take labels without the space before them.
        text_limit: at most so many characters of a request and of a text.

    Attributes:
        counts: requests ``shortened``, and pairs ``too_long`` to be asked.

    Raises:
        ConfigError: the template lacks what it needs, or its labels are not told by one token each.
    """

    def __init__(self, engine: Engine, template: str, *, chat: bool = False, text_limit: int = 4000) -> None:
        self.engine, self.template, self.text_limit = engine, load_template(template), text_limit
        self.counts: Counter[str] = Counter()
        self.labels = list(_labels(self.template))
        completions = [self.template.render_cleaned_answer(label) for label in self.labels]
        self.answers = first_tokens(engine, completions, self._prompt("", ["", ""]).user, chat=chat)

    def clean(self, text: str) -> str:
        """Return a text with each line cleaned, blank ones left out."""
        lines = (clean_text(line, limit=self.text_limit) for line in text.splitlines())
        return "\n".join(line for line in lines if line)[: self.text_limit].rstrip()

    def vote(self, requests: Sequence[str], pairs: Sequence[tuple[str, str]]) -> Votes:
        """Return what the engine prefers.

        Args:
            requests: n of them.
            pairs: n pairs of texts, as ``clean`` gave them.
        """
        asked: list[int] = []
        prompts: list[Prompt] = []
        for row, (request, (one, two)) in enumerate(zip(requests, pairs, strict=True)):
            words = self._fitting(self.clean(request), [one, two])
            if words is None:
                self.counts["too_long"] += 1
                continue
            asked.append(row)
            prompts += [self._prompt(words, [one, two]), self._prompt(words, [two, one])]
        odds = np.full((len(pairs), 2), np.nan)
        if asked:
            found = np.array(self.engine.logprobs(prompts, [self.answers] * len(prompts)), np.float64)
            odds[asked] = (found[:, 0] - found[:, 1]).reshape(-1, 2)
        return Votes(odds[:, 0], -odds[:, 1])

    def _prompt(self, request: str, texts: list[str]) -> Prompt:
        return self.template.render_cleaned({"document": request, "candidates": texts, "labels": self.labels})

    def _fitting(self, request: str, texts: list[str]) -> str | None:
        """Return a request with as many of its words as fit, None where not even one without words does."""
        if self._fits(request, texts):
            return request
        words = request.split(" ")
        fits, too_long = -1, len(words)
        while too_long - fits > 1:
            kept = (fits + too_long) // 2
            if self._fits(" ".join(words[:kept]), texts):
                fits = kept
            else:
                too_long = kept
        self.counts["shortened"] += fits > 0
        return " ".join(words[:fits]) if fits > 0 else None

    def _fits(self, request: str, texts: list[str]) -> bool:
        room, prompt = self.engine.context, self._prompt(request, texts)
        both = (prompt.system, prompt.user)
        # A token is at least a byte: most prompts are known to fit without being tokenised.
        if room is None or sum(len(text.encode("utf-8", "surrogatepass")) for text in both) + OVERHEAD < room:
            return True
        return sum(self.engine.count_tokens(both)) + OVERHEAD < room


def _labels(template: Template) -> tuple[str, ...]:
    labels, variables = template.labels or (), template.variables
    if template.answer != "continuation" or len(labels) < 2 or not variables >= _NEEDED:
        raise ConfigError(
            f"template {template.name!r} with answer {template.answer!r}, {len(labels)} labels and the variables "
            f"{', '.join(sorted(variables)) or 'none'}",
            expected="answer 'continuation', two labels, and the variables document and candidates",
            cure="take judge-pairwise, or mend the template",
        )
    return labels[:2]
