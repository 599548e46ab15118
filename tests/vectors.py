"""What backends of each grammar answer, in the style of recorded traffic; not our own mock."""

from __future__ import annotations

import json
from typing import Any

from twisted.web.server import Request

from tests.fakes import Asked, Script

DIALECTS = ("openai", "anthropic", "ollama")
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "ollama": "/api/chat"}

SAID = "Héllo, wörld 🌍"
PIECES = ("Héllo, ", "wörld", " 🌍")
CALLS = (("get_weather", '{"city":"Paris"}'), ("get_time", "{}"))
"""Two at once, the second without arguments."""
IN, OUT = 11, 7

Body = dict[str, Any]


def _calls_openai(*, indexed: bool) -> list[Body]:
    return [
        {
            **({"index": n} if indexed else {}),
            "id": f"call_{n}abc",
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }
        for n, (name, arguments) in enumerate(CALLS)
    ]


def _completion(message: Body, reason: str) -> Body:
    return {
        "id": "chatcmpl-AbC123",
        "object": "chat.completion",
        "created": 1741570283,
        "model": "gpt-5-mini-2025-08-07",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "refusal": None, **message},
                "logprobs": None,
                "finish_reason": reason,
            }
        ],
        "usage": {"prompt_tokens": IN, "completion_tokens": OUT, "total_tokens": IN + OUT},
    }


def _message(content: list[Body], reason: str) -> Body:
    return {
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5-20250929",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": IN, "output_tokens": OUT},
    }


def _line(message: Body, *, reason: str | None = None) -> Body:
    line: Body = {
        "model": "qwen3:4b",
        "created_at": "2025-08-04T19:22:45.499127Z",
        "message": {"role": "assistant", **message},
        "done": reason is not None,
    }
    if reason is not None:
        line.update(
            done_reason=reason,
            total_duration=5589157167,
            load_duration=3013701500,
            prompt_eval_count=IN,
            prompt_eval_duration=1160282000,
            eval_count=OUT,
            eval_duration=1363000000,
        )
    return line


def _calls_ollama() -> list[Body]:
    return [{"function": {"name": n, "arguments": json.loads(a)}} for n, a in CALLS]


def _tool_uses() -> list[Body]:
    return [
        {"type": "tool_use", "id": f"toolu_0{n}", "name": name, "input": json.loads(arguments)}
        for n, (name, arguments) in enumerate(CALLS)
    ]


_REASONS = {
    "openai": {"stop": "stop", "length": "length"},
    "anthropic": {"stop": "end_turn", "length": "max_tokens"},
    "ollama": {"stop": "stop", "length": "length"},
}


def text(dialect: str, reason: str = "stop") -> Body:
    """Give a whole answer that says ``SAID``."""
    own = _REASONS[dialect][reason]
    if dialect == "openai":
        return _completion({"content": SAID}, own)
    if dialect == "anthropic":
        return _message([{"type": "text", "text": SAID}], own)
    return _line({"content": SAID}, reason=own)


def calls(dialect: str) -> Body:
    """Give a whole answer that makes ``CALLS`` and says nothing."""
    if dialect == "openai":
        made = _calls_openai(indexed=False)
        return _completion({"content": None, "tool_calls": made}, "tool_calls")
    if dialect == "anthropic":
        return _message(_tool_uses(), "tool_use")
    return _line({"content": "", "tool_calls": _calls_ollama()}, reason="stop")


# Streams -------------------------------------------------------------------
def _data(document: Body) -> bytes:
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


def _chunk(delta: Body, reason: str | None = None) -> bytes:
    return _data(
        {
            "id": "chatcmpl-AbC123",
            "object": "chat.completion.chunk",
            "created": 1741570283,
            "model": "gpt-5-mini-2025-08-07",
            "service_tier": "default",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}],
            "usage": None,
        }
    )


def usage_chunk() -> bytes:
    """Give OpenAI's event that tells nothing but the usage."""
    usage = {"prompt_tokens": IN, "completion_tokens": OUT, "total_tokens": IN + OUT}
    return _data(
        {
            "id": "chatcmpl-AbC123",
            "object": "chat.completion.chunk",
            "created": 1741570283,
            "model": "gpt-5-mini-2025-08-07",
            "choices": [],
            "usage": usage,
        }
    )


def _event(kind: str, **members: Any) -> bytes:
    document = json.dumps({"type": kind, **members}, ensure_ascii=False)
    return f"event: {kind}\ndata: {document}\n\n".encode()


def _begun() -> list[bytes]:
    message = {**_message([], ""), "stop_reason": None}
    message["usage"] = {"input_tokens": IN, "output_tokens": 1}
    return [_event("message_start", message=message), _event("ping")]


def _ended(reason: str) -> list[bytes]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [
        _event("message_delta", delta=delta, usage={"output_tokens": OUT}),
        _event("message_stop"),
    ]


def _block(index: int, block: Body, *deltas: Body) -> list[bytes]:
    return [
        _event("content_block_start", index=index, content_block=block),
        *(_event("content_block_delta", index=index, delta=delta) for delta in deltas),
        _event("content_block_stop", index=index),
    ]


