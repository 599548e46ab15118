"""
From bytes to messages: the reading half of a connection, on llhttp.

llhttp is strict by itself (no bare LF, no folding, no ``Content-Length`` beside
``Transfer-Encoding``, no two of either, no control characters), and what it
still lets through is refused in ``framing``.  This module feeds it, and closes
three gaps around it:

- it never stops between two messages, so whatever a client pipelined is parsed
  at once; it is kept here, in order, and its size is known (``backlog``);
- it takes ``RTSP/1.0`` for HTTP and forgives blanks in the request line, so the
  line is compared with what it should have been;
- it takes ``Upgrade`` at its word and stops understanding the body.  We never
  upgrade, as RFC 9110 (7.8) allows, so a new parser reads the body on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from lmgateway.errors import GatewayError, HeadersTooLarge, MalformedRequest, UriTooLong
from lmgateway.wire.door import Head, Pass
from lmgateway.wire.limits import Limits

if TYPE_CHECKING:
    from lmgateway.wire.server import Resource

_MAX_MESSAGES = 512
"""Messages parsed ahead of an answer; the limit on bytes is the lower one in practice."""
_UNLIMITED = 1 << 62
_NO_FIELDS: list[tuple[bytes, bytes]] = []
"""Stays empty: each head begins a list of its own."""
_NEVER_HTTP = "The request is not valid HTTP/1.1."


class Message:
    r"""
    One request as it comes in.

    Attributes:
        version: ``b"1.1"``, ``b"1.0"``, or empty where the request line is not proper.
        fields: Header fields as sent.
        keep_alive: Whether the client wants the connection to go on.
        body: What came of the body so far; ``bytes`` while it came in one piece.
        received: How many bytes of body came, kept or not.
        limit: How many are kept.
        complete: Whether the last byte came.
        whole: All of its bytes, where they may teach how such a head reads.
        admitted: Whether the head was checked and let in; the next three are there only then.
        head: The head.
        pass\_: What the door said.
        routes: What was there to answer it when its head was complete.
    """

    __slots__ = (
        "admitted",
        "body",
        "complete",
        "fields",
        "head",
        "keep_alive",
        "limit",
        "method",
        "pass_",
        "quiet",
        "received",
        "routes",
        "seen",
        "target",
        "version",
        "whole",
        "wire",
    )

    head: Head
    pass_: Pass
    routes: Resource

    def __init__(
        self,
        method: bytes,
        target: bytes,
        version: bytes,
        fields: list[tuple[bytes, bytes]],
        keep_alive: bool,
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.fields = fields
        self.keep_alive = keep_alive
        self.body: bytes | bytearray = b""
        self.received = 0
        self.limit = _UNLIMITED
        self.wire = 0
        self.quiet = 0
        self.seen = -1
        self.complete = False
        self.admitted = False
        self.whole: bytes | None = None

    @property
    def excessive(self) -> bool:
        """Whether more body came, or is to come, than is accepted."""
        return self.received > self.limit or (self.head.length or 0) > self.limit

    def size(self) -> int:
        """About how many bytes this took on the wire."""
        line = len(self.method) + len(self.target) + 12
        return line + sum(len(k) + len(v) + 4 for k, v in self.fields) + 2 + self.received


class _Stop(Exception):
    """Raised in a callback to make llhttp stop; the reason is in ``Reader.broken``."""


class Reader:
    """
    Feeds llhttp and queues what comes out.

    Args:
        limits: The bounds to keep; may be replaced between two messages.

    Attributes:
        messages: Requests whose head is complete, oldest first.
        heading: Whether a head has begun and is not complete.
        broken: Why nothing more can be read, once that is so.
        strange: How far a row of heads that are not ``known`` has come in its round.
    """

    __slots__ = (
        "_after",
        "_closed",
        "_detour",
        "_fields",
        "_known",
        "_open",
        "_parser",
        "_raw",
        "_replaying",
        "_target",
        "broken",
        "heading",
        "limits",
        "messages",
        "strange",
    )

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.messages: list[Message] = []
        self.heading = False
        self.broken: GatewayError | None = None
        self._parser: HttpRequestParser | None = None
        self._open: Message | None = None
        self._fields: list[tuple[bytes, bytes]] = []
        self._target = b""
        self._raw = b""
        self._known = 0
        self._after = 0
        self._detour = False
        self._replaying = False
        self._closed = False
        self.strange = 0

    def feed(self, data: bytes) -> None:
        """Take what came from the network; afterwards look at the attributes."""
        parser = self._parser
        if parser is None:
            if self._closed:
                return
            parser = self._parser = HttpRequestParser(self)
        if self.broken is not None:
            return
        if self.heading:
            self._raw += data
            self._known += len(data)
        else:
            self._raw = data
            self._after = 0 if self._open is None else 1
            self._known = len(data) if self._open is None else 0
        try:
            parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._read_on(data[upgrade.args[0] :])
        except HttpParserError:
            self._break(MalformedRequest(_NEVER_HTTP))
        if self.heading or self._open is not None:
            self._bound(len(data))
        else:
            self._raw = b""

    def backlog(self) -> int:
        """How many bytes wait here."""
        size = sum(message.size() for message in self.messages)
        if self.heading:
            size += self._known + len(self._target) + sum(len(v) for _, v in self._fields)
        return size

    def rest(self) -> None:
        """Let go of what is not needed between two messages, if that is where this is."""
        if not self.heading and self._open is None and self.broken is None:
            self._parser = None
            self._fields = _NO_FIELDS

    def close(self) -> None:
        """Let go of the parser, which refers back to this."""
        self._closed = True
        self._parser = self._open = None
        self._raw = b""
        self.messages.clear()

    def _break(self, error: GatewayError) -> None:
        if self.broken is None:
            self.broken = error

    def _bound(self, fed: int) -> None:
        """Break off where what came is nearly all framing."""
        if self.heading:
            if self._known > self.limits.max_header_bytes:
                self._break(self._too_large())
            return
        self._raw = b""
        message = self._open
        assert message is not None, "a head or a body has begun"
        # One-byte chunks, chunk extensions and trailers carry next to nothing.
        message.wire += fed
        message.quiet = message.quiet + fed if message.received == message.seen else 0
        message.seen = message.received
        slack = self.limits.max_header_bytes
        if message.quiet > slack or message.wire > 8 * message.received + slack + 65536:
            self._break(MalformedRequest("The request body is nearly all framing."))

    def _too_large(self) -> GatewayError:
        if len(self._target) > self.limits.max_header_bytes // 2:
            return UriTooLong("The request target is too long.")
        return HeadersTooLarge("The request headers are too large.")

    def _read_on(self, rest: bytes) -> None:
        """Go on after llhttp gave up at an ``Upgrade``: a new parser reads the body."""
        message = self._open
        if message is None or message.method == b"CONNECT":
            self._break(MalformedRequest(_NEVER_HTTP))
            return
        framing = b""
        for name, value in message.fields:
            if name.lower() == b"transfer-encoding":
                framing = b"Transfer-Encoding: chunked\r\n"
            elif name.lower() == b"content-length":
                framing = b"Content-Length: %b\r\n" % value
        self._detour = False
        self._parser = parser = HttpRequestParser(self)
        self._replaying = True
        try:
            parser.feed_data(b"POST / HTTP/1.1\r\n" + framing + b"\r\n")
            self._replaying = False
            parser.feed_data(rest)
        except (HttpParserError, HttpParserUpgrade):
            # A second upgrade behind the first: nobody does that in earnest.
            self._break(MalformedRequest(_NEVER_HTTP))

    # What llhttp calls ------------------------------------------------------
    def on_message_begin(self) -> None:
        """A request line begins."""
        if self._replaying:
            return
        if len(self.messages) >= _MAX_MESSAGES:
            self._break(MalformedRequest("Too many requests were sent ahead."))
            raise _Stop
        self.heading = True
        if self._after:
            self._known = 0  # it begins somewhere within what was fed
        self._fields = []
        self._target = b""

    def on_url(self, piece: bytes) -> None:
        """A piece of the target."""
        if not self._replaying:
            self._target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; or a trailer, which goes nowhere."""
        if self._open is None:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """A head is complete."""
        parser = self._parser
        if self._replaying or parser is None:
            return
        method, target, fields = parser.get_method(), self._target, self._fields
        message = Message(method, target, b"", fields, parser.should_keep_alive())
        line = b"%b %b HTTP/1.1\r\n" % (method, target)
        if self._after == 0 and self._raw.startswith(line):
            self._after = len(line)
            message.version = b"1.1"
        elif self._find(line):
            message.version = b"1.1"
        elif self._find(line[:-3] + b"0\r\n"):
            message.version = b"1.0"
        self.heading = False
        self._fields = []
        self._detour = parser.should_upgrade()
        self._open = message
        limits = self.limits
        bound = limits.max_header_bytes
        if (
            not 0 < self._known <= bound
            or len(target) > bound // 2
            or len(fields) > limits.max_headers
        ):
            self._check_size(message)
        self.messages.append(message)

    def _find(self, line: bytes) -> bool:
        """Whether the present head begins with *line*: exactly there, or where it may be."""
        raw, after = self._raw, self._after
        if after == 0:
            if not raw.startswith(line):
                raw = self._raw = raw.lstrip(b"\r\n")
            found = 0 if raw.startswith(line) else -1
        else:
            # Behind other messages in what came at once: llhttp does not say where.
            found = raw.find(line, after)
        if found >= 0:
            self._after = found + len(line)
        return found >= 0

    def _check_size(self, message: Message) -> None:
        limits = self.limits
        if len(message.target) > limits.max_header_bytes // 2:
            self._break(UriTooLong("The request target is too long."))
        elif len(message.fields) > limits.max_headers:
            self._break(HeadersTooLarge("The request has too many headers."))
        elif self._unbounded() and message.size() > limits.max_header_bytes:
            self._break(HeadersTooLarge("The request headers are too large."))
        else:
            return
        raise _Stop

    def _unbounded(self) -> bool:
        """Whether what was fed for this head could be more than a head may have."""
        return not 0 < self._known <= self.limits.max_header_bytes

    def on_body(self, piece: bytes) -> None:
        """A piece of the body, freed of chunk framing."""
        message = self._open
        if message is None:
            return
        message.received += len(piece)
        if message.received > message.limit:
            message.body = b""
        elif not message.body:
            message.body = piece
        elif message.body.__class__ is bytes:
            message.body = bytearray(message.body) + piece
        else:
            message.body += piece

    def on_message_complete(self) -> None:
        """The message is whole, unless llhttp only gave up on it."""
        if self._detour or self._open is None:
            return
        self._open.complete = True
        self._open = None
