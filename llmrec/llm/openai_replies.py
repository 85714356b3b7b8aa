"""What an OpenAI-compatible server answers: checked, and read into one form for chat and plain completions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, Field

_LEAST_MASS = 1e-6
"""Probability that rounding may leave over or take away."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of a server.

    Attributes:
        text: what was written; where the input was asked back, the input.
        finish: the server's word for why it ended, or empty.
        prompt_tokens: tokens read as the server counts them; None where it does not say.
        output_tokens: tokens written, likewise.
        first: log-probabilities of the most probable first tokens, by their text; empty where they are not served.
        tokens: the text of each token of ``text``, where log-probabilities were asked for.
        logprobs: the log-probability of each of them; None where the server gives none.
        offsets: where in ``text`` each of them begins, as the server counts.
    """

    text: str
    finish: str = ""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    first: Mapping[str, float] | None = None
    tokens: Sequence[str] = ()
    logprobs: Sequence[float | None] = ()
    offsets: Sequence[int] = ()


class _Counts(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Listed(BaseModel):
    token: str
    logprob: float


class _Position(BaseModel):
    top_logprobs: list[_Listed] = Field(default_factory=list)


class _ChatLogprobs(BaseModel):
    content: list[_Position] | None = None


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _ChatChoice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    logprobs: _ChatLogprobs | None = None


class _ChatReply(BaseModel):
    choices: list[_ChatChoice] = Field(min_length=1)
    usage: _Counts | None = None


class _TextLogprobs(BaseModel):
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    text_offset: list[int] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class _TextChoice(BaseModel):
    text: str
    finish_reason: str | None = None
    logprobs: _TextLogprobs | None = None


class _TextReply(BaseModel):
    choices: list[_TextChoice] = Field(min_length=1)
    usage: _Counts | None = None


def read_chat(data: object) -> Reply:
    """Return a chat completion.

    Raises:
        ValueError: it is none.
    """
    reply = _ChatReply.model_validate(data)
    choice, usage = reply.choices[0], reply.usage or _Counts()
    positions = (choice.logprobs and choice.logprobs.content) or []
    first: dict[str, float] = {}
    for listed in positions[0].top_logprobs if positions else ():
        first.setdefault(listed.token, listed.logprob)  # tokens of the same text: the more probable one comes first
    text = choice.message.content or choice.message.refusal or ""
    return Reply(text, choice.finish_reason or "", usage.prompt_tokens, usage.completion_tokens, first)


def read_text(data: object) -> Reply:
    """Return a plain completion.

    Raises:
        ValueError: it is none.
    """
    reply = _TextReply.model_validate(data)
    choice, usage = reply.choices[0], reply.usage or _Counts()
    logprobs = choice.logprobs or _TextLogprobs()
    return Reply(
        choice.text,
        choice.finish_reason or "",
        usage.prompt_tokens,
        usage.completion_tokens,
        first=(logprobs.top_logprobs or [None])[0],
        tokens=logprobs.tokens or (),
        logprobs=logprobs.token_logprobs or (),
        offsets=logprobs.text_offset or (),
    )


def score_echo(reply: Reply, answer: str) -> tuple[float, int] | None:
    """Return the log-probability of the answer at the end of an echoed text, and how many tokens it has.

    The tokens at the end whose texts make up the answer are its tokens: a server's offsets may count special tokens
    that the text does not show. Offsets are read where the texts of tokens are not what the text is made of.

    Returns:
        None where no token begins with the answer, or one of its tokens has no log-probability.
    """
    start = _start_by_texts(reply.tokens, answer)
    if start is None:
        start = _start_by_offsets(reply, answer)
    values = [] if start is None else list(reply.logprobs[start : len(reply.tokens)])
    known = [value for value in values if value is not None and math.isfinite(value)]
    return (sum(known), len(known)) if known and len(known) == len(values) else None


def score_first(listed: Mapping[str, float], answer: str) -> tuple[float, bool]:
    """Return the log-probability that a chat reply begins with a one-token answer, and whether the answer is listed.

    White space around tokens and answers does not count: the same answer may follow a line break or stand alone, and
    these probabilities add up. An answer that is not listed has at most the probability of the last one that is, and at
    most what the listed ones leave over: the smaller bound is returned.
    """
    same = [value for token, value in listed.items() if token.strip() == answer.strip()]
    if same:
        return min(float(np.logaddexp.reduce(same)), 0.0), True
    left_over = 1 - sum(map(math.exp, listed.values()))
    return min(*listed.values(), math.log(max(left_over, _LEAST_MASS))), False


def _start_by_texts(tokens: Sequence[str], answer: str) -> int | None:
    start, rest = len(tokens), answer
    while start and rest and rest.endswith(tokens[start - 1]):
        start -= 1
        rest = rest[: len(rest) - len(tokens[start])]
    while start and not rest and not tokens[start - 1]:  # bytes of a character that the next token completes
        start -= 1
    return start if answer and not rest else None


def _start_by_offsets(reply: Reply, answer: str) -> int | None:
    place, offsets = len(reply.text) - len(answer), list(reply.offsets)
    whole = len(offsets) == len(reply.tokens) and offsets == sorted(offsets) and offsets[-1:] < [len(reply.text)]
    return offsets.index(place) if whole and place in offsets else None
