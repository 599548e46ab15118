"""
What translating a streamed event costs over passing it on.

A long stream of each backend's grammar is read and written for a client of
every grammar, four events at a time, as the gateway does it; without sockets,
so that nothing but the codecs is measured.  CPU time counts, the best of some
runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from lmgateway.backends.quirks import QUIRKS
from lmgateway.chat import Event
from lmgateway.dialects.base import Dialect, SurfaceDialect
from lmgateway.dialects.completions import COMPLETIONS
from lmgateway.dialects.openai import OPENAI
from lmgateway.dialects.responses import RESPONSES
from lmgateway.dialects.transcode import Transcoder, Translated, Verbatim
from lmgateway.surfaces.grammars import BACKEND_DIALECTS
from lmgateway.wire import ndjson, sse

PIECES = 1000
_AT_ONCE = 4
_TURN = [{"role": "user", "content": "Hello?"}]
_ASKED: dict[str, dict[str, Any]] = {
    "openai": {"messages": _TURN},
    "completions": {"prompt": "Hello?"},
    "responses": {"input": "Hello?"},
    "anthropic": {"messages": _TURN, "max_tokens": 4096},
    "ollama": {"messages": _TURN},
}


def added_microseconds(runs: int) -> dict[str, float]:
    """Give what each pair, named ``backend to client``, adds to an event of its diagonal."""
    return added_over_diagonal(event_microseconds(runs))


def added_over_diagonal(taken: Mapping[str, float]) -> dict[str, float]:
    """Give what each pair but the diagonals takes more than its backend's diagonal."""
    added = {}
    for pair in taken.keys() - diagonals():
        backend = pair.partition(" to ")[0]
        added[pair] = taken[pair] - taken[f"{backend} to {backend}"]
    return added


def event_microseconds(runs: int) -> dict[str, float]:
    """Give what an event of each pair takes, the best of so many runs."""
    taken = {}
    for name, make in _STREAMS.items():
        codec = BACKEND_DIALECTS[name]
        splitter = ndjson.Splitter() if codec.framing == "ndjson" else sse.Splitter()
        events = splitter.feed(make())
        for surface in _surfaces():
            best = min(_seconds(codec, surface, events) for _ in range(runs))
            taken[f"{name} to {surface.name}"] = best / len(events) * 1e6
    return taken


def pairs() -> list[str]:
    """Name every backend's grammar with every client's."""
    return [f"{name} to {surface.name}" for name in _STREAMS for surface in _surfaces()]


def diagonals() -> frozenset[str]:
    """Name the pairs of one grammar with itself."""
    return frozenset(f"{name} to {name}" for name in _STREAMS)


def _surfaces() -> list[SurfaceDialect]:
    return [
        OPENAI,
        COMPLETIONS,
        RESPONSES,
        BACKEND_DIALECTS["anthropic"],
        BACKEND_DIALECTS["ollama"],
    ]


def _seconds(codec: Dialect, surface: SurfaceDialect, events: list[Event]) -> float:
    """Give the CPU seconds of one stream."""
    body = json.dumps({"model": "m", "stream": True, **_ASKED[surface.name]}).encode()
    named = surface.name in ("completions", "responses")
    request = surface.parse(body, surface.name if named else "chat")  # type: ignore[arg-type]  # an Endpoint
    reader, writer = codec.reader(QUIRKS["openai"]), surface.writer(request)
    transcoder: Transcoder = (
        Verbatim(writer, wants_usage=False) if surface is codec else Translated(reader, writer)
    )
    take, inspect = transcoder.take, reader.inspect
    begun = time.process_time()
    for place in range(0, len(events), _AT_ONCE):
        batch = [(event, inspect(event)) for event in events[place : place + _AT_ONCE]]
        take(batch)
    return time.process_time() - begun


def _openai() -> bytes:
    envelope = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}

    def event(delta: dict[str, Any], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return f"data: {json.dumps({**envelope, 'choices': [choice]})}\n\n"

    text = event({"content": " word"}) * PIECES
    first = event({"role": "assistant", "content": ""})
    return (first + text + event({}, "stop") + "data: [DONE]\n\n").encode()


def _anthropic() -> bytes:
    def event(kind: str, **members: Any) -> str:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n"

    message = {"id": "msg_1", "model": "m", "usage": {"input_tokens": 5, "output_tokens": 1}}
    delta = {"type": "text_delta", "text": " word"}
    begun = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    text = event("content_block_delta", index=0, delta=delta) * PIECES
    ended = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9})
    stopped = event("content_block_stop", index=0)
    start, stop = event("message_start", message=message), event("message_stop")
    return (start + begun + text + stopped + ended + stop).encode()


def _ollama() -> bytes:
    line = {"model": "m", "created_at": "2026-01-01T00:00:00.000000Z"}
    piece = {**line, "message": {"role": "assistant", "content": " word"}, "done": False}
    last = {**line, "message": {"role": "assistant", "content": ""}, "done": True}
    last |= {"done_reason": "stop", "prompt_eval_count": 5, "eval_count": 9}
    return ((json.dumps(piece) + "\n") * PIECES + json.dumps(last) + "\n").encode()


_STREAMS: dict[str, Callable[[], bytes]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "ollama": _ollama,
}
