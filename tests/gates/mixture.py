"""A steady mixture of requests, good and bad, at backends of which some fail."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from itertools import count
from random import Random

from attrs import frozen

_PATIENCE = 30.0
_CLIENTS = 24
_BEHIND = 1.0
"""Seconds of delay from which less is asked."""


@frozen
class Sort:
    """
    One sort of request.

    Attributes:
        name: What it is called.
        weight: How often it is made.
        model: What it asks for; the mock backend fails as the name says.
        stream: Whether for a stream.
        path: Where.
        ends: How a whole answer ends; empty if it is expected not to be whole.
        statuses: What it may be answered with.
        raw: The body, if it is none of a chat.
        leaves: Whether the client leaves after the first bytes.
    """

    name: str
    weight: int
    model: str = "t"
    stream: bool = False
    path: str = "/v1/chat/completions"
    ends: bytes = b""
    statuses: tuple[int, ...] = (200,)
    raw: bytes | None = None
    leaves: bool = False

    @property
    def body(self) -> bytes:
        """What is sent."""
        if self.raw is not None:
            return self.raw
        words = "Tell me about soap, at length. " * 8
        ask = {"model": self.model, "stream": self.stream, "max_tokens": 200}
        return json.dumps(ask | {"messages": [{"role": "user", "content": words}]}).encode()


_DONE = b"data: [DONE]\n\n"
_BROKEN = (200, 500, 502, 503, 504)
SORTS = (
    Sort("whole", 40, ends=b"}"),
    Sort("stream", 20, "t-c20-d10", stream=True, ends=_DONE),
    Sort("stream at once", 10, stream=True, ends=_DONE),
    Sort("messages", 4, stream=True, path="/v1/messages", ends=b"\n\n"),
    Sort("ollama", 4, stream=True, path="/api/chat", ends=b"}\n"),
    Sort("client leaves", 4, "t-c200-d10", stream=True, leaves=True),
    Sort("backend fails", 3, "t-e503", statuses=_BROKEN),
    Sort("stream cut", 3, "t-c9-x3", stream=True, statuses=_BROKEN),
    Sort("garbage", 3, "t-c9-g3", stream=True, statuses=_BROKEN),
    Sort("error in band", 3, "t-c9-i3", stream=True, statuses=_BROKEN),
    Sort("backend stalls", 1, "t-c9-h3", stream=True, statuses=_BROKEN),
    Sort("silence", 1, "t-h", statuses=_BROKEN),
    Sort("no JSON", 2, raw=b'{"model": ', statuses=(400,)),
    Sort("no such path", 2, path="/v1/nothing", statuses=(404,)),
)
_WEIGHTS = [sort.weight for sort in SORTS]


class Mixture:
    """
    Clients that keep to a rate, or to less if it is too much.

    Args:
        port: Where they ask.
        rate: Requests a second, all together.

    Attributes:
        rate: What it has come to.
        served: How many of each sort were answered as they should be.
        failed: What went wrong, and how often.
    """

    def __init__(self, port: int, rate: float) -> None:
        self.rate = rate
        self.served: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._port = port
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._due = time.monotonic()
        self._numbers = count()
        self._random = Random(1)
        self._threads = [
            threading.Thread(target=self._ask_on, daemon=True) for _ in range(_CLIENTS)
        ]

    def start(self) -> None:
        """Begin to ask."""
        self._due = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask no more; what is asked is answered yet."""
        self._over.set()
        for thread in self._threads:
            thread.join(_PATIENCE + 5)

    def _turn(self) -> float:
        """Give when the next request is due."""
        with self._lock:
            now = time.monotonic()
            if now - self._due > _BEHIND:
                self._due = now
                self.rate *= 0.9
            due = self._due
            self._due += 1 / self.rate
            return due

    def _next(self) -> Sort:
        """Choose what to ask: first one of each sort."""
        number = next(self._numbers)
        return SORTS[number] if number < len(SORTS) else self._random.choices(SORTS, _WEIGHTS)[0]

    def _ask_on(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)
        while not self._over.wait(max(0.0, self._turn() - time.monotonic())):
            sort, why = self._next(), ""
            try:
                _ask(connection, sort)
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                why = f"{sort.name}: {type(error).__name__}: {error}"
            with self._lock:
                if why:
                    self.failed[why] += 1
                else:
                    self.served[sort.name] += 1
        connection.close()


def _ask(connection: http.client.HTTPConnection, sort: Sort) -> None:
    """
    Make one request.

    Raises:
        ValueError: If it is answered otherwise than it should be.
    """
    connection.request("POST", sort.path, sort.body, {"content-type": "application/json"})
    response = connection.getresponse()
    if response.status not in sort.statuses:
        raise ValueError(f"status {response.status}: {response.read(200)!r}")
    if sort.leaves:
        response.read1(100)
        connection.close()
        return
    try:
        text = response.read()
    except (http.client.IncompleteRead, ConnectionError):
        if sort.ends:
            raise
        connection.close()
        return
    if not text.endswith(sort.ends):
        raise ValueError("not whole")
