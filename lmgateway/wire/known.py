"""
Heads that were read before: recognised by one look, instead of being parsed again.

A client sends the same head with each request, but for the length of the body.  So a
head that was parsed, found proper and let in through the door is kept without that
length, and the same bytes are taken for the same head from then on: only where the
message begins with them and is whole in what was read, with nothing behind it, and
where nothing is under way on the connection.  All else is llhttp's.  The door is asked
each time: what is remembered is how a head reads, not what may come in with it.

A head is kept when it comes for the second time, so that heads that differ each time
(an id for each request, say) do not take the place of others; and the table is bounded.
"""

from __future__ import annotations

from lmgateway.wire.door import Head
from lmgateway.wire.limits import Limits
from lmgateway.wire.reader import Message, Reader

_CAPITAL = b"\r\nContent-Length: "
_SMALL = b"\r\ncontent-length: "
_SKIP = len(_SMALL)
_END = b"\r\n\r\n"
_LENGTH = b"content-length"
_DIGITS = 15
_STRANGE = (b"transfer-encoding", b"expect", b"upgrade")

MAX_HEAD = 2048
"""Bytes of the longest head that is kept."""
MAX_HEADS = 2048
_BOUND = 2 * (MAX_HEAD + 64)
"""Of a limit on heads: what is known is well below, and its target not more than half of it."""
_MAX_SEEN = 8192
_MAX_STRANGE, _ROUND = 16, 64
"""In a row of heads that are not known, the first so many of each round are looked up."""


class Known:
    """
    A head, but for its body's length.

    Attributes:
        fields: As sent.
        headers: As a ``Head`` has them.
        place: Which of them is the length.
        first: As a ``Head`` has it.
    """

    __slots__ = ("fields", "first", "headers", "method", "path", "place", "query", "target")

    def __init__(self, message: Message, head: Head, place: int) -> None:
        self.method = message.method
        self.target = message.target
        self.fields = message.fields
        self.path = head.path
        self.query = head.query
        self.headers = head.headers.copy()
        self.first = head.first.copy()
        self.place = place


class Recognised(Message):
    """
    A request whose head is known, whole.

    Attributes:
        known: How the head reads.
        length: The value of ``Content-Length``.
    """

    __slots__ = ("known", "length")

    version = b"1.1"
    keep_alive = complete = True
    whole = None

    def __init__(self, known: Known, length: bytes, body: bytes) -> None:
        self.known = known
        self.length = length
        self.method = known.method
        self.target = known.target
        self.fields = known.fields
        self.body = body
        self.received = len(body)
        self.admitted = False

    def read(self, peer: str, secure: bool) -> Head:
        """Give the head."""
        known, length = self.known, self.length
        headers, first = known.headers.copy(), known.first.copy()
        headers[known.place] = (_LENGTH, length)
        first[_LENGTH] = length
        return Head(
            method=known.method,
            path=known.path,
            query=known.query,
            headers=headers,
            peer=peer,
            secure=secure,
            length=self.received,
            first=first,
        )


def _split(data: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Split a message into its head but for the body's length, that length, and the body."""
    end = data.find(_END)
    at = data.find(_CAPITAL, 0, end)
    if at < 0:
        at = data.find(_SMALL, 0, end)
    start = at + _SKIP
    stop = data.find(b"\r", start, end + 1)
    if at < 0 or stop < 0:
        return None
    return data[:start] + data[stop:end], data[start:stop], data[end + 4 :]


class Heads:
    """The heads of a process's clients."""

    def __init__(self) -> None:
        self._known: dict[bytes, Known] = {}
        self._seen: set[int] = set()

    def __len__(self) -> int:
        return len(self._known)

    def recognise(self, data: bytes, limits: Limits) -> Recognised | None:
        """Give the message that *data* is, if its head is known and nothing is missing."""
        parts = _split(data)
        if parts is None:
            return None
        key, length, body = parts
        known = self._known.get(key)
        if known is None:
            return None
        if not length.isdigit() or len(length) > _DIGITS or int(length) != len(body):
            return None
        if limits.max_header_bytes < _BOUND or len(known.fields) > limits.max_headers:
            return None
        return Recognised(known, length, body)

    def learn(self, message: Message, head: Head) -> None:
        """Remember how a message that came whole reads, if it comes again and is plain."""
        data, message.whole = message.whole, None
        parts = None if data is None else _split(data)
        if data is None or parts is None or len(parts[0]) > MAX_HEAD:
            return
        key, length, body = parts
        names = [name for name, _ in head.headers]
        if (
            not message.complete
            or not message.keep_alive
            or not data.startswith(b"%b %b HTTP/1.1\r\n" % (message.method, message.target))
            or len(body) != message.received
            or names.count(_LENGTH) != 1
            or head.first[_LENGTH] != length
            or not head.first.keys().isdisjoint(_STRANGE)
        ):
            return
        self._keep(key, Known(message, head, names.index(_LENGTH)))

    def _keep(self, key: bytes, known: Known) -> None:
        if hash(key) not in self._seen:
            if len(self._seen) >= _MAX_SEEN:
                self._seen.clear()
            self._seen.add(hash(key))
            return
        if len(self._known) >= MAX_HEADS:
            del self._known[next(iter(self._known))]
        self._known[key] = known


HEADS = Heads()
"""Of all ports: how bytes read does not depend on where they come in."""


def take(reader: Reader, data: bytes) -> Recognised | None:
    """
    Have *reader*, between two messages, read what came: at one look, if that will do.

    Returns:
        What was recognised, which is the only message there is then.
    """
    if reader.strange >= _MAX_STRANGE or reader.messages:
        reader.strange = (reader.strange + 1) % _ROUND
        reader.feed(data)
        return None
    known = HEADS.recognise(data, reader.limits)
    if known is not None:
        reader.strange = 0
        reader.messages.append(known)
        return known
    reader.strange += 1
    reader.feed(data)
    if reader.messages and reader.messages[0].complete:
        reader.messages[0].whole = data
    return None