def _lines(*lines: Body) -> list[bytes]:
    return [json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines]


def streamed_text(dialect: str, reason: str = "stop") -> list[bytes]:
    """Give a stream that says ``SAID``, an event a part."""
    own = _REASONS[dialect][reason]
    if dialect == "openai":
        said = [_chunk({"content": piece}) for piece in PIECES]
        first = _chunk({"role": "assistant", "content": "", "refusal": None})
        return [first, *said, _chunk({}, own), usage_chunk(), b"data: [DONE]\n\n"]
    if dialect == "anthropic":
        deltas = [{"type": "text_delta", "text": piece} for piece in PIECES]
        return [*_begun(), *_block(0, {"type": "text", "text": ""}, *deltas), *_ended(own)]
    said = _lines(*(_line({"content": piece}) for piece in PIECES))
    return [*said, *_lines(_line({"content": ""}, reason=own))]


def streamed_calls(dialect: str) -> list[bytes]:
    """Give a stream that makes ``CALLS``, their arguments in pieces where the grammar has them."""
    if dialect == "openai":
        parts = [_chunk({"role": "assistant", "content": None})]
        for call in _calls_openai(indexed=True):
            arguments = call["function"]["arguments"]
            begun = {**call, "function": {**call["function"], "arguments": ""}}
            parts.append(_chunk({"tool_calls": [begun]}))
            for piece in (arguments[:6], arguments[6:]):
                delta = {"index": call["index"], "function": {"arguments": piece}}
                parts.append(_chunk({"tool_calls": [delta]}))
        return [*parts, _chunk({}, "tool_calls"), usage_chunk(), b"data: [DONE]\n\n"]
    if dialect == "anthropic":
        parts = _begun()
        for index, block in enumerate(_tool_uses()):
            arguments = CALLS[index][1] if block["input"] else ""
            pieces = ["", arguments[:6], arguments[6:]]
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
            parts += _block(index, {**block, "input": {}}, *deltas)
        return [*parts, *_ended("tool_use")]
    said = [_line({"content": "", "tool_calls": [call]}) for call in _calls_ollama()]
    return _lines(*said, _line({"content": ""}, reason="stop"))


# Scripts -------------------------------------------------------------------
def answering(whole: Body, parts: list[bytes]) -> Script:
    """Make a script that answers whole or streamed, as it is asked."""

    def script(request: Request, asked: Asked) -> Body | None:
        ollama = asked.path.startswith("/api/")
        if asked.path == "/v1/completions":
            return _completed(request, asked, whole, parts)
        if not asked.body.get("stream", ollama):
            return whole
        send(request, asked, parts)
        request.finish()
        return None

    return script


def _completed(request: Request, asked: Asked, whole: Body, parts: list[bytes]) -> Body | None:
    """Answer a legacy completion with what a chat completion would have said."""
    if not asked.body.get("stream"):
        return _as_text(whole)
    send(request, asked, parts)
    request.finish()
    return None


def _as_text(document: Body) -> Body:
    choices = [
        {
            "index": 0,
            "text": choice.get("message", choice.get("delta", {})).get("content") or "",
            "logprobs": None,
            "finish_reason": choice["finish_reason"],
        }
        for choice in document["choices"]
    ]
    return {**document, "object": "text_completion", "choices": choices}


def send(request: Request, asked: Asked, parts: list[bytes]) -> None:
    """Write a stream's parts, with the content type of the grammar."""
    ollama = asked.path.startswith("/api/")
    kind = "application/x-ndjson" if ollama else "text/event-stream; charset=utf-8"
    request.setHeader("content-type", kind)
    for part in parts:
        legacy = asked.path == "/v1/completions" and b"[DONE]" not in part
        request.write(_data(_as_text(json.loads(part[6:]))) if legacy else part)


def saying(document: Body) -> Script:
    """Make a script that answers every request with one document."""
    return lambda request, asked: document


def breaking(parts: list[bytes]) -> Script:
    """Make a script that streams *parts* and cuts the connection."""

    def script(request: Request, asked: Asked) -> None:
        send(request, asked, parts)
        transport: Any = request.transport
        transport.loseConnection()  # no last chunk: what was written goes out first

    return script


def refusing(dialect: str, code: int, **headers: str) -> Script:
    """Make a script that refuses, in the grammar's own envelope."""
    message = f"refused with {code}"
    document: Body
    if dialect == "openai":
        document = {"error": {"message": message, "type": "x", "param": None, "code": None}}
    elif dialect == "anthropic":
        kinds = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}
        kinds |= {429: "rate_limit_error", 500: "api_error", 529: "overloaded_error"}
        document = {"type": "error", "error": {"type": kinds[code], "message": message}}
    else:
        document = {"error": message}

    def script(request: Request, asked: Asked) -> None:
        request.setResponseCode(code)
        request.setHeader("content-type", "application/json")
        for name, value in headers.items():
            request.setHeader(name.replace("_", "-"), value)
        request.write(json.dumps(document).encode())
        request.finish()

    return script
