"""The client port's description: ``/openapi.json`` and ``/docs``, made from its routes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from inspect import cleandoc

from klein import Klein

from lmgateway.surfaces.door import OPEN_PATHS
from lmgateway.surfaces.shapes import (
    ANTHROPIC_FAULT,
    OLLAMA_FAULT,
    OPENAI_FAULT,
    SHAPES,
    WELL,
    Schema,
)
from lmgateway.wire.openapi import Content, Document, Operation, document, own_version
from lmgateway.wire.viewer import MEDIA

SCHEMES = {
    "key": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
_ABOUT = (
    "An LLM gateway that speaks OpenAI, Anthropic and Ollama. Members that are not listed pass "
    "through to the backend. Every answer has X-Request-ID; routed ones say where they come from."
)


def client_document(apps: Iterable[Klein], *, is_open: bool) -> Document:
    """
    Give the document.

    Args:
        is_open: Whether no key is asked for.
    """
    found = [one for app in apps for one in _operations(app, is_open=is_open)]
    return document("lmgateway", own_version(), found, SCHEMES, _ABOUT)


def _operations(app: Klein, *, is_open: bool) -> Iterator[Operation]:
    for rule in app.url_map.iter_rules():
        route = app.endpoints[rule.endpoint]
        text = cleandoc(getattr(route, "__original__", route).__doc__ or "")
        for method in sorted((rule.methods or set()) - {"HEAD"}):
            body, answer, stream = _shape(rule.rule)
            public = is_open or rule.rule.encode() in OPEN_PATHS
            yield Operation(
                method=method,
                path=rule.rule,
                tag=_tag(rule.rule),
                summary=text.partition("\n")[0],
                description=" ".join(text.split()),
                body=None if body is None else Content(of=body),
                answers=dict(_answers(rule.rule, answer, stream)),
                security=() if public else ("key", "x-api-key"),
            )


def _shape(path: str) -> tuple[Schema | None, Schema | None, str]:
    if path in ("/docs", "/openapi.json"):
        return None, None, ""
    return SHAPES.get(path.removeprefix("/v1"), (None, WELL, ""))


def _answers(
    path: str, answer: Schema | None, stream: str
) -> Iterator[tuple[str, tuple[Content, ...]]]:
    if path == "/docs":
        yield "200", (Content(media=MEDIA),)
    else:
        streamed = (Content(media=stream),) if stream else ()
        yield "200", (Content(of=answer or {"type": "object"}), *streamed)
    fault = Content(of=_fault(path), description="What went wrong, in the grammar of the path.")
    yield "4XX", (fault,)
    yield "5XX", (Content(of=WELL) if "ready" in path or "readiness" in path else fault,)


def _fault(path: str) -> Schema:
    """What errors are like: OpenAI's where a request was too strange for its path to be read."""
    if path.startswith("/v1/messages"):
        return {"anyOf": [ANTHROPIC_FAULT, OPENAI_FAULT]}
    if path.startswith("/api/"):
        return {"anyOf": [OLLAMA_FAULT, OPENAI_FAULT]}
    if path.endswith("/models") or "/models/" in path:
        return {"anyOf": [OPENAI_FAULT, ANTHROPIC_FAULT]}
    return OPENAI_FAULT


def _tag(path: str) -> str:
    if path.startswith("/api/"):
        return "Ollama"
    if path.startswith("/v1/messages"):
        return "Anthropic"
    bare = path.removeprefix("/v1")
    if bare in SHAPES and bare not in ("/me", "/route/explain", "/status"):
        return "OpenAI"
    return "Gateway"
