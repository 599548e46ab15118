"""Clients that ask without a pause to speak of, and note every answer that is not whole."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable

_PAUSE = 0.02
_PATIENCE = 60.0


class Load:
    """
    A few clients, each in a thread: on kept connections, on new ones, with streams.

    Args:
        host: Where they ask.
        port: Likewise.

    Attributes:
        served: How many whole answers each sort of client got.
        failed: What went wrong, and how often.
        longest: The seconds that the slowest whole answer took.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.served: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.longest = 0.0
        sorts = {"kept": self._kept, "kept too": self._kept, "new": self._new, "stream": self._new}
        self._threads = [
            threading.Thread(target=run, args=(name,), daemon=True) for name, run in sorts.items()
        ]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask no more; what is asked is answered yet."""
        self._over.set()
        for thread in self._threads:
            thread.join(_PATIENCE + 5)

    def _kept(self, name: str) -> None:
        connection = self._connect()
        while not self._over.is_set():
            if not self._noted(name, lambda: ask(connection, stream=False)):
                connection.close()
            time.sleep(_PAUSE)
        connection.close()

    def _new(self, name: str) -> None:
        while not self._over.is_set():
            connection = self._connect()
            self._noted(name, lambda c=connection: ask(c, stream=name == "stream"))  # type: ignore[misc]
            connection.close()
            time.sleep(_PAUSE)

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self._address, timeout=_PATIENCE)

    def _noted(self, name: str, act: Callable[[], None]) -> bool:
        begun, why = time.monotonic(), ""
        try:
            act()
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = f"{name}: {type(error).__name__}: {error}"
        with self._lock:
            if why:
                self.failed[why] += 1
            else:
                self.served[name] += 1
                self.longest = max(self.longest, time.monotonic() - begun)
        return not why


def ask(connection: http.client.HTTPConnection, *, stream: bool) -> None:
    """
    Make one request, and read its answer to the end.

    Raises:
        ValueError: If it is no whole answer.
    """
    body = {"model": "t", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
    connection.request(
        "POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"}
    )
    response = connection.getresponse()
    text = response.read()
    if response.status != 200:
        raise ValueError(f"status {response.status}")
    if stream and not text.endswith(b"data: [DONE]\n\n"):
        raise ValueError("a stream without its end")
    if not stream and not json.loads(text)["choices"]:
        raise ValueError("no answer")
