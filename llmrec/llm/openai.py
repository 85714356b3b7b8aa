"""The openai engine: any server that speaks OpenAI's protocol, be it vLLM's or a vendor's."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, SecretStr

from llmrec.config import Config
from llmrec.errors import ConfigError
from llmrec.llm.openai_replies import Reply
from llmrec.llm.openai_scoring import AnswerScorer
from llmrec.llm.openai_server import Failure, Request, Server
from llmrec.llm.permutation import refuse_permutation
from llmrec.protocols import Completion, FloatArray, Prompt, Sampling, Usage

_VENDOR = "https://api.openai.com/v1"
_PIECE = re.compile(r"\d| ?[^\W\d_]+| ?[^\w\s]+|\s+|_+")
_PIECE_BYTES = 6
"""Bytes of a word or of a run of signs that one token is taken to hold."""


class OpenAIConfig(Config):
    """How an OpenAI-compatible server is asked."""

    model: str = Field(min_length=1)
    """The model's name on the server."""
    base_url: str | None = None
    """Where the server is, mostly ending in /v1; null for the environment's OPENAI_BASE_URL, else OpenAI's own."""
    key_variable: str = Field("OPENAI_API_KEY", min_length=1)
    """The environment variable that holds the key; it may be unset for a server that needs none."""
    chat: bool = True
    """Chat completions; false for plain completions, with which vLLM scores answers of any length."""
    concurrency: int = Field(16, ge=1)
    """Requests at the same time."""
    retries: int = Field(5, ge=0)
    """How often a request is tried again: rate limits, errors of the server, lost connections, time-outs."""
    timeout: float = Field(300.0, gt=0)
    """Seconds to wait for an answer."""
    context: int | None = Field(None, ge=1)
    """Tokens that a prompt may have with its answer, by estimate; null for any number."""


class OpenAIEngine:
    """A model behind an OpenAI-compatible server.

    A request that fails after its retries is a row that failed (a completion that says why, a score that is NaN), which
    no cache keeps: the next run asks it again. There is no tokenizer, so ``count_tokens`` is an estimate; usage is what
    the server counts.

    On a chat server an answer that is not among the 20 most probable first tokens gets an upper bound of its
    log-probability: such answers come behind all that are listed, and tie.

    Args:
        config: model, address, how it is asked.

    Raises:
        MissingPackageError: the SDK is not installed.
        ConfigError: no address, one with a secret in it, or a key that no header can carry.
        EngineError: the key is refused, the model or the address is not there, no request of a call was answered, an
            answer is empty, the server cannot score the answers, or a permutation is asked for.
    """

    config_class = OpenAIConfig

    def __init__(self, config: OpenAIConfig) -> None:
        self.config = config
        self.usage = Usage()
        self._server = Server(
            config.base_url or os.environ.get("OPENAI_BASE_URL") or _VENDOR,
            _key(config.key_variable),
            key_variable=config.key_variable,
            model=config.model,
            chat=config.chat,
            concurrency=config.concurrency,
            retries=config.retries,
            timeout=config.timeout,
        )
        self._scorer = AnswerScorer(self._server, self.count_tokens)

    @property
    def identity(self) -> str:
        """Engine, address and model; what the server serves under that name is its own affair."""
        return f"openai/{self._server.name}"

    @property
    def context(self) -> int | None:
        """As configured."""
        return self.config.context

    @property
    def unlisted(self) -> int:
        """Answers that got an upper bound so far."""
        return self._scorer.unlisted

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return about how many tokens each text has: one for a short word with its space, a digit, a sign."""
        return [
            sum(-(-len(piece.encode("utf-8", "surrogatepass")) // _PIECE_BYTES) for piece in _PIECE.findall(text))
            for text in texts
        ]

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Completion]:
        """Return one completion for each prompt; ``finish`` is ``error`` where the server gave none."""
        refuse_permutation(sampling, self.identity)
        start = time.perf_counter()
        settings: dict[str, object] = {"max_tokens": sampling.max_tokens, "temperature": sampling.temperature}
        if sampling.temperature > 0:
            settings |= {"top_p": sampling.top_p, "seed": sampling.seed}
        if sampling.stop:
            settings["stop"] = list(sampling.stop)
        replies = self._server.ask([Request(prompt, settings) for prompt in prompts])
        self._server.require_one(replies)
        completions = [self._completion(prompt, reply) for prompt, reply in zip(prompts, replies, strict=True)]
        self.usage += Usage(
            prompts=len(prompts),
            prompt_tokens=sum(one.prompt_tokens for one in completions),
            output_tokens=sum(one.output_tokens for one in completions),
            submitted_tokens=sum(one.prompt_tokens + one.output_tokens for one in completions),
            cache_misses=len(prompts),
            seconds=time.perf_counter() - start,
        )
        return completions

    def logprobs(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[FloatArray]:
        """Return the natural log-probability of each answer after its prompt, float32 (n_answers,) a prompt.

        NaN where the request failed. On a chat server: that the reply begins with the answer, whatever white space
        stands before it.
        """
        start = time.perf_counter()
        scores, spent = self._scorer.score(prompts, answers)
        n_answers, seconds = sum(map(len, scores)), time.perf_counter() - start
        self.usage += spent + Usage(prompts=len(prompts), cache_misses=n_answers, seconds=seconds)
        return scores

    def _completion(self, prompt: Prompt, reply: Reply | Failure) -> Completion:
        if isinstance(reply, Failure):
            return Completion("", finish="error", error=reply.error)
        read, written = reply.prompt_tokens, reply.output_tokens
        if read is None:
            read = sum(self.count_tokens([prompt.system, prompt.user]))
        if written is None:
            written = self.count_tokens([reply.text])[0]
        if reply.finish == "content_filter":
            return Completion("", read, written, "error", "the server's content filter kept the answer back")
        finish: Literal["stop", "length"] = "length" if reply.finish == "length" else "stop"
        return Completion(reply.text, read, written, finish)


def _key(variable: str) -> SecretStr:
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(
            f"the key in environment variable {variable}",
            expected="printable ASCII without spaces",
            cure=f"set {variable} again",
        )
    return SecretStr(key)
