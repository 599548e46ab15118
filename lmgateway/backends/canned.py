"""An answer that the operator wrote: reply mode.  No backend is asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from time import time

from lmgateway.backends.base import Batch, Reply
from lmgateway.chat import ChatRequest, Chunk, Document, Event
from lmgateway.dialects.base import Answer, Mark
from lmgateway.dialects.openai import OPENAI
from lmgateway.dialects.openai_stream import OpenAIReader, OpenAIWriter


def canned(
    request: ChatRequest, text: str, *, identity: str = "reply", model: str = "reply"
) -> Reply:
    """
    Give *text* as a committed reply, whole or streamed as the request asks.

    Args:
        identity: The ``id`` of the answer.
        model: The ``model`` that it names.
    """
    if not request.stream:
        document = _document(text, identity, model)
        return Reply(
            dialect=OPENAI.name,
            body=OPENAI.write_answer(document, request),
            answer=Answer(document=document, usage=None, finish_reason="stop", model=model),
        )
    reader = OpenAIReader()
    return Reply(
        dialect=OPENAI.name, reader=reader, batches=_batches(reader, _chunk(text, identity, model))
    )


def _document(text: str, identity: str, model: str) -> Document:
    return {
        "id": identity,
        "object": "chat.completion",
        "created": int(time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }


def _chunk(text: str, identity: str, model: str) -> Chunk:
    return {
        "id": identity,
        "object": "chat.completion.chunk",
        "created": int(time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
    }


async def _batches(reader: OpenAIReader, chunk: Chunk) -> AsyncGenerator[Batch, None]:
    writer = OpenAIWriter(wants_usage=False)
    raw = writer.encode(chunk)
    event, end = Event(raw, b"", raw[6:-2]), Event(writer.end(), b"", b"[DONE]")
    yield [(event, reader.inspect(event)), (end, Mark.END)]
