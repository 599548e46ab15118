"""
What the client port takes and gives, as JSON Schemas for its OpenAPI document.

Requests are told as far as the gateway looks at them: whatever else a provider takes passes
through.  Answers are told as far as every backend gives them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": ["boolean", "null"]}
_COUNT: Schema = {"type": ["integer", "null"]}
_MODEL: Schema = {
    "type": ["string", "null"],
    "description": "A tier, an alias, a profile, or `auto`.",
}
_OBJECT: Schema = {"type": "object"}
_OBJECTS: Schema = {"type": "array", "items": _OBJECT}


def _object(*required: str, **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": [*required]}


def _one_of(*words: str) -> Schema:
    return {"type": "string", "enum": [*words]}


_MESSAGES: Schema = {"type": "array", "minItems": 1, "items": _object("role", role=_TEXT)}

CHAT = _object(
    "messages", model=_MODEL, messages=_MESSAGES, stream=_FLAG, max_tokens=_COUNT,
    max_completion_tokens=_COUNT, tools={"type": ["array", "null"], "items": _OBJECT},
)  # fmt: skip
COMPLETIONS = _object(
    "prompt", model=_MODEL, prompt={"type": ["string", "array"]}, stream=_FLAG, max_tokens=_COUNT
)
RESPONSES = _object("input", model=_MODEL, input={"type": ["string", "array"]}, stream=_FLAG)
EMBEDDINGS = _object("input", model=_MODEL, input={"type": ["string", "array"]})
MESSAGES = _object(
    "messages", "max_tokens", model=_MODEL, messages=_MESSAGES,
    max_tokens={"type": "integer", "minimum": 1}, stream=_FLAG,
)  # fmt: skip
COUNT_TOKENS = _object("messages", model=_MODEL, messages=_MESSAGES)
OLLAMA_CHAT = _object(
    model=_MODEL, messages={**_MESSAGES, "minItems": 0},
    stream={**_FLAG, "description": "True if not given, as the real server does."},
)  # fmt: skip
OLLAMA_GENERATE = _object(model=_MODEL, prompt=_TEXT, stream=_FLAG)
OLLAMA_EMBED = _object(model=_MODEL, input={"type": ["string", "array"]}, prompt=_TEXT)
OLLAMA_SHOW = {**_object(model=_TEXT, name=_TEXT), "description": "One of both names the model."}

CHAT_ANSWER = _object(
    "choices", object=_one_of("chat.completion"), model=_TEXT, choices=_OBJECTS, usage=_OBJECT
)
COMPLETIONS_ANSWER = _object(
    "choices", object=_one_of("text_completion"), model=_TEXT, choices=_OBJECTS, usage=_OBJECT
)
RESPONSES_ANSWER = _object(
    "output", "status", object=_one_of("response"), model=_TEXT, output=_OBJECTS, status=_TEXT
)
EMBEDDINGS_ANSWER = _object("data", data=_OBJECTS, model=_TEXT)
MODELS = {
    "anyOf": [
        _object("object", "data", object=_one_of("list"), data=_OBJECTS),
        _object("data", "has_more", data=_OBJECTS, has_more={"type": "boolean"}),
    ]
}
ONE_MODEL = _object("id", id=_TEXT, created={"type": "integer"}, owned_by=_TEXT)
MESSAGES_ANSWER = _object(
    "type", "role", "content", type=_one_of("message"), role=_one_of("assistant"), content=_OBJECTS
)
TOKENS = _object("input_tokens", input_tokens={"type": "integer"})
OLLAMA_CHAT_ANSWER = _object("model", "done", model=_TEXT, done={"type": "boolean"})
OLLAMA_VECTORS = {**_OBJECT, "description": "`embeddings`, or `embedding` at the older path."}
OLLAMA_MODELS = _object("models", models=_OBJECTS)
OLLAMA_SHOWN = _object("details", details=_OBJECT)
VERSION = _object("version", version=_TEXT)
WELL = _object("status", status=_TEXT)
STATUS = _object(
    "status", "ready", "uptime_secs", "requests",
    status=_TEXT, ready={"type": "boolean"}, uptime_secs={"type": "integer"}, requests=_OBJECT,
)  # fmt: skip
ME = _object("client", "profile", "limits", "budgets", "models", limits=_OBJECT, models=_OBJECTS)
EXPLANATION = _object(
    "profile_chain", "mode", "rules", "candidates", "plan", "choice",
    profile_chain={"type": "array", "items": _TEXT}, mode=_TEXT, rules=_OBJECTS,
    candidates=_OBJECTS, plan={"type": "array", "items": _TEXT},
    choice={"type": ["object", "null"]},
)  # fmt: skip

OPENAI_FAULT = _object("error", error=_object("message", "type", message=_TEXT, type=_TEXT))
ANTHROPIC_FAULT = _object(
    "type", "error", type=_one_of("error"), error=_object("type", "message", message=_TEXT)
)
OLLAMA_FAULT = _object("error", error=_TEXT)

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"

SHAPES: Mapping[str, tuple[Schema | None, Schema, str]] = {
    "/chat/completions": (CHAT, CHAT_ANSWER, SSE),
    "/completions": (COMPLETIONS, COMPLETIONS_ANSWER, SSE),
    "/responses": (RESPONSES, RESPONSES_ANSWER, SSE),
    "/embeddings": (EMBEDDINGS, EMBEDDINGS_ANSWER, ""),
    "/models": (None, MODELS, ""),
    "/models/<path:name>": (None, ONE_MODEL, ""),
    "/messages": (MESSAGES, MESSAGES_ANSWER, SSE),
    "/messages/count_tokens": (COUNT_TOKENS, TOKENS, ""),
    "/me": (None, ME, ""),
    "/route/explain": (CHAT, EXPLANATION, ""),
    "/api/chat": (OLLAMA_CHAT, OLLAMA_CHAT_ANSWER, NDJSON),
    "/api/generate": (OLLAMA_GENERATE, OLLAMA_CHAT_ANSWER, NDJSON),
    "/api/embed": (OLLAMA_EMBED, OLLAMA_VECTORS, ""),
    "/api/embeddings": (OLLAMA_EMBED, OLLAMA_VECTORS, ""),
    "/api/tags": (None, OLLAMA_MODELS, ""),
    "/api/ps": (None, OLLAMA_MODELS, ""),
    "/api/show": (OLLAMA_SHOW, OLLAMA_SHOWN, ""),
    "/api/version": (None, VERSION, ""),
    "/status": (None, STATUS, ""),
}
"""By path without ``/v1``: body, answer, and what a streamed answer is; others tell ``WELL``."""
