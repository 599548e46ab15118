"""Vectors of Anthropic's grammar, and the least that reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import field, frozen

from lmgateway.chat import ChatRequest, Document, Event, Overrides
from lmgateway.dialects.anthropic import ANTHROPIC
from lmgateway.dialects.base import Mark, StreamReader
from lmgateway.dialects.document import encode
from lmgateway.wire.sse import Splitter

FOLDER = Path(__file__).parent / "vectors" / "anthropic"
MODEL = "claude-test"


@frozen(kw_only=True)
class Ordinary:
    """A provider without quirks."""

    stream_usage: bool = True
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    drop: frozenset[str] = frozenset()
    takes_think: bool = False
    keep_alive: str | int = -1
    default_options: Mapping[str, object] = field(factory=dict)
    tool_format: Literal["json", "xml"] = "json"


QUIRKS = Ordinary()


def vectors(kind: str) -> Iterator[tuple[str, Document]]:
    """Give the vectors of a folder, by name."""
    for path in sorted((FOLDER / kind).glob("*.json")):
        yield path.stem, json.loads(path.read_text())


def stream(name: str) -> bytes:
    """Give a recorded stream."""
    return (FOLDER / "streams" / f"{name}.sse").read_bytes()


def split(data: bytes) -> list[Event]:
    """Cut a whole stream into events."""
    splitter = Splitter()
    return splitter.feed(data) + splitter.close()


def written(data: bytes) -> list[Document]:
    """Read what a writer wrote; each event's name must be its type."""
    documents = []
    for event in split(data):
        document = json.loads(event.data)
        assert document["type"].encode() == event.name, event
        documents.append(document)
    return documents


def inspected(events: list[Event]) -> tuple[StreamReader, list[Mark]]:
    """Show events to a new reader."""
    reader = ANTHROPIC.reader(QUIRKS)
    return reader, [reader.inspect(event) for event in events]


def decoded(data: bytes) -> list[Document]:
    """Give the hub chunks of a stream, all inspected first, as in one batch."""
    events = split(data)
    reader, _ = inspected(events)
    return [chunk for event in events for chunk in reader.decode(event)]


def parsed(body: Document, endpoint: Literal["chat", "count_tokens"] = "chat") -> ChatRequest:
    """Read a client's request."""
    return ANTHROPIC.parse(json.dumps(body, ensure_ascii=False).encode(), endpoint)


def asked(**members: Any) -> ChatRequest:
    """Read a small client request with more members."""
    body = {"model": MODEL, "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}
    return parsed({**body, **members})


def foreign(hub: Document) -> ChatRequest:
    """Make a request of an OpenAI client."""
    return ChatRequest(
        dialect="openai",
        endpoint="chat",
        raw=encode(hub),
        document=hub,
        spans={},
        hub=hub,
        model=hub.get("model"),
        stream=bool(hub.get("stream")),
        wants_usage=False,
    )


def rendered(hub: Document, quirks: Ordinary = QUIRKS, **overrides: Any) -> Document:
    """Give the body for a backend, of an OpenAI client's request."""
    given = {"model": MODEL, **overrides}
    body: Document = json.loads(ANTHROPIC.render(foreign(hub), Overrides(**given), quirks))
    return body


def said(*messages: Document, **members: Any) -> Document:
    """Make a hub request."""
    return {"messages": list(messages) or [{"role": "user", "content": "Hi"}], **members}


def message(stream: list[Document]) -> Document:
    """Put a stream together, as clients do."""
    whole: Document = {}
    partial: dict[int, str] = {}
    for event in stream:
        if event["type"] == "message_start":
            whole = event["message"]
        elif event["type"] == "content_block_start":
            assert event["index"] == len(whole["content"]), "indices are consecutive"
            whole["content"].append(event["content_block"])
        elif event["type"] == "content_block_delta":
            _add(whole["content"][event["index"]], event["delta"], partial, event["index"])
        elif event["type"] == "message_delta":
            whole.update(event["delta"])
            whole["usage"].update(event["usage"])
    for index, text in partial.items():
        whole["content"][index]["input"] = json.loads(text)
    return whole


def _add(block: Document, delta: Document, partial: dict[int, str], index: int) -> None:
    if delta["type"] == "input_json_delta":
        partial[index] = partial.get(index, "") + delta["partial_json"]
    elif delta["type"] != "citations_delta":
        name = delta["type"].removesuffix("_delta")
        block[name] = delta[name] if name == "signature" else block[name] + delta[name]
