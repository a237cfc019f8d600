"""A server on this machine that speaks the chat protocol and answers from a script, with faults where one is wanted."""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from lpr_lightning.annotation.chat import Message, guess_tokens


@dataclass(frozen=True)
class Request:
    """What the server was asked.

    Args:
        messages: the conversation.
        body: all fields of the request.
        headers: by lower-case name.
        number: how often these very messages were asked before.
    """

    messages: tuple[Message, ...]
    body: dict[str, object]
    headers: dict[str, str]
    number: int


@dataclass(frozen=True)
class Reply:
    """What the server does about a request.

    Args:
        text: the answer.
        status: 200 or an error's.
        headers: further ones, such as `Retry-After`.
        delay: seconds until it answers.
        cut: whether the connection is cut in the middle of the answer.
        raw: the whole body, in the place of a chat completion.
        finish: why the answer ends.
        alternatives: for each token of the answer the likeliest ones with log-probabilities; the first is its own.
    """

    text: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: bool = False
    raw: str | None = None
    finish: str = "stop"
    alternatives: tuple[tuple[tuple[str, float], ...], ...] = ()


Script = Callable[[Request], Reply]


class ScriptedServer:
    """Serves `/v1/chat/completions` on 127.0.0.1 while the block lasts; a thread for each connection.

    Args:
        script: says what to do about each request.
        port: 0 for a free one.

    Attributes:
        served: how often each conversation got a whole answer, by its messages as JSON.
        requests: how many requests came, those that failed by the script included.

    >>> import urllib.request
    >>> with ScriptedServer(lambda request: Reply(request.messages[-1].content.upper())) as server:
    ...     body = json.dumps({"messages": [{"role": "user", "content": "hello"}]}).encode()
    ...     answer = urllib.request.urlopen(f"{server.url}/chat/completions", body).read()
    >>> json.loads(answer)["choices"][0]["message"]["content"]
    'HELLO'
    """

    def __init__(self, script: Script, port: int = 0) -> None:
        self.script = script
        self.served: Counter[str] = Counter()
        self.requests = 0
        self._came: Counter[str] = Counter()
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                outer._handle(self)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = _Server(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """The endpoint's address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers.get("Content-Length", 0))))
        messages = tuple(Message(one["role"], one["content"]) for one in body["messages"])
        key = json.dumps(messages)
        with self._lock:
            number, self._came[key] = self._came[key], self._came[key] + 1
            self.requests += 1
        headers = {name.lower(): value for name, value in handler.headers.items()}
        reply = self.script(Request(messages, body, headers, number))
        if reply.delay:
            time.sleep(reply.delay)
        content = (_completion(messages, body, reply) if reply.raw is None else reply.raw).encode()
        try:
            handler.send_response(reply.status)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(content)))
            for name, value in reply.headers.items():
                handler.send_header(name, value)
            handler.end_headers()
            if reply.cut:
                handler.wfile.write(content[: len(content) // 2])
                handler.wfile.flush()
                handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                handler.close_connection = True
                handler.connection.close()
                return
            if reply.status == 200 and reply.raw is None:
                with self._lock:
                    self.served[key] += 1
            handler.wfile.write(content)
        except OSError:  # whoever asked is gone
            handler.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Say what went wrong in a script; nothing where whoever asked is gone."""
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()


def _completion(messages: tuple[Message, ...], body: dict[str, object], reply: Reply) -> str:
    """Return the body of an answer, or of an error."""
    if reply.status != 200:
        return json.dumps({"error": {"message": reply.text or "scripted", "type": "scripted", "code": None}})
    tokens = [
        {
            "token": options[0][0],
            "logprob": options[0][1],
            "bytes": None,
            "top_logprobs": [{"token": one, "logprob": value, "bytes": None} for one, value in options],
        }
        for options in reply.alternatives
    ]
    used = (sum(guess_tokens(one.content) for one in messages), guess_tokens(reply.text))
    choice = {
        "index": 0,
        "finish_reason": reply.finish,
        "message": {"role": "assistant", "content": reply.text, "refusal": None},
        "logprobs": {"content": tokens, "refusal": None} if tokens else None,
    }
    return json.dumps(
        {
            "id": "scripted",
            "object": "chat.completion",
            "created": 0,
            "model": body.get("model", "scripted"),
            "choices": [choice],
            "usage": {"prompt_tokens": used[0], "completion_tokens": used[1], "total_tokens": sum(used)},
        }
    )
