"""A real HTTP server on loopback that answers as a test says, and counts what it is asked."""

import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = re.compile(r" ?\w+|\W")


@dataclass
class Asked:
    """What a server has been asked so far."""

    url: str
    bodies: list = field(default_factory=list)
    headers: list = field(default_factory=list)
    paths: list = field(default_factory=list)
    now: int = 0
    most: int = 0


@contextmanager
def serving(respond):
    """Serve ``respond(body, number)`` -> payload or (status, headers, payload), and yield what is asked."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(asked.bodies)
                asked.bodies.append(body)
                asked.headers.append({name.lower(): value for name, value in self.headers.items()})
                asked.paths.append(self.path)
                asked.now += 1
                asked.most = max(asked.most, asked.now)
            answer = respond(body, number)
            with lock:
                asked.now -= 1
            self._write(*(answer if isinstance(answer, tuple) else (200, {}, answer)))

        def _write(self, status, headers, payload):
            data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
            headers = {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
            if headers["Content-Length"] != str(len(data)):
                self.close_connection = True

        def log_message(self, *_):
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads, request_queue_size = True, 256

        def handle_error(self, *_):
            pass  # a client that gave up

    server = Quiet(("127.0.0.1", 0), Handler)
    asked = Asked(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def chat(text, *, finish="stop", usage=(7, 3), **message):
    """A chat completion; ``usage`` is (tokens read, tokens written) or None."""
    counts = usage and {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
        ],
        "usage": counts,
    }


def first_tokens(listed, usage=(7, 1)):
    """A chat completion of one token with the most probable ones, as (text, log-probability)."""
    reply = chat(listed[0][0], usage=usage)
    top = [{"token": token, "logprob": value, "bytes": list(token.encode())} for token, value in listed]
    reply["choices"][0]["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
    return reply


def word_value(token):
    """What the toy model gives a token: exact in binary, never 0."""
    return -(1 + len(token)) / 8


def toy_completions(body, _number=0, *, begin="<bos>"):
    """A plain completions server over words, as vLLM's: echo counts the special token that begins a text."""
    words = TOKEN.findall(body["prompt"])
    if body.get("echo"):
        tokens = [begin, *words] if begin else words
        values = [None, *map(word_value, tokens[1:])]
        logprobs = {
            "tokens": tokens,
            "token_logprobs": values,
            "text_offset": [len("".join(tokens[:place])) for place in range(len(tokens))],
            "top_logprobs": [value and {token: value} for token, value in zip(tokens, values, strict=True)],
        }
        return text_reply(body["prompt"], logprobs, (len(tokens), 0))
    listed = {token: word_value(token) for token in (" Yes", " No", " A", "\n")}
    written = words[: body["max_tokens"]]
    logprobs = {"tokens": [" A"], "token_logprobs": [word_value(" A")], "text_offset": [0], "top_logprobs": [listed]}
    return text_reply("".join(written), logprobs if "logprobs" in body else None, (len(words) + 1, len(written)))


def text_reply(text, logprobs=None, usage=(7, 3), finish="stop"):
    """A plain completion."""
    return {
        "id": "1",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "text": text, "finish_reason": finish, "logprobs": logprobs}],
        "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)},
    }
