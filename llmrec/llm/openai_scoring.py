"""How the answers of an OpenAI-compatible server are scored: from the list of first tokens, or by an echo.

A plain completions server that repeats its input with log-probabilities (``echo``: vLLM does) scores any answer
exactly, one request an answer. Answers of one token are first looked up among the most probable first tokens: one
request for all answers of a prompt, and nothing of it computed twice. A chat server has that list only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from llmrec.errors import EngineError
from llmrec.llm.openai_replies import Reply, score_echo, score_first
from llmrec.llm.openai_server import Failure, Request, Server
from llmrec.protocols import FloatArray, Prompt, Usage

log = logging.getLogger(__name__)

_LISTED = 20
"""Most probable first tokens that are asked for: as many as OpenAI's chat and vLLM allow."""
_FIRST = {"max_tokens": 1, "temperature": 0}
_ECHO = {"max_tokens": 0, "temperature": 0, "echo": True, "logprobs": 0}
_GENERATE = "use listwise or another strategy that reads generated text"

Scores = list[FloatArray]
Answers = Sequence[Sequence[str]]
Singles = NDArray[np.bool_]


class AnswerScorer:
    """Scores answers on a server.

    Args:
        server: who is asked.
        count_tokens: tells answers of one token from longer ones.

    Attributes:
        unlisted: answers of a chat server that got an upper bound so far.
    """

    def __init__(self, server: Server, count_tokens: Callable[[Sequence[str]], list[int]]) -> None:
        self.server, self.count_tokens = server, count_tokens
        self.unlisted = 0

    def score(self, prompts: Sequence[Prompt], answers: Answers) -> tuple[Scores, Usage]:
        """Return the log-probabilities of each prompt's answers, NaN where a request failed, and the tokens spent.

        Raises:
            EngineError: an answer is empty or too long for the server, it gives no log-probabilities, or no request was
                answered.
        """
        scores = [np.full(len(row), np.nan, np.float32) for _, row in zip(prompts, answers, strict=True)]
        single = [np.array(self.count_tokens(row)) == 1 for row in answers]
        self._check(answers, single)
        replies, spent = self._look_up(prompts, answers, scores, single)
        if not self.server.chat:
            todo = [
                (row, int(place))
                for row, each in enumerate(single)
                for place in np.flatnonzero(np.isnan(scores[row]) & ~(each & isinstance(replies.get(row), Failure)))
            ]
            echoed, cost = self._echo(prompts, answers, scores, todo)
            spent += cost
        else:
            echoed = []
        if all(np.isnan(row).all() for row in scores):
            self.server.require_one([one for one in (*replies.values(), *echoed) if isinstance(one, Failure)])
        return scores, spent

    def _look_up(
        self, prompts: Sequence[Prompt], answers: Answers, scores: Scores, single: Sequence[Singles]
    ) -> tuple[dict[int, Reply | Failure], Usage]:
        """Fill in what the lists of first tokens say; return the replies by row."""
        rows = [row for row, each in enumerate(single) if each.any()]
        wanted = {"logprobs": True, "top_logprobs": _LISTED} if self.server.chat else {"logprobs": _LISTED}
        replies = self.server.ask([Request(prompts[row], {**_FIRST, **wanted}) for row in rows])
        spent = Usage()
        for row, reply in zip(rows, replies, strict=True):
            if isinstance(reply, Failure):
                continue
            found = self._chat(reply, answers[row]) if self.server.chat else _exact(reply, answers[row])
            # Longer answers are left to the echo: a score must not depend on what else is asked.
            scores[row][single[row]] = np.array(found, np.float32)[single[row]]
            n_found, read = int(np.isfinite(scores[row]).sum()), reply.prompt_tokens or 0
            spent += Usage(
                prompt_tokens=read, output_tokens=reply.output_tokens or 1, submitted_tokens=(read + 1) * n_found
            )
        return dict(zip(rows, replies, strict=True)), spent

    def _chat(self, reply: Reply, answers: Sequence[str]) -> list[float]:
        if not reply.first:
            raise self._without_scores("lists no log-probabilities")
        found = [score_first(reply.first, answer) for answer in answers]
        bounds = sum(not exact for _, exact in found)
        if bounds and not self.unlisted:
            log.warning(
                "%s: answers that are not among the %d most probable first tokens get an upper bound, and tie",
                self.server.name,
                _LISTED,
            )
        self.unlisted += bounds
        return [score for score, _ in found]

    def _echo(
        self, prompts: Sequence[Prompt], answers: Answers, scores: Scores, todo: Sequence[tuple[int, int]]
    ) -> tuple[list[Reply | Failure], Usage]:
        """Fill in the scores of (row, place), by a request each that has prompt and answer repeated."""
        replies = self.server.ask([Request(prompts[row], _ECHO, answers[row][place]) for row, place in todo])
        spent = Usage()
        for number, (row, place) in enumerate(todo):
            reply, answer = replies[number], answers[row][place]
            if isinstance(reply, Failure):
                continue
            if not (reply.tokens and reply.text.endswith(answer)):
                raise self._without_scores("does not repeat its input with log-probabilities")
            found = score_echo(reply, answer)
            if found is None:
                replies[number] = _spanning(answer)
                continue
            scores[row][place], n_tokens = found
            read = max((reply.prompt_tokens or len(reply.tokens)) - n_tokens, 0)
            spent += Usage(prompt_tokens=read, output_tokens=n_tokens, submitted_tokens=read + n_tokens)
        return replies, spent

    def _check(self, answers: Answers, single: Sequence[Singles]) -> None:
        for row, each in zip(answers, single, strict=True):
            if not all(row):
                raise EngineError("an empty answer", expected="text to score", cure="drop candidates without a title")
            if self.server.chat and not each.all():
                raise EngineError(
                    f"answer {row[int(np.argmin(each))]!r} is more than one token for a chat server",
                    expected="answers of one token: the labels of one-token, pairwise, setwise and pointwise",
                    cure=f"use one of these strategies, {_GENERATE}, or chat=false on a server with echo (vLLM)",
                )

    def _without_scores(self, why: str) -> EngineError:
        chat = self.server.chat
        return EngineError(
            f"{self.server.url}{self.server.path} {why}",
            expected="a server that scores answers" + ("" if chat else " (echo with logprobs, as vLLM has)"),
            cure=_GENERATE + ("" if chat else ", or chat=true for answers of one token"),
        )


def _exact(reply: Reply, answers: Sequence[str]) -> list[float]:
    """Return what is listed of the answers, NaN for the others."""
    return [(reply.first or {}).get(answer, np.nan) for answer in answers]


def _spanning(answer: str) -> Failure:
    return Failure(
        f"no token begins with the answer {answer!r}",
        "end the prompt without a space, and begin answers with one or after a line break",
        of_server=False,
    )
