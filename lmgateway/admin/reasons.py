"""One traffic entry in words and in spans: why it went where it went, and what took how long."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET

from lmgateway.admin.answers import Shape
from lmgateway.telemetry.traffic import AttemptEntry, Entry

_PURPOSES = {"answer": "asked", "classify": "asked to classify", "judge": "asked to judge"}
_MODES = {
    "dispatch": "goes where the model name says",
    "stream": "goes where the model name says",
    "classify": "goes where the classifier says",
    "classify+stream": "goes where the classifier says",
    "escalate": "climbs until an answer is good enough",
    "reply": "answers by itself",
    "explain": "only explains",
}


class Span(Shape, frozen=True):
    """
    Something that took time.

    Attributes:
        what: ``receive`` the body, ``decide`` (admission, routing, waiting), an ``attempt``, or
            ``answer`` from the first output to the last byte.
        start_ms: From when the request was complete; negative before that.
        outcome: Of an attempt.
    """

    what: str
    start_ms: float
    ms: float
    tier: str | None = None
    backend: str | None = None
    model: str | None = None
    purpose: str | None = None
    outcome: str | None = None


def spans_of(entry: Entry) -> list[Span]:
    """Give what took time, in the order in which it began."""
    return sorted(_spans(entry), key=lambda span: span.start_ms)


def _spans(entry: Entry) -> Iterator[Span]:
    if entry.receive_ms:
        yield Span(what="receive", start_ms=-entry.receive_ms, ms=entry.receive_ms)
    begun = min((a.start_ms for a in entry.attempts), default=entry.latency_ms)
    yield Span(what="decide", start_ms=0.0, ms=begun)
    for attempt in entry.attempts:
        yield Span(
            what="attempt",
            start_ms=attempt.start_ms,
            ms=attempt.ms,
            tier=attempt.tier,
            backend=attempt.backend,
            model=attempt.model,
            purpose=attempt.purpose,
            outcome=attempt.outcome,
        )
    if entry.ttft_ms is not None:
        rest = max(0.0, round(entry.latency_ms - entry.ttft_ms, 3))
        yield Span(what="answer", start_ms=entry.ttft_ms, ms=rest)


def reasons_of(entry: Entry) -> list[str]:
    """Tell the way of a request, one step a line."""
    return [*_asked(entry), *_decided(entry), *_tried(entry), *_ended(entry)]


def _asked(entry: Entry) -> Iterator[str]:
    who = f"Client {entry.client!r}" if entry.client else "A caller without a name"
    what = "no model" if entry.requested_model is None else f"the model {entry.requested_model!r}"
    yield f"{who} asked for {what} at {entry.path}."


def _decided(entry: Entry) -> Iterator[str]:
    chain = () if entry.profile_chain is UNSET else entry.profile_chain
    if len(chain) > 1:
        yield f"It went through the profiles {', '.join(chain)}."
    if entry.profile is not None:
        mode = _MODES.get(entry.routing_mode or "", "")
        yield f"Profile {entry.profile!r} {mode or 'decided'}."
    if entry.class_label is not UNSET:
        yield f"It was classified as {entry.class_label!r}."
    for rule in () if entry.rules is UNSET else entry.rules:
        when = ", ".join(f"{key} = {value!r}" for key, value in rule.when.items())
        place = f"Rule {rule.position + 1} of profile {rule.profile!r}"
        yield f"{place} matched ({when or 'always'}): it leads to {rule.to!r}."
    if entry.overflowed:
        yield "The queue of its tier was too long, so it went to another one."
    if entry.priority:
        yield f"It had priority {entry.priority}."


def _tried(entry: Entry) -> Iterator[str]:
    climbs = list(entry.climbs)
    for number, attempt in enumerate(entry.attempts, 1):
        yield _attempted(number, attempt)
        if climbs and climbs[0].from_tier == attempt.tier and attempt.outcome == climbs[0].reason:
            climb = climbs.pop(0)
            yield f"It climbed from {climb.from_tier!r} to {climb.to_tier!r}: {climb.reason}."
    for climb in climbs:
        yield f"It climbed from {climb.from_tier!r} to {climb.to_tier!r}: {climb.reason}."


def _attempted(number: int, attempt: AttemptEntry) -> str:
    asked = _PURPOSES.get(attempt.purpose, attempt.purpose)
    target = f"{attempt.model!r} at {attempt.backend!r} (tier {attempt.tier!r})"
    status = "" if attempt.status is None else f", status {attempt.status}"
    return f"Attempt {number} {asked} {target}: {attempt.outcome} in {attempt.ms:g} ms{status}."


def _ended(entry: Entry) -> Iterator[str]:
    if entry.insufficient:
        yield f"No answer was good enough: the best was sent, which fails {entry.insufficient!r}."
    if entry.outcome == "client_closed":
        yield "The client left before the answer was whole."
    elif not entry.success:
        yield f"It failed with status {entry.status}: {entry.error}."
    elif entry.tier:
        yield f"Tier {entry.tier!r} answered."
