"""
Words that a stream begins with at once, while the model is still thinking.

The reply is committed before any backend has answered: what fails after it is
told in band, and what the headers name is the tier to be tried first.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from random import Random
from time import time

from lmgateway.backends.base import Batch, Reply
from lmgateway.chat import ChatRequest, Chunk, Event
from lmgateway.dialects.base import Mark
from lmgateway.dialects.openai import OPENAI
from lmgateway.dialects.openai_stream import OpenAIReader, OpenAIWriter
from lmgateway.routing.plan import Decision


def opening_of(decision: Decision, request: ChatRequest, random: Random) -> str | None:
    """Give the words for a request, if its profile has any for its tier."""
    tier = decision.choice
    if tier is None or not request.stream or decision.policy.mode == "escalate":
        return None
    pool = decision.policy.thinking_messages.get(tier.name)
    form = request.hub.get("response_format")
    if not pool or request.endpoint not in ("chat", "responses"):
        return None
    if isinstance(form, dict) and form.get("type") != "text":
        return None
    return random.choice(pool)


def opened(words: str, model: str, rest: AbstractAsyncContextManager[Reply]) -> Reply:
    """
    Give a stream that begins with *words* and goes on with the reply of *rest*.

    Args:
        model: What the first chunk names as the model.
        rest: Entered once the words have gone out.
    """
    reader = OpenAIReader()
    return Reply(
        dialect=OPENAI.name, reader=reader, batches=_batches(reader, _chunk(words, model), rest)
    )


def _chunk(words: str, model: str) -> Chunk:
    now = int(time())
    return {
        "id": f"chatcmpl-thinking-{now}",
        "object": "chat.completion.chunk",
        "created": now,
        "model": model,
        "choices": [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": f"{words} "},
                "finish_reason": None,
            }
        ],
    }


async def _batches(
    reader: OpenAIReader, first: Chunk, rest: AbstractAsyncContextManager[Reply]
) -> AsyncGenerator[Batch, None]:
    writer = OpenAIWriter(wants_usage=True)
    yield _marked(reader, _events(writer, [first]))
    async with rest as reply:
        assert reply.batches is not None, "a stream was asked for"
        async with aclosing(reply.batches) as batches:
            async for batch in batches:
                yield _marked(reader, _translated(reply, writer, batch))


def _translated(reply: Reply, writer: OpenAIWriter, batch: Batch) -> list[Event]:
    if reply.dialect == OPENAI.name:
        return [event for event, _ in batch]
    assert reply.reader is not None, "a stream has a reader"
    events: list[Event] = []
    for event, mark in batch:
        events += _events(writer, reply.reader.decode(event))
        if mark is Mark.END:
            events.append(Event(writer.end(), b"", b"[DONE]"))
    return events


def _events(writer: OpenAIWriter, chunks: Sequence[Chunk]) -> list[Event]:
    encoded = [writer.encode(chunk) for chunk in chunks]
    return [Event(raw, b"", raw[6:-2]) for raw in encoded if raw]


def _marked(reader: OpenAIReader, events: list[Event]) -> Batch:
    return [(event, reader.inspect(event)) for event in events]
