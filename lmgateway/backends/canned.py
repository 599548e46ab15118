"""An answer that the operator wrote: reply mode.  No backend is asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from time import time

from lmgateway.backends.base import Batch, Reply
from lmgateway.chat import ChatRequest, Chunk, Document, Event
from lmgateway.dialects.base import Answer, Mark
from lmgateway.dialects.openai import OPENAI
from lmgateway.dialects.openai_stream import OpenAIReader, OpenAIWriter


def canned(request: ChatRequest, text: str, *, identity: str = "reply") -> Reply:
    """
    Give *text* as a committed reply, whole or streamed as the request asks.

    Args:
        identity: The ``id`` and the ``model`` of the answer.
    """
    if not request.stream:
        document = _document(text, identity)
        return Reply(
            dialect=OPENAI.name,
            body=OPENAI.write_answer(document, request),
            answer=Answer(document=document, usage=None, finish_reason="stop", model=identity),
        )
    reader = OpenAIReader()
    return Reply(dialect=OPENAI.name, reader=reader, batches=_batches(reader, text, identity))


def _document(text: str, identity: str) -> Document:
    return {
        "id": identity,
        "object": "chat.completion",
        "created": int(time()),
        "model": identity,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


def _chunk(text: str, identity: str) -> Chunk:
    return {
        "id": identity,
        "object": "chat.completion.chunk",
        "created": int(time()),
        "model": identity,
        "choices": [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
    }


async def _batches(reader: OpenAIReader, text: str, identity: str) -> AsyncGenerator[Batch, None]:
    writer = OpenAIWriter(wants_usage=False)
    raw = writer.encode(_chunk(text, identity))
    event, end = Event(raw, b"", raw[6:-2]), Event(writer.end(), b"", b"[DONE]")
    yield [(event, reader.inspect(event)), (end, Mark.END)]
