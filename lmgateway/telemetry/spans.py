"""
Spans of exchanges, as OpenTelemetry has them: OTLP over HTTP in its JSON form.

https://opentelemetry.io/docs/specs/otlp/ and, for the names of attributes, the GenAI semantic
conventions.  All spans of an exchange are made when it has ended, from the times that it wrote
down: ``gateway.request`` over ``admission``, ``route`` and ``attempt[n]``.  No prompt and no
answer is in them.

Written here, not by the OpenTelemetry SDK: that takes 300 to 450 us a request to encode the same
four spans, holding the interpreter even in a thread of its own, where ours takes about ten; and
its exporter brings a second HTTP client with threads and retries that nobody here could stop.
Collectors take both forms at the same address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from lmgateway.chat import ChatRequest, Usage
from lmgateway.exchange import Attempt, Exchange, Trace

SERVER, CLIENT, INTERNAL = 2, 3, 1
ERROR = 2
ROUTE, ADMISSION = -1, -2
"""The numbers of spans that are no attempt's; that of the exchange is 0."""

Attributes = Mapping[str, Any]

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
    """What is kept of an exchange until its spans are written: nothing of what was said."""

    trace: Trace
    wall: float
    started: float
    admitted: float
    seconds: float
    first_output: float | None
    attempts: Sequence[Attempt]
    committed: int
    attributes: dict[str, Any]
    asked: dict[str, Any]
    error: str | None


def record_of(exchange: Exchange) -> Record | None:
    """Take from an exchange what its spans tell; ``None`` if it belongs to no trace."""
    trace = exchange.trace
    if trace is None:
        return None
    ok = exchange.outcome == "ok"
    return Record(
        trace,
        exchange.wall,
        exchange.started,
        exchange.admitted or exchange.started,
        exchange.seconds,
        exchange.first_output,
        exchange.attempts,
        _committed(exchange),
        _attributes(exchange),
        {} if exchange.request is None else _asked(exchange.request),
        None if ok else exchange.outcome,
    )


def is_recorded(exchange: Exchange) -> bool:
    """Tell whether an exchange's spans are exported: those sampled, and all that went wrong."""
    trace = exchange.trace
    return trace is not None and (trace.flags & 1 == 1 or exchange.outcome != "ok")


def _committed(exchange: Exchange) -> int:
    """The number of the attempt that answered, counted from 1; 0 if none did."""
    for number in range(len(exchange.attempts), 0, -1):
        attempt = exchange.attempts[number - 1]
        if attempt.purpose == "answer" and attempt.tier == exchange.tier:
            return number
    return 0


def _attributes(exchange: Exchange) -> dict[str, Any]:
    principal, request = exchange.principal, exchange.request
    return {
        "http.request.method": "POST",
        "url.path": exchange.path[:MAX_NAME],
        "http.response.status_code": exchange.status,
        "lmg.request_id": exchange.id,
        "lmg.surface": exchange.surface,
        "lmg.client": None if principal is None else principal.name or None,
        "lmg.profile": "/".join(exchange.profile_chain) or None,
        "lmg.mode": exchange.mode or None,
        "lmg.class": exchange.label or None,
        "lmg.tier": exchange.tier or None,
        "lmg.backend": exchange.backend or None,
        "lmg.cost_usd": None if exchange.cost is None else exchange.cost / 1e9,
        "lmg.insufficient": exchange.insufficient or None,
        "gen_ai.operation.name": None if request is None else _OPERATIONS[request.endpoint],
        "gen_ai.response.model": exchange.model or None,
        **_used(exchange.usage),
    }


def _asked(request: ChatRequest) -> dict[str, Any]:
    """What the client set, of what says nothing about its conversation."""
    asked: dict[str, Any] = {
        "gen_ai.request.model": None if request.model is None else request.model[:MAX_NAME],
        "gen_ai.request.stream": request.stream,
    }
    for member, name in _ASKED.items():
        value = request.hub.get(member)
        if isinstance(value, int | float):
            asked[name] = value
    return asked


