"""Many requests to one OpenAI-compatible server: a few at a time, tried again where that helps, failures told apart."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError

from llmrec.errors import ConfigError, EngineError, require
from llmrec.llm.openai_replies import Reply, read_chat, read_text
from llmrec.protocols import Prompt

T = TypeVar("T")
_PATIENCE = 16
"""Failures of the server in a row, each after its retries, behind which the rest of a call is not asked."""
_LONGEST = 200
"""Characters of a server's own words that are shown."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked.

    Attributes:
        prompt: the prompt.
        settings: what else the server is told.
        answer: text behind the prompt, where completions are plain.
    """

    prompt: Prompt
    settings: Mapping[str, object]
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A request without an answer.

    Attributes:
        error: what went wrong, in one line.
        cure: what to do about it.
        of_server: whether any other request would have failed as well.
    """

    error: str
    cure: str
    of_server: bool = True


class Server:
    """One model of an OpenAI-compatible server.

    The SDK tries again, with growing, jittered pauses or as long as Retry-After says (two minutes at most).

    Args:
        url: its address, without user name, password and query.
        key: its key, empty where it needs none; never shown.
        key_variable: the environment variable that holds the key.
        model: the model's name there.
        chat: chat completions, or plain ones.
        concurrency: requests at the same time.
        retries: how often a request is tried again.
        timeout: seconds to wait for an answer.

    Raises:
        MissingPackageError: the SDK is not installed.
        ConfigError: no address, or one with a secret in it.
    """

    def __init__(
        self,
        url: str,
        key: SecretStr,
        *,
        key_variable: str,
        model: str,
        chat: bool,
        concurrency: int,
        retries: int,
        timeout: float,
    ) -> None:
        self._sdk: Any = require("openai", extra="openai", purpose="the openai engine")
        self.path = "/chat/completions" if chat else "/completions"
        self.name = f"{_address(url)}{self.path}/{model}"
        self.url, self._key, self.key_variable = url.rstrip("/"), key, key_variable
        self.model, self.chat = model, chat
        self.concurrency, self.retries, self.timeout = concurrency, retries, timeout

    def ask(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """Return the reply to each request, or why there is none, in order.

        Raises:
            EngineError: the key is refused, or the address or the model is not there.
        """
        return _run(self._ask(requests)) if requests else []

    def require_one(self, replies: Sequence[Reply | Failure]) -> None:
        """Raise an EngineError where there are failures only."""
        failures = [reply for reply in replies if isinstance(reply, Failure)]
        if failures and len(failures) == len(replies):
            raise EngineError(
                f"{self.url} answered none of {len(failures)} requests: {failures[0].error}",
                expected="answers",
                cure=failures[0].cure,
            )

    async def _ask(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        found: dict[int, Reply | Failure] = {}
        last: list[Failure] = []  # those since something was answered
        todo = iter(enumerate(requests))

        async def work(client: Any) -> None:  # noqa: ANN401 - optional package
            while len(last) < _PATIENCE and (asked := next(todo, None)) is not None:
                found[asked[0]] = reply = await self._request(client, asked[1])
                if isinstance(reply, Reply):
                    last.clear()
                elif reply.of_server:
                    last.append(reply)

        async with self._sdk.AsyncOpenAI(
            api_key=self._key.get_secret_value() or "none",
            base_url=self.url,
            max_retries=self.retries,
            timeout=self.timeout,
        ) as client:
            try:
                async with asyncio.TaskGroup() as workers:
                    for _ in range(min(self.concurrency, len(requests))):
                        workers.create_task(work(client))
            except ExceptionGroup as group:
                raise group.exceptions[0] from None
        return [found.get(number) or last[-1] for number in range(len(requests))]

    async def _request(self, client: Any, request: Request) -> Reply | Failure:  # noqa: ANN401
        data: object = None
        try:
            data = await client.post(self.path, body=self._body(request), cast_to=object)
            return read_chat(data) if self.chat else read_text(data)
        except (self._sdk.AuthenticationError, self._sdk.PermissionDeniedError) as error:
            raise self._refused(error.status_code) from None
        except self._sdk.NotFoundError as error:
            raise EngineError(
                f"no model {self.model!r} at {self.url} ({self._words(error)})",
                expected="a model that the server has",
                cure="check model and base_url, which mostly ends in /v1 (its /models lists what there is)",
            ) from None
        except self._sdk.APIError as error:
            return self._failure(error)
        except UnicodeEncodeError:
            return Failure("half a character in a prompt", "mend the encoding of the titles", of_server=False)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            return self._unreadable(f"{where}: {first['msg'].lower()} in {data}" if where else str(data))
        except ValueError as error:  # text that says it is JSON
            return self._unreadable(str(error))

    def _body(self, request: Request) -> dict[str, object]:
        prompt, body = request.prompt, {"model": self.model, **request.settings}
        if not self.chat:
            text = "\n\n".join(part for part in (prompt.system, prompt.user) if part)
            return body | {"prompt": text + request.answer}
        messages = [{"role": "system", "content": prompt.system}] if prompt.system else []
        return body | {"messages": [*messages, {"role": "user", "content": prompt.user}]}

    def _failure(self, error: Any) -> Failure:  # noqa: ANN401
        if isinstance(error, self._sdk.APITimeoutError):
            return Failure(f"no answer in {self.timeout:g} seconds", "raise timeout, or lower concurrency")
        if not isinstance(error, self._sdk.APIStatusError):
            reason = self._clean(str(error.__cause__ or error))
            return Failure(f"no connection ({reason})", "start the server, or correct base_url")
        if error.status_code == 429:
            return Failure(self._words(error), "lower concurrency, raise retries, or wait")
        if error.status_code >= 500:
            return Failure(self._words(error), "look into the server's log, or try again later")
        return Failure(self._words(error), "change what the server complains of", of_server=False)

    def _unreadable(self, what: str) -> Failure:
        return Failure(f"no OpenAI reply ({self._clean(what)})", "check base_url, which mostly ends in /v1")

    def _refused(self, status: int) -> EngineError:
        # What the server says is left out: some repeat the key.
        held = "the key" if self._key.get_secret_value() else "a request without a key"
        return EngineError(
            f"{self.url} refused {held} ({status})",
            expected=f"a key that it takes, in the environment variable {self.key_variable}",
            cure=f"set {self.key_variable}, or name another variable with key_variable",
        )

    def _words(self, error: Any) -> str:  # noqa: ANN401
        body = error.body
        said = body.get("message") if isinstance(body, Mapping) else body
        return self._clean(f"{error.status_code}: {said or error.response.reason_phrase}")

    def _clean(self, text: str) -> str:
        key = self._key.get_secret_value()
        line = " ".join((text.replace(key, "(key)") if key else text).split())
        return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _address(url: str) -> str:
    """Return host, port and path of a URL that holds no secret."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.username or parts.password or parts.query or parts.fragment:  # not shown: it would hold the secret
        raise ConfigError(
            "base_url with a user name, a password or a query",
            expected="an address alone",
            cure="put the key into the environment variable that key_variable names",
        )
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"base_url = {url!r}", expected="http:// or https:// and a host", cure="correct it")
    return parts.hostname + (f":{port}" if port else "") + parts.path.rstrip("/")


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; where a loop runs already, as in a notebook, in a thread with its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(asyncio.run, work).result()
