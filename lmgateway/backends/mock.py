"""
The built-in mock backend: answers that look like a model's, without a model.

It runs in the process and opens no socket, so that the gateway can be tried,
tested and measured on its own.  It answers in one dialect (OpenAI's unless told
otherwise) whatever the client speaks, and everything above it treats it as any
other backend.

=====================  ====================================================
module                 what
=====================  ====================================================
``mock_ask``           what is read of a request
``mock_answers``       what is said: styles, tools, JSON mode, bounds
``mock_schema``        values that satisfy a JSON Schema
``mock_fixtures``      scripted answers, from files
``mock_embeddings``    vectors
``mock_documents``     what is said as documents and chunks
``mock_stream``        chunks as events, in batches
``mock_pace``          when they come
``mock_faults``        what goes wrong on purpose
=====================  ====================================================
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from itertools import count
from random import Random
from secrets import token_hex
from time import time

from attrs import field
from attrs.validators import ge, in_, optional
from msgspec.structs import replace
from twisted.internet.interfaces import IReactorTime

from lmgateway.backend_errors import BackendError, ProtocolError, Rejected, Unreachable
from lmgateway.backends.base import Call, Reply
from lmgateway.backends.counting import counted
from lmgateway.backends.mock_answers import Said, Style, bounded, compose, filled, spread
from lmgateway.backends.mock_ask import Ask, ask_of, asks_of_prompts, fixture_key
from lmgateway.backends.mock_documents import Title, streamed, whole
from lmgateway.backends.mock_embeddings import embeddings
from lmgateway.backends.mock_faults import NO_FAULT, Fault, fault_in
from lmgateway.backends.mock_fixtures import Scripted, load_fixtures
from lmgateway.backends.mock_pace import NEVER, Pace, Tempo
from lmgateway.backends.mock_stream import GARBAGE, MockStream
from lmgateway.backends.quirks import QUIRKS
from lmgateway.classes import frozen
from lmgateway.dialects.base import Dialect
from lmgateway.dialects.document import encode
from lmgateway.errors import ConfigError


@frozen(kw_only=True)
class MockSettings:
    """
    How a mock backend answers.

    Attributes:
        style: ``plain`` says what it is and what it was asked, ``echo`` repeats the last user
            message, ``lorem`` writes filler prose, ``scripted`` answers from the fixtures alone.
        fixtures: A file of scripted answers, or a folder of such files.
        first_token_ms: Milliseconds before the first token.
        tokens_per_second: How fast tokens come after it; 0 is all at once.
        jitter_ms: Up to so many milliseconds more, drawn for each token.
        chunks: Into how many chunks a text is cut; by words if not given.
        seed: Makes what is drawn the same in every run.
        fault: What goes wrong on purpose.
        allow_model_faults: Whether a model name may end with faults: the target's, or else the
            one that the client asked for.
        timeout_ms: Milliseconds that a whole answer may take.
        first_byte_timeout_ms: Milliseconds to the first output of a stream.
        idle_timeout_ms: Milliseconds of silence in a stream.
    """

    style: Style = field(default="plain", validator=in_(("plain", "echo", "lorem", "scripted")))
    fixtures: str | None = None
    first_token_ms: float = field(default=0, validator=ge(0))
    tokens_per_second: float = field(default=0, validator=ge(0))
    jitter_ms: float = field(default=0, validator=ge(0))
    chunks: int | None = field(default=None, validator=optional(ge(1)))
    seed: int = 0
    fault: Fault = NO_FAULT
    allow_model_faults: bool = False
    timeout_ms: float = field(default=30_000, validator=ge(0))
    first_byte_timeout_ms: float = field(default=60_000, validator=ge(0))
    idle_timeout_ms: float = field(default=60_000, validator=ge(0))


class MockBackend:
    """
    One configured mock: see ``backends.base.Backend``.

    Args:
        clock: What its pauses are timed by.
        dialect: What it answers in.
        wall: Gives seconds since the epoch, for ``created``.

    Raises:
        ConfigError: If the fixtures cannot be used.
    """

    def __init__(
        self,
        name: str,
        clock: IReactorTime,
        settings: MockSettings,
        dialect: Dialect,
        *,
        wall: Callable[[], float] = time,
    ) -> None:
        self.name = name
        self.dialect = dialect.name
        self._codec = dialect
        self._clock = clock
        self._settings = settings
        self._wall = wall
        if settings.style == "scripted" and settings.fixtures is None:
            raise ConfigError([f"backends.{name}: style 'scripted' needs fixtures"])
        self._fixtures = None if settings.fixtures is None else load_fixtures(settings.fixtures)
        self._random = Random(settings.seed)
        self._numbers = count(1)
        self._run = token_hex(4)

    @asynccontextmanager
    async def open(self, call: Call) -> AsyncIterator[Reply]:
        """Answer."""
        number = next(self._numbers)
        fault = self._fault(call, number)
        pace = self._pace(call, fault)
        try:
            pace.begin()
            if call.request.endpoint == "count_tokens":
                yield counted(call.request)
            elif fault.status is not None:
                await pace.until(pace.next() if fault.first_token_ms else 0)
                yield self._misplaced(call, fault)
            elif call.request.stream and call.request.endpoint != "embeddings":
                title, asks, said = self._compose(call, fault, number)
                stream = self._stream(call, pace, fault)
                async with aclosing(stream.batches(streamed(title, asks, said))) as batches:
                    await anext(batches)
                    try:
                        yield Reply(dialect=self.dialect, reader=stream.reader, batches=batches)
                    finally:
                        pace.stop()  # first, so that nobody is in *batches* when it is closed
            else:
                yield await self._whole(call, pace, fault, number)
        except BackendError as error:
            error.backend = self.name
            raise
        finally:
            pace.stop()

    async def probe(self) -> int:
        """Be well, unless each request is answered with an error status."""
        fault = self._settings.fault
        if fault.status is not None and fault.status >= 400 and fault.strikes(1, Random(0)):
            raise self._refusal(fault.status, fault.retry_after, b"")
        return 200

    def _fault(self, call: Call, number: int) -> Fault:
        settings = self._settings
        if settings.allow_model_faults:
            for model in (call.overrides.model, call.request.model):
                if model is not None and (found := fault_in(model)) is not None:
                    return found
        return settings.fault if settings.fault.strikes(number, self._random) else NO_FAULT

    def _pace(self, call: Call, fault: Fault) -> Pace:
        settings, stream = self._settings, call.request.stream
        first = settings.first_token_ms if fault.first_token_ms is None else fault.first_token_ms
        gap = 1 / settings.tokens_per_second if settings.tokens_per_second else 0.0
        if stream and fault.gap_ms is not None:
            gap = fault.gap_ms / 1000
        patience = settings.first_byte_timeout_ms if stream else settings.timeout_ms
        return Pace(
            self._clock,
            Tempo(
                first=first / 1000,
                gap=gap,
                jitter=settings.jitter_ms / 1000,
                silence=settings.idle_timeout_ms / 1000,
            ),
            self._random,
            commit_by=min(call.commit_by, self._clock.seconds() + patience / 1000),
            end_by=call.end_by,
        )

    def _compose(
        self, call: Call, fault: Fault, number: int
    ) -> tuple[Title, list[Ask], list[Said]]:
        legacy = call.request.endpoint == "completions"
        if legacy:
            asks = asks_of_prompts(call.request, call.overrides)
        else:
            asks = [ask_of(call.request, call.overrides)]
        title = Title(
            id=f"{'cmpl' if legacy else 'chatcmpl'}-{self._run}{number:08x}",
            created=int(self._wall()),
            model=call.overrides.model,
            legacy=legacy,
        )
        said = [self._say(call, ask, fault, i) for ask in asks for i in range(ask.choices)]
        return title, asks, said

    def _say(self, call: Call, ask: Ask, fault: Fault, index: int) -> Said:
        settings = self._settings
        said = self._scripted(call, ask) or compose(ask, settings.style, settings.seed, index)
        if not said.tool_calls:
            if fault.chunks is not None:
                said = filled(said, fault.chunks)
            elif settings.chunks is not None:
                said = spread(said, settings.chunks)
        return bounded(said, ask)

    def _scripted(self, call: Call, ask: Ask) -> Said | None:
        if self._fixtures is None:
            return None
        key = fixture_key(call.request)
        found = self._fixtures.find(ask.model, ask.text, key)
        if found is not None:
            return self._accepted(found)
        if self._settings.style != "scripted":
            return None
        raise Rejected(
            f"The mock has no fixture for model {ask.model!r} with request hash {key!r}.",
            status=404,
            code="fixture_not_found",
        )

    def _accepted(self, scripted: Scripted) -> Said:
        if scripted.status != 200:
            body = encode({"error": {"message": scripted.said.text, "code": "mock"}})
            raise self._refusal(scripted.status, scripted.retry_after, body)
        return scripted.said

    def _stream(self, call: Call, pace: Pace, fault: Fault) -> MockStream:
        asking = replace(call.request, wants_usage=True)  # or the writer would hide it
        codec = self._codec
        return MockStream(codec.framing, codec.reader(MOCK), codec.writer(asking), pace, fault)

    async def _whole(self, call: Call, pace: Pace, fault: Fault, number: int) -> Reply:
        request = call.request
        if request.endpoint == "embeddings":
            document, tokens = embeddings(request.hub, call.overrides.model), 0
        else:
            title, asks, said = self._compose(call, fault, number)
            document, tokens = whole(title, asks, said), sum(len(one.pieces) for one in said)
        await pace.until(NEVER if fault.hold_after is not None else pace.last(tokens))
        if fault.cut_after is not None:
            raise Unreachable("The model backend broke off its answer.")
        if fault.garbage_after is not None:
            return self._answered(GARBAGE)
        if fault.error_after is not None:
            return self._answered(_REFUSAL)
        return self._answered(self._codec.write_answer(document, request))

    def _misplaced(self, call: Call, fault: Fault) -> Reply:
        """What a fault says in place of an answer."""
        status = fault.status or 200
        body = _REFUSAL if fault.body is None else fault.body
        if status >= 400:
            raise self._refusal(status, fault.retry_after, body)
        if status != 200 or call.request.stream:
            raise ProtocolError(f"The model backend answered oddly, with status {status}.")
        return self._answered(body)

    def _answered(self, body: bytes) -> Reply:
        return Reply(dialect=self.dialect, body=body, answer=self._codec.read_answer(body))

    def _refusal(self, status: int, retry_after: float | None, body: bytes) -> BackendError:
        headers = {} if retry_after is None else {b"retry-after": b"%g" % retry_after}
        error = self._codec.read_error(status, headers, body)
        error.backend = self.name
        error.upstream_status = status
        return error


MOCK = QUIRKS["mock"]
_REFUSAL = encode({"error": {"message": "The mock was told to fail.", "code": "mock"}})