def _used(usage: Usage | None) -> dict[str, Any]:
    if usage is None:
        return {}
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_read or None,
        "gen_ai.usage.cache_creation.input_tokens": usage.cached_write or None,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning or None,
    }


class SpanWriter:
    """
    Writes batches of records.

    Args:
        resource: What is told of this process once for all: ``service.name`` and so on.
        providers: What each backend is, as the conventions name it, with its address and port.
    """

    def __init__(self, resource: Attributes, providers: Mapping[str, Attributes]) -> None:
        self._resource = {"attributes": _listed(resource)}
        self._providers = providers
        self._encode = msgspec.json.Encoder().encode

    def write(self, records: list[Record]) -> bytes:
        """Give the body of one export."""
        spans = [span for record in records for span in self.spans(record)]
        scope = {"name": "lmgateway"}
        scoped = [{"scope": scope, "spans": spans}]
        return self._encode({"resourceSpans": [{"resource": self._resource, "scopeSpans": scoped}]})

    def spans(self, record: Record) -> list[dict[str, Any]]:
        """Give the spans of one exchange, the outermost first."""
        end = record.started + record.seconds
        span, whole = _Spans(record), (record.started, end)
        inside = (record.admitted, record.started)
        spans = [
            span.make(
                0,
                "gateway.request",
                SERVER,
                (record.admitted, end),
                {**record.attributes, **record.asked, "error.type": record.error},
                record.error,
            ),
            span.make(ADMISSION, "admission", INTERNAL, inside, {}, None),
            span.make(ROUTE, "route", INTERNAL, whole, {}, None),
        ]
        for number, attempt in enumerate(record.attempts, 1):
            spans.append(self._attempt(span, record, number, attempt, end))
        return spans

    def _attempt(
        self, span: _Spans, record: Record, number: int, attempt: Attempt, end: float
    ) -> dict[str, Any]:
        done = number == record.committed
        error = None if attempt.outcome == "ok" else attempt.outcome
        attributes = {
            **self._providers.get(attempt.backend, {}),
            **(record.asked if attempt.purpose == "answer" else {}),
            "gen_ai.operation.name": record.attributes["gen_ai.operation.name"],
            "gen_ai.request.model": attempt.model,
            **_used(attempt.usage),
            "http.response.status_code": attempt.status,
            "lmg.tier": attempt.tier,
            "lmg.backend": attempt.backend,
            "lmg.purpose": attempt.purpose,
            "lmg.outcome": attempt.outcome,
            "error.type": error,
        }
        if done and record.first_output is not None:
            wait = record.first_output - attempt.started
            attributes["gen_ai.response.time_to_first_chunk"] = wait
        until = end if done else attempt.started + attempt.seconds
        name = f"attempt[{number - 1}] {attempt.model}"
        return span.make(number, name, CLIENT, (attempt.started, until), attributes, error)


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
        times: tuple[float, float],
        attributes: Attributes,
        error: str | None,
    ) -> dict[str, Any]:
        trace = self._trace
        above = trace.parent.decode()
        if number:
            above = trace.span_id(ROUTE if number > 0 else 0)
        span: dict[str, Any] = {
            "traceId": self._id,
            "spanId": trace.span_id(number),
            "name": name,
            "kind": kind,
            "startTimeUnixNano": str(int((self._zero + times[0]) * 1e9)),
            "endTimeUnixNano": str(int((self._zero + max(times)) * 1e9)),
            "attributes": _listed(attributes),
            "flags": trace.flags,
        }
        if above:
            span["parentSpanId"] = above
        if trace.state and not number:
            span["traceState"] = trace.state.decode()
        if error is not None:
            span["status"] = {"code": ERROR, "message": error}
        return span


def _listed(attributes: Attributes) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": _value(value)}
        for key, value in attributes.items()
        if value is not None
    ]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": str(value)}
