"""
The line between the supervisor and a worker: a socket pair, and frames on it.

=====  =======================  ====================================================
frame  body                     meaning
=====  =======================  ====================================================
``E``  an entry of traffic      an exchange has ended
``U``  a record of usage        an attempt was settled
``T``  ``[name, *values]``      something to know; nothing comes back
``Q``  ``[n, name, *values]``   a question
``A``  ``[n, value]``           the answer
``F``  ``[n, kind, text, s]``   the error that is the answer
``P``  a pickle                 what a worker is to begin with
=====  =======================  ====================================================

A frame is its length in four bytes, its letter and its body, in msgpack but for the last.
What is no question goes out with the next, or after some milliseconds.  Both ends are ours,
and nobody else has the descriptors; so a pickle is as good as the code that it comes from.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from typing import Any

import msgspec
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from lmgateway.errors import ConfigError, GatewayError, Overloaded, TooManyConcurrent

TO_ANSWER = 10.0
"""Seconds for what the other end does at once."""
LATER = 0.01
"""Seconds after which what is no question is sent, if nothing else is."""
MAX_HELD = 32 * 1024 * 1024
"""Bytes that wait for the other end; what comes beyond is dropped, and counted."""
_READ = 1 << 18
_SOON = 1 << 16

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_ERRORS: dict[str, type[GatewayError]] = {
    kind.kind: kind for kind in (GatewayError, Overloaded, TooManyConcurrent)
}

Answering = Callable[..., Any]


class Closed(Overloaded):
    """The other end is gone."""


def _unanswered(result: Any, seconds: float) -> Any:
    raise Closed("The other process does not answer.", retry_after=1)


def framed(letter: bytes, body: bytes) -> bytes:
    """Make a frame."""
    return len(body).to_bytes(4, "big") + letter + body


def read_frame(end: socket.socket) -> tuple[bytes, bytes]:
    """
    Wait for one frame, before there is a reactor.

    Raises:
        EOFError: If the other end is gone.
    """
    head = _exactly(end, 5)
    return head[4:], _exactly(end, int.from_bytes(head[:4], "big"))


def _exactly(end: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        block = end.recv(min(_READ, size - len(data)))
        if not block:
            raise EOFError
        data += block
    return bytes(data)


class Line(FileDescriptor):
    """
    One end of the line.

    Args:
        end: Its socket.
        answers: What answers questions, and takes what is told, by name.
        raw: What takes the bodies of frames of other letters.
        closed: Called when the other end is gone.

    Attributes:
        dropped: How many frames were, since the other end did not read them.
        heard: When the other end was last heard of; reactor seconds.
    """

    _log = Logger()

    def __init__(
        self,
        end: socket.socket,
        reactor: Any,
        answers: Mapping[str, Answering],
        raw: Mapping[bytes, Callable[[bytes], object]],
        closed: Callable[[], object],
    ) -> None:
        super().__init__(reactor)
        end.setblocking(False)
        self._clock = reactor
        self._end = end
        self._answers = answers
        self._raw = raw
        self._closed = closed
        self._got = bytearray()
        self._out: list[bytes] = []
        self._size = 0
        self._number = 0
        self._asked: dict[int, Deferred[Any]] = {}
        self._answering: dict[int, Deferred[Any]] = {}
        self._timer: Any = None
        self._more = True
        self.heard: float = reactor.seconds()
        self.dropped = 0
        self.connected = True
        self.startReading()

    # To the other end ------------------------------------------------------
    def put(self, letter: bytes, body: bytes) -> None:
        """Send a frame, some time soon."""
        if not self.connected or self._size + self._unsent() > MAX_HELD:
            self.dropped += 1
            return
        self._out.append(framed(letter, body))
        self._size += len(body)
        if self._size > _SOON:
            self.flush()
        elif self._timer is None:
            self._timer = self._clock.callLater(LATER, self._late)

    def _unsent(self) -> int:
        """Say how much of what was written Twisted still has."""
        return len(self.dataBuffer) - self.offset + self._tempDataLen

    def note(self, name: str, *values: Any) -> None:
        """Let the other end know something."""
        self.put(b"T", _encode((name, *values)))

    def say(self, name: str, *values: Any) -> None:
        """Let the other end know something now."""
        self._send(b"T", _encode((name, *values)))

    def ask(self, name: str, *values: Any, within: float = TO_ANSWER) -> Deferred[Any]:
        """
        Ask the other end something.

        Args:
            within: Seconds after which an end that does not answer is taken for gone.

        Returns:
            The answer; the other end does not learn that it is cancelled.
        """
        self._number += 1
        number = self._number
        answer: Deferred[Any] = Deferred(lambda _: self._forget(number))
        if not self.connected:
            answer.errback(Closed("The other process is gone.", retry_after=1))
            return answer
        self._asked[number] = answer
        self._send(b"Q", _encode((number, name, *values)))
        return answer.addTimeout(within, self._clock, _unanswered)

    def _forget(self, number: int) -> None:
        self._asked.pop(number, None)

    def hand(self, pickled: bytes) -> None:
        """Send a pickle."""
        self._send(b"P", pickled)

    def _send(self, letter: bytes, body: bytes) -> None:
        """Send a frame now, and what waited before it."""
        if self.connected:
            self._out.append(framed(letter, body))
            self.flush()

    def flush(self) -> None:
        """Send what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._out or not self.connected:
            return
        data, self._out, self._size = b"".join(self._out), [], 0
        if not self.dataBuffer and not self._tempDataBuffer:
            sent = self.writeSomeData(data)
            if isinstance(sent, Exception):
                return  # the reading side finds out
            data = data[sent:]
        if data:
            self.write(data)

    @property
    def waits(self) -> bool:
        """Whether something was not sent yet."""
        return bool(self.connected and (self._out or self.dataBuffer or self._tempDataBuffer))

    def rest(self) -> None:
        """Take what the other end has sent before it ended, and close."""
        while self.connected and self.doRead() is None and self._more:
            pass
        self.connectionLost(Failure(ConnectionDone()))

    def _late(self) -> None:
        self._timer = None
        self.flush()

    # Twisted's side ----------------------------------------------------------
    def fileno(self) -> int:
        """Give the descriptor."""
        return self._end.fileno()

    def writeSomeData(self, data: bytes) -> Any:
        """Send what the socket takes."""
        try:
            return self._end.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            return error

    def doRead(self) -> Exception | None:  # noqa: N802 - Twisted's
        """Take what has come."""
        try:
            data = self._end.recv(_READ)
        except BlockingIOError:
            self._more = False
            return None
        except OSError as error:
            return error
        if not data:
            return ConnectionDone()
        self._more = True
        self.heard = self._clock.seconds()
        self._got += data
        self._take()
        return None

    def connectionLost(self, reason: Failure) -> None:
        """Fail what was asked, and let nobody wait."""
        if not self.connected:
            return
        FileDescriptor.connectionLost(self, reason)
        self._end.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        asked, self._asked = self._asked, {}
        for answer in asked.values():
            answer.errback(Closed("The other process is gone.", retry_after=1))
        for answering in [*self._answering.values()]:
            answering.cancel()
        self._closed()

    # From the other end ----------------------------------------------------
    def _take(self) -> None:
        got, start = self._got, 0
        while len(got) - start >= 5:
            end = start + 5 + int.from_bytes(got[start : start + 4], "big")
            if len(got) < end:
                break
            letter, body = bytes(got[start + 4 : start + 5]), bytes(got[start + 5 : end])
            start = end
            try:
                self._hear(letter, body)
            except Exception:
                self._log.failure("A frame of the letter {letter} failed.", letter=letter)
        del got[:start]

    def _hear(self, letter: bytes, body: bytes) -> None:
        raw = self._raw.get(letter)
        if raw is not None:
            raw(body)
            return
        message = _decode(body)
        match letter:
            case b"T":
                self._answers[message[0]](*message[1:])
            case b"Q":
                self._answer(message[0], message[1], message[2:])
            case b"A":
                if (asked := self._asked.pop(message[0], None)) is not None:
                    asked.callback(message[1])
            case b"F":
                if (asked := self._asked.pop(message[0], None)) is not None:
                    asked.errback(_error(*message[1:]))

    def _answer(self, number: int, name: str, values: list[Any]) -> None:
        answering = ensureDeferred(_awaited(self._answers[name], values))
        self._answering[number] = answering
        answering.addCallbacks(
            lambda value: self._send(b"A", _encode((number, value))),
            lambda failure: self._failed(number, failure),
        )
        answering.addBoth(lambda _: self._answering.pop(number, None))

    def _failed(self, number: int, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, CancelledError):
            return
        if isinstance(error, ConfigError):
            told: tuple[Any, ...] = ("config", error.problems, None)
        elif isinstance(error, GatewayError):
            told = (error.kind, str(error), error.retry_after)
        else:
            self._log.failure("A question of the other process failed.", failure)
            told = (GatewayError.kind, "", None)
        self._send(b"F", _encode((number, *told)))


async def _awaited(answer: Answering, values: list[Any]) -> Any:
    given: Awaitable[Any] | Any = answer(*values)
    return await given if isawaitable(given) or isinstance(given, Deferred) else given


def _error(kind: str, text: Any, wait: float | None) -> Exception:
    if kind == "config":
        return ConfigError(text)
    return _ERRORS.get(kind, GatewayError)(text, retry_after=wait)
