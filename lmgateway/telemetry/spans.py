"""
Spans of exchanges, as OpenTelemetry has them: OTLP over HTTP in its JSON form.

https://opentelemetry.io/docs/specs/otlp/ and, for the names of attributes, the GenAI semantic
conventions.  All spans of an exchange are made when it has ended, from the times that it wrote
down: ``gateway.request`` over ``admission``, ``route`` and ``attempt[n]``.  No prompt and no
answer is in them.

Written here, not by the OpenTelemetry SDK: that takes 300 to 450 us a request to encode the same
four spans, several times what the request itself costs, and holds the interpreter even in a thread
of its own; and its exporter brings a second HTTP client with threads and retries that nobody here
could stop.  Collectors take both forms at the same address.  What ``make bench`` says of ours is a
tenth of it: the text of an attribute that was written before is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from lmgateway.chat import ChatRequest, Usage
from lmgateway.exchange import Attempt, Exchange, Trace

SERVER, CLIENT, INTERNAL = 2, 3, 1
ERROR = 2
ROUTE, ADMISSION = -1, -2
"""The numbers of spans that are no attempt's; that of the exchange is 0."""

Value = str | int | float | bool | None
Attributes = Mapping[str, Value]

_OPERATIONS = {
    "chat": "chat",
    "responses": "chat",
    "generate": "text_completion",
    "completions": "text_completion",
    "embeddings": "embeddings",
    "count_tokens": "count_tokens",
}
_ASKED = {
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "top_k": "gen_ai.request.top_k",
    "seed": "gen_ai.request.seed",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "n": "gen_ai.request.choice.count",
}
MAX_NAME = 128


class Record(NamedTuple):
    """
    What is kept of an exchange until its spans are written: nothing of what was said.

    Attributes:
        committed: The number of the attempt that answered, counted from 1; 0 if none did.
        facts: Attributes that several exchanges may share, in the order of ``_FACTS``.
        asked: What the client set, of what says nothing about its conversation.
        error: What went wrong; ``None`` if nothing did.
        finish: Why the answer ended, as the backend says.
    """

    id: str
    trace: Trace
    wall: float
    started: float
    admitted: float
    seconds: float
    first_output: float | None
    attempts: Sequence[Attempt]
    committed: int
    facts: tuple[Value, ...]
    asked: tuple[tuple[str, Value], ...]
    cost: int | None
    usage: Usage | None
    error: str | None
    finish: str | None


_FACTS = (
    "url.path",
    "http.response.status_code",
    "lmg.surface",
    "lmg.client",
    "lmg.profile",
    "lmg.mode",
    "lmg.class",
    "lmg.tier",
    "lmg.backend",
    "lmg.insufficient",
    "gen_ai.response.model",
    "gen_ai.operation.name",
)
_TRIED = (
    "gen_ai.operation.name",
    "gen_ai.request.model",
    "http.response.status_code",
    "lmg.tier",
    "lmg.backend",
    "lmg.purpose",
    "lmg.outcome",
    "error.type",
)
"""Attributes of an attempt."""


def record_of(exchange: Exchange) -> Record | None:
    """Take from an exchange what its spans tell; ``None`` if it belongs to no trace."""
    trace, principal, request = exchange.trace, exchange.principal, exchange.request
    if trace is None:
        return None
    chain = exchange.profile_chain
    facts = (
        exchange.path[:MAX_NAME],
        exchange.status,
        exchange.surface,
        None if principal is None else principal.name or None,
        chain[0] if len(chain) == 1 else "/".join(chain) or None,
        exchange.mode or None,
        exchange.label or None,
        exchange.tier or None,
        exchange.backend or None,
        exchange.insufficient or None,
        exchange.model or None,
        None if request is None else _OPERATIONS[request.endpoint],
    )
    return Record(
        exchange.id,
        trace,
        exchange.wall,
        exchange.started,
        exchange.admitted or exchange.started,
        exchange.seconds,
        exchange.first_output,
        exchange.attempts,
        _committed(exchange),
        facts,
        () if request is None else _asked(request),
        exchange.cost,
        exchange.usage,
        None if exchange.outcome == "ok" else exchange.outcome,
        exchange.finish_reason and exchange.finish_reason[:MAX_NAME],
    )


def is_recorded(exchange: Exchange) -> bool:
    """Tell whether an exchange's spans are exported: those sampled, and all that went wrong."""
    trace = exchange.trace
    return trace is not None and (trace.flags & 1 == 1 or exchange.outcome != "ok")


def _committed(exchange: Exchange) -> int:
    for number in range(len(exchange.attempts), 0, -1):
        attempt = exchange.attempts[number - 1]
        if attempt.purpose == "answer" and attempt.tier == exchange.tier:
            return number
    return 0


def _asked(request: ChatRequest) -> tuple[tuple[str, Value], ...]:
    hub = request.hub
    found: list[tuple[str, Value]] = [
        ("gen_ai.request.model", None if request.model is None else request.model[:MAX_NAME]),
        ("gen_ai.request.stream", request.stream),
    ]
    for member in hub.keys() & _ASKED.keys():
        value = hub[member]
        if isinstance(value, int | float):
            found.append((_ASKED[member], value))
    return tuple(found)


def _used(usage: Usage) -> Iterable[tuple[str, Value]]:
    yield "gen_ai.usage.input_tokens", usage.input_tokens
    yield "gen_ai.usage.output_tokens", usage.output_tokens
    if usage.cached_read:
        yield "gen_ai.usage.cache_read.input_tokens", usage.cached_read
    if usage.cached_write:
        yield "gen_ai.usage.cache_creation.input_tokens", usage.cached_write
    if usage.reasoning:
        yield "gen_ai.usage.reasoning.output_tokens", usage.reasoning


