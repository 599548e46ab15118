"""
What a dialect is: a pure codec between one provider's grammar and the hub.

A *surface* is a dialect on the listening side, a *backend* is a dialect on
the dialing side.  Each dialect has both directions against the hub, so N
grammars need N modules.  Nothing here knows of a network or a clock.

=============  ================  ======================================
direction      whole             streamed
=============  ================  ======================================
client in      ``parse``         (one piece)
backend out    ``render``        (one piece)
backend in     ``read_answer``   ``reader()``: ``inspect``, ``decode``
client out     ``write_answer``  ``writer()``: ``encode``, ``end``
errors         ``write_error``   ``writer().error``
=============  ================  ======================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from typing import Literal, Protocol

import msgspec

from lmgateway.backend_errors import BackendError
from lmgateway.chat import ChatRequest, Chunk, Document, Endpoint, Event, Overrides, Usage
from lmgateway.errors import GatewayError


class Mark(Enum):
    """What one event of a backend's stream is to the gateway."""

    QUIET = auto()
    """Framing, roles, pings, comments: relayed, but not yet an answer."""
    OUTPUT = auto()
    """Bears output (text, reasoning, a tool call, a refusal): the commit point."""
    USAGE = auto()
    """Tells nothing but the usage: hidden from a client that did not ask."""
    END = auto()
    """The grammar's proper end (``[DONE]``, ``message_stop``, ``"done": true``)."""
    ERROR = auto()
    """The backend reports a failure in band; ``StreamReader.error`` says which."""


class Answer(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """
    A whole, not streamed, answer of a backend.

    Attributes:
        document: The answer in the backend's own grammar.
        usage: ``None`` where the backend told none.
        finish_reason: In the hub's words: ``stop``, ``length``, ``tool_calls``, ``content_filter``.
        model: The model that the backend says it was.
    """

    document: Document
    usage: Usage | None
    finish_reason: str | None
    model: str | None


class StreamReader(Protocol):
    """Reads one backend stream, event by event.  One instance per stream."""

    @property
    def usage(self) -> Usage | None:
        """What the backend told of it so far."""

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended, in the hub's words."""

    @property
    def model(self) -> str | None:
        """The model that the backend says it is."""

    @property
    def output_bytes(self) -> int:
        """UTF-8 bytes of output seen so far, for an estimate where no usage is told."""

    @property
    def error(self) -> BackendError | None:
        """What went wrong, if something did."""

    def inspect(self, event: Event) -> Mark:
        """
        Look at one event, note what it tells, and say what it is.

        Never raises: an event that is not of the grammar is ``Mark.ERROR``
        with a ``ProtocolError`` in ``error``.
        """

    def decode(self, event: Event) -> Sequence[Chunk]:
        """Give the hub chunks of an event that was inspected; none for framing."""


class StreamWriter(Protocol):
    """Writes one client stream.  One instance per stream."""

    def encode(self, chunk: Chunk) -> bytes:
        """Give the framed bytes of one hub chunk; empty if the grammar has nothing to say yet."""

    def end(self) -> bytes:
        """Give the grammar's proper end, once the backend's own was seen."""

    def error(self, error: GatewayError) -> bytes:
        """Give the in-band error after which the connection is cut."""

    def keep_alive(self) -> bytes:
        """Give what keeps a waiting client from timing out and means nothing."""


class Quirks(Protocol):
    """What differs between providers that speak the same dialect: see ``backends.quirks``."""

    @property
    def stream_usage(self) -> bool:
        """Whether usage can be asked for in streams (``stream_options.include_usage``)."""

    @property
    def max_tokens_field(self) -> Literal["max_tokens", "max_completion_tokens"] | None:
        """The only name of the output bound that this provider takes; ``None``: either."""

    @property
    def drop(self) -> frozenset[str]:
        """Top-level members that this provider refuses."""

    @property
    def takes_think(self) -> bool:
        """Whether a ``think`` member is understood."""

    @property
    def default_options(self) -> Mapping[str, object]:
        """Model options where the request has none."""

    @property
    def keep_alive(self) -> str | int | None:
        """How long a model stays loaded where the request does not say (Ollama)."""

    @property
    def tool_format(self) -> Literal["json", "xml"]:
        """``xml`` where the model writes tool calls as tagged text."""


class SurfaceDialect(Protocol):
    """The half of a dialect that clients speak with: a grammar may have no other."""

    @property
    def name(self) -> str:
        """What config calls it: ``openai``, ``anthropic``, ..."""

    @property
    def framing(self) -> Literal["sse", "ndjson"]:
        """How its streams are cut into events."""

    def parse(self, raw: bytes, endpoint: Endpoint) -> ChatRequest:
        """
        Read a client's body.

        Raises:
            MalformedRequest: With ``param``, whatever is wrong with it.
        """

    def write_answer(self, hub: Document, request: ChatRequest) -> bytes:
        """Give a hub answer as a client of this dialect expects it."""

    def writer(self, request: ChatRequest) -> StreamWriter:
        """Make a writer for one client stream."""

    def write_error(self, error: GatewayError, request_id: str) -> bytes:
        """Give the native error envelope of this dialect."""


class Dialect(SurfaceDialect, Protocol):
    """One provider grammar, both ways against the hub."""

    def render(self, request: ChatRequest, overrides: Overrides, quirks: Quirks) -> bytes:
        """
        Give the body for a backend that speaks this dialect.

        Where ``request.dialect`` is this one, the client's bytes are kept but
        for what ``overrides`` changes (the lossless diagonal).

        Raises:
            Unsupported: If the request says what this grammar cannot.
        """

    def path(self, request: ChatRequest) -> str | None:
        """Give the path of what takes ``render``'s body; ``None`` if there is no such call."""

    def dropped(self, request: ChatRequest, overrides: Overrides | None = None) -> tuple[str, ...]:
        """Give the members of a client's request that ``render`` has no word for."""

    def read_answer(self, body: bytes) -> Answer:
        """
        Read a backend's whole answer.

        Raises:
            ProtocolError: If it is not one.
        """

    def decode_answer(self, answer: Answer) -> Document:
        """Give the hub form (``chat.completion``) of an answer in this dialect."""

    def reader(self, quirks: Quirks) -> StreamReader:
        """Make a reader for one backend stream."""

    def read_error(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> BackendError:
        """Say what a backend's refusal (status >= 400) means.  Never raises."""
