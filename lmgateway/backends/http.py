"""
A real provider, asked over HTTP/1.1.

One attempt has five deadlines, each its own: the connection (DNS, TCP, proxy
and TLS together), the response head, the first output-bearing event, silence
between events, and the exchange's own end.  An attempt that ends early, for
whatever reason, aborts its connection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from operator import itemgetter
from types import TracebackType

from attrs import field
from msgspec import Struct

from lmgateway.backend_errors import BackendError, BackendTimeout, ProtocolError
from lmgateway.backends.base import Call, Reply
from lmgateway.backends.batches import BodyBatches, Splitter
from lmgateway.backends.counting import counted
from lmgateway.backends.tool_text import read_out, reading, tagged
from lmgateway.classes import frozen
from lmgateway.dialects.base import Dialect, Quirks
from lmgateway.errors import Unsupported, UnsupportedParameter
from lmgateway.wire import ndjson, sse
from lmgateway.wire.body import BodyReader, at_hand
from lmgateway.wire.client import Response, Target, WireClient
from lmgateway.wire.timers import Wheel

MAX_ANSWER = 32 * 1024 * 1024
MAX_REFUSAL = 64 * 1024
MAX_LISTING = 16 * 1024
"""Of a listing that is only to show that somebody is there; some have half a megabyte."""
REFUSAL_SECONDS = 5.0
"""For the text of a refusal: what its status says does not wait longer."""

_GRAMMARS: Mapping[bytes, Sequence[str]] = {
    b"anthropic-beta": ("anthropic",),
    b"anthropic-version": ("anthropic",),
    b"openai-beta": ("completions", "openai"),
}
"""Headers that mean something in one provider's grammar, and are sent to no other."""

_NAME = itemgetter(0)
_PASSED_ON = frozenset((b"openai-processing-ms", b"openai-version", b"openai-organization"))


class Patience(Struct, frozen=True, kw_only=True):
    """How long to wait for one backend, in seconds."""

    whole: float = 30.0
    first_output: float = 60.0
    silence: float = 60.0
    probe: float = 5.0


@frozen(kw_only=True)
class HTTPBackend:
    """
    One configured upstream.

    Attributes:
        codec: What it speaks.
        own: What it speaks with clients of some grammar instead: that very grammar.
        targets: Where each call goes, credentials included; by the path that the dialect
            knows it by.
        listing: Where a free listing is had, to see whether the backend is well.
        defaults: Headers of requests that do not bring their own.
        fixed: Names of headers that the targets have and no client may add.
        credentials: What is sent that nobody else may see, not even if the backend repeats it.
    """

    name: str
    codec: Dialect
    own: Mapping[str, Dialect]
    client: WireClient
    wheel: Wheel
    quirks: Quirks
    targets: Mapping[str, Target]
    listing: Target
    patience: Patience
    defaults: tuple[tuple[bytes, bytes], ...] = ()
    fixed: frozenset[bytes] = frozenset()
    credentials: tuple[bytes, ...] = field(default=(), repr=False)

    def masked(self, text: bytes) -> bytes:
        """Give what the backend said without what is nobody else's business."""
        for credential in self.credentials:
            if credential in text:
                text = text.replace(credential, b"***")
        return text

    @property
    def dialect(self) -> str:
        """The grammar spoken."""
        return self.codec.name

    def open(self, call: Call) -> AbstractAsyncContextManager[Reply]:
        """Ask, and enter once the answer is committed: see ``backends.base.Backend``."""
        return _Attempt(self, call)

    def headers(self, codec: Dialect, call: Call) -> tuple[tuple[bytes, bytes], ...]:
        """Give what a call adds to its target's headers."""
        always = ((b"x-request-id", call.request_id.encode()), *call.trace)
        if not call.headers:
            return (*always, *self.defaults) if self.defaults else always
        own = {
            name: value
            for name, value in call.headers.items()
            if codec.name in _GRAMMARS.get(name, (codec.name,)) and name not in self.fixed
        }
        added = [header for header in self.defaults if header[0] not in own]
        return (*always, *added, *own.items())

    async def probe(self) -> int:
        """Ask for the listing.  Its status decides; it is read only to keep the connection."""
        due = self.wheel.now() + self.patience.probe
        response = await self.client.send(self.listing, b"", head_seconds=self.patience.probe)
        body = BodyReader(response, self.wheel)
        try:
            listing = await body.whole(MAX_LISTING, _left(due, self.wheel.now()))
        except BackendError:
            listing = b""
        finally:
            body.abort()
        if response.code >= 300:
            said = self.masked(listing)
            refusal = self.codec.read_error(response.code, dict(response.raw_headers), said)
            refusal.upstream_status = response.code
            raise refusal
        return response.code