class SpanWriter:
    """
    Writes batches of records.

    Args:
        resource: What is told of this process once for all: ``service.name`` and so on.
        providers: What each backend is, as the conventions name it, with its address and port.
    """

    def __init__(self, resource: Attributes, providers: Mapping[str, Attributes]) -> None:
        self._resource = _listed(resource.items())
        self._providers = {name: _listed(told.items()) for name, told in providers.items()}

    def write(self, records: list[Record]) -> bytes:
        """Give the body of one export."""
        spans = ",".join([span for record in records for span in self.spans(record)])
        text = (
            '{"resourceSpans":[{"resource":{"attributes":[' + self._resource + "]},"
            '"scopeSpans":[{"scope":{"name":"lmgateway"},"spans":[' + spans + "]}]}]}"
        )
        return text.encode("utf-8", "replace")

    def spans(self, record: Record) -> list[str]:
        """Give the spans of one exchange, the outermost first."""
        end = record.started + record.seconds
        span = _Spans(record)
        told = [
            _known(_FACTS, record.facts),
            _listed(record.asked),
            "" if record.facts[-1] is None else _attribute("http.request.method", "POST"),
            _finished(record.finish),
            _once("lmg.request_id", record.id),
            _once("lmg.cost_usd", None if record.cost is None else record.cost / 1e9),
            _attribute("error.type", record.error),
            "" if record.usage is None else _listed(_used(record.usage)),
        ]
        return [
            span.make(0, "gateway.request", SERVER, record.admitted, end, told, record.error),
            span.make(ADMISSION, "admission", INTERNAL, record.admitted, record.started, (), None),
            span.make(ROUTE, "route", INTERNAL, record.started, end, (), None),
            *(
                self._attempt(span, record, number, attempt, end)
                for number, attempt in enumerate(record.attempts, 1)
            ),
        ]

    def _attempt(
        self, span: _Spans, record: Record, number: int, attempt: Attempt, end: float
    ) -> str:
        done = number == record.committed
        error = None if attempt.outcome == "ok" else attempt.outcome
        told = [
            self._providers.get(attempt.backend, ""),
            _known(
                _TRIED,
                (
                    record.facts[-1],
                    attempt.model,
                    attempt.status,
                    attempt.tier,
                    attempt.backend,
                    attempt.purpose,
                    attempt.outcome,
                    error,
                ),
            ),
            "" if attempt.usage is None else _listed(_used(attempt.usage)),
            _listed(record.asked[1:]) if attempt.purpose == "answer" else "",
        ]
        if done:
            told.append(_finished(record.finish))
        if done and record.first_output is not None:
            wait = record.first_output - attempt.started
            told.append(_once("gen_ai.response.time_to_first_chunk", wait))
        until = end if done else attempt.started + attempt.seconds
        name = f"attempt[{number - 1}] {attempt.model}"
        return span.make(number, name, CLIENT, attempt.started, until, told, error)


class _Spans:
    """Makes the spans of one exchange."""

    def __init__(self, record: Record) -> None:
        self._trace = record.trace
        self._id = record.trace.id.decode()
        self._zero = record.wall - record.started

    def make(
        self,
        number: int,
        name: str,
        kind: int,
        begun: float,
        ended: float,
        told: Sequence[str],
        error: str | None,
    ) -> str:
        """Write one span; *told* are attributes, several in a text."""
        trace, zero = self._trace, self._zero
        above = trace.span_id(ROUTE if number > 0 else 0) if number else trace.parent.decode()
        more = f',"parentSpanId":"{above}"' if above else ""
        if trace.state and not number:
            more += f',"traceState":{_quoted(trace.state.decode())}'
        if error is not None:
            more += f',"status":{{"code":{ERROR},"message":{_quoted(error)}}}'
        return (
            f'{{"traceId":"{self._id}","spanId":"{trace.span_id(number)}","name":{_quoted(name)},'
            f'"kind":{kind},"startTimeUnixNano":"{int((zero + begun) * 1e9)}",'
            f'"endTimeUnixNano":"{int((zero + max(begun, ended)) * 1e9)}","flags":{trace.flags},'
            f'"attributes":[{",".join([text for text in told if text])}]{more}}}'
        )


def _listed(attributes: Iterable[tuple[str, Value]]) -> str:
    texts = [_attribute(key, value) for key, value in attributes]
    return ",".join([text for text in texts if text])


def _once(key: str, value: Value) -> str:
    """Write an attribute whose value will hardly come again; nothing if it has none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        written = f'"boolValue":{"true" if value else "false"}'
    elif isinstance(value, int):
        written = f'"intValue":"{value}"'
    elif isinstance(value, float):
        written = f'"doubleValue":{value!r}'
    else:
        written = f'"stringValue":{_quoted(value)}'
    return f'{{"key":"{key}","value":{{{written}}}}}'


@lru_cache(maxsize=4096)
def _known(names: tuple[str, ...], values: tuple[Value, ...]) -> str:
    """Write attributes that exchanges share: texts and whole numbers."""
    return _listed(zip(names, values, strict=True))


# Typed, since 1, 1.0 and True are written each in its way.
_attribute = lru_cache(maxsize=4096, typed=True)(_once)


@lru_cache(maxsize=64)
def _finished(reason: str | None) -> str:
    """Write why an answer ended; the conventions want a list, one for each choice."""
    if reason is None:
        return ""
    values = f'{{"values":[{{"stringValue":{_quoted(reason)}}}]}}'
    return f'{{"key":"gen_ai.response.finish_reasons","value":{{"arrayValue":{values}}}}}'


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    return msgspec.json.encode(text.encode("utf-8", "replace").decode()).decode()