class _Attempt(Struct, eq=False):
    """One call, as a scope: what it opened is closed when it is left, or fails to be entered."""

    _backend: HTTPBackend
    _call: Call
    _body: BodyReader | None = None

    async def __aenter__(self) -> Reply:
        backend, call = self._backend, self._call
        request = call.request
        codec = backend.own.get(request.dialect, backend.codec)
        target = backend.targets.get(codec.path(request) or "")
        if target is None:
            if request.endpoint == "count_tokens":
                return counted(request)
            raise Unsupported(f"This model's backend has no {request.endpoint}.")
        try:
            dropped = _dropped(codec, call, backend.quirks)
            due, seconds = self._due()
            document = codec.render(request, call.overrides, backend.quirks)
            if call.sent is not None:
                call.sent(document)
            added = backend.headers(codec, call)
            response = await backend.client.send(target, document, added, head_seconds=seconds)
            answer = None
            if response.code == 200 and not request.stream:
                answer = at_hand(response, MAX_ANSWER)
            if answer is None:
                reply = await self._read(response, codec, due)
            else:
                _check(response, codec, stream=False)
                reply = self._whole(response, answer, codec)
        except BaseException as error:
            await self.__aexit__(None, error, None)
            raise
        reply.dropped = dropped
        return reply

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._body is not None:
            self._body.abort()
        if isinstance(error, BackendError):
            error.backend = self._backend.name

    def _due(self) -> tuple[float, float]:
        """Say until when the first output must be there, and how long that is."""
        backend, call = self._backend, self._call
        patience, now = backend.patience, backend.wheel.now()
        due = now + (patience.first_output if call.request.stream else patience.whole)
        if call.commit_by < due:
            due = call.commit_by
        return due, _left(due, now)

    async def _read(self, response: Response, codec: Dialect, due: float) -> Reply:
        """Read what did not come in one piece, or is not what was asked for."""
        backend, stream = self._backend, self._call.request.stream
        body = self._body = BodyReader(response, backend.wheel)
        if response.code >= 400:
            raise await self._refusal(response, body, codec, due)
        _check(response, codec, stream=stream)
        if stream:
            return await self._streamed(response, body, codec, due)
        answer = await body.whole(MAX_ANSWER, _left(due, backend.wheel.now()))
        return self._whole(response, answer, codec)

    async def _refusal(
        self, response: Response, body: BodyReader, codec: Dialect, due: float
    ) -> BackendError:
        """Say what a refusal means: by its status alone, where its text does not come whole."""
        try:
            left = min(_left(due, self._backend.wheel.now()), REFUSAL_SECONDS)
            text = await body.whole(MAX_REFUSAL, left, certain=False)
        except BackendError:
            text = b""
        said = self._backend.masked(text)
        refusal = codec.read_error(response.code, dict(response.raw_headers), said)
        refusal.upstream_status = response.code
        return refusal

    def _whole(self, response: Response, answer: bytes, codec: Dialect) -> Reply:
        backend = self._backend
        reply = Reply(
            dialect=codec.name,
            headers=_passed_on(response, backend.masked),
            body=answer,
            answer=codec.read_answer(answer),
        )
        request = self._call.request
        if not request.hub.get("tools"):
            return reply
        return read_out(reply, request, codec, backend.quirks)

    async def _streamed(
        self, response: Response, body: BodyReader, codec: Dialect, due: float
    ) -> Reply:
        backend, request = self._backend, self._call.request
        reader = reading(codec.reader(backend.quirks), request, backend.quirks)
        batches = BodyBatches(
            body,
            _SPLITTERS[codec.framing](),
            reader,
            backend.wheel.now,
            silence=backend.patience.silence,
            end_by=self._call.end_by,
        )
        await batches.commit(due)
        return Reply(
            dialect=codec.name,
            headers=_passed_on(response, backend.masked),
            verbatim=not tagged(request, backend.quirks),
            reader=reader,
            batches=batches,
        )


_QUIETLY = frozenset({"stream_options"})
"""Left out without a word: what it asks for is told all the same."""
_JSON_KINDS = (b"application/json",)
_STREAM_KINDS = {
    "sse": (b"text/event-stream",),
    "ndjson": (b"application/x-ndjson", b"application/json", b"application/jsonl"),
}
_SPLITTERS: Mapping[str, Callable[[], Splitter]] = {"sse": sse.Splitter, "ndjson": ndjson.Splitter}


def _left(due: float, now: float) -> float:
    if due <= now:
        raise BackendTimeout("The model backend took too long.")
    return due - now


def _check(response: Response, codec: Dialect, *, stream: bool) -> None:
    """Raise unless this is a good answer of the kind that was asked for."""
    if response.code != 200:
        raise ProtocolError(f"The model backend answered with status {response.code}.")
    wanted = _STREAM_KINDS[codec.framing] if stream else _JSON_KINDS
    kind = response.get(b"content-type") or b""
    if kind not in wanted and kind.partition(b";")[0].strip().lower() not in wanted:
        what = "a stream" if stream else "JSON"
        raise ProtocolError(f"The model backend did not answer with {what}.")


def _dropped(codec: Dialect, call: Call, quirks: Quirks) -> tuple[str, ...]:
    """Name what a backend will not be told, or refuse to leave it out."""
    request = call.request
    dropped: tuple[str, ...] = ()
    if request.dialect != codec.name:
        dropped = codec.dropped(request, call.overrides)
        if codec.name == "openai" and not quirks.takes_think and "think" in request.document:
            dropped += ("think",)
    if quirks.drop:
        refused = [name for name in request.hub if name in quirks.drop and name not in _QUIETLY]
        dropped += tuple(sorted({*refused} - {*dropped}))
    if dropped and call.strict:
        raise UnsupportedParameter(
            f"This model's backend has no word for {dropped[0]!r}.", param=dropped[0]
        )
    return dropped


def _passed_on(response: Response, masked: Callable[[bytes], bytes]) -> dict[bytes, bytes]:
    headers = response.raw_headers
    if _PASSED_ON.isdisjoint(map(_NAME, headers)):
        return {}
    return {name: masked(value) for name, value in headers if name in _PASSED_ON}
