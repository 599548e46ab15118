"""
What the mock reads of a request: the few facts that its answer depends on.

The request is a client's, checked only as far as its dialect checks: whatever
is not of the expected kind is taken as absent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from lmgateway.backend_errors import Rejected
from lmgateway.chat import ChatRequest, Document, Overrides
from lmgateway.classes import frozen

MAX_CHOICES = 128
MAX_INPUTS = 2048
_PER_MESSAGE = 4
"""Tokens that a message costs beside its text."""

_sorted = msgspec.json.Encoder(order="sorted").encode
_NOT_ASKED = frozenset({"model", "stream", "stream_options", "user"})


@frozen(kw_only=True)
class Ask:
    """
    What is asked.

    Attributes:
        model: The target's model.
        text: The last user message's text.
        results: The tool results that the messages end with; empty if they do not.
        tools: The JSON Schemas of the functions to be called, by name: those that the request
            forces, or that its text names.
        wants_json: Whether the answer must be JSON.
        schema: The JSON Schema of the answer, if one is given.
        max_tokens: The bound on the output.
        stop: What the answer must not contain.
        choices: How many answers are asked for.
        seed: The request's own seed.
        top_logprobs: How many alternatives to tell per token; ``None`` if logprobs are not asked.
        input_tokens: An estimate of the prompt.
    """

    model: str
    text: str = ""
    results: tuple[str, ...] = ()
    tools: Mapping[str, object] = {}
    wants_json: bool = False
    schema: object = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    choices: int = 1
    seed: int | None = None
    top_logprobs: int | None = None
    input_tokens: int = 0


def ask_of(request: ChatRequest, overrides: Overrides) -> Ask:
    """Read a chat request."""
    hub = request.hub
    messages = [m for m in _list(hub.get("messages")) if isinstance(m, dict)]
    text = _last_text(messages)
    results = _trailing_results(messages)
    format_ = _dict(hub.get("response_format"))
    return Ask(
        model=overrides.model,
        text=text,
        results=results,
        tools={} if results else _called(hub, text),
        wants_json=format_.get("type") in ("json_object", "json_schema"),
        schema=_dict(format_.get("json_schema")).get("schema"),
        max_tokens=_bound(hub, overrides),
        stop=_stops(hub.get("stop")),
        choices=_choices(hub),
        seed=_int(hub.get("seed")),
        top_logprobs=(_int(hub.get("top_logprobs")) or 0) if hub.get("logprobs") is True else None,
        input_tokens=_prompt_tokens(hub, messages, overrides),
    )


def asks_of_prompts(request: ChatRequest, overrides: Overrides) -> list[Ask]:
    """
    Read a legacy completions request: one for each prompt.

    Raises:
        Rejected: If there are more prompts than a real server takes.
    """
    hub = request.hub
    prompts = inputs_of(hub.get("prompt", ""), "prompt")
    choices = _choices(hub)
    if len(prompts) * choices > MAX_INPUTS:
        raise Rejected(f"No more than {MAX_INPUTS} choices are given.", param="n")
    return [
        Ask(
            model=overrides.model,
            text=prompt,
            max_tokens=_bound(hub, overrides),
            stop=_stops(hub.get("stop")),
            choices=choices,
            seed=_int(hub.get("seed")),
            input_tokens=tokens_in(prompt),
        )
        for prompt in prompts
    ]


def inputs_of(value: object, param: str) -> list[str]:
    """
    Give the texts of a prompt or an embedding input: a string, a list of them, or token lists.

    Raises:
        Rejected: If it is none of these, empty or too long.
    """
    items = value if isinstance(value, list) else [value]
    if value and items is value and all(type(item) is int for item in items):
        items = [items]
    if not items or len(items) > MAX_INPUTS:
        raise Rejected(f"The member {param!r} must have 1 to {MAX_INPUTS} entries.", param=param)
    return [_input(item, param) for item in items]


def _input(item: object, param: str) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, list) and item and all(type(token) is int for token in item):
        return " ".join(map(str, item))
    raise Rejected(f"The member {param!r} must hold text or tokens.", param=param)


def fixture_key(request: ChatRequest) -> str:
    """Give the hash of what is asked, whoever is asked and however it is to be delivered."""
    asked = {name: value for name, value in request.hub.items() if name not in _NOT_ASKED}
    return sha256(_sorted(asked)).hexdigest()[:16]


def tokens_in(text: str) -> int:
    """Estimate the tokens of a text: about four bytes each."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return -(-size // 4)


def text_of(content: object) -> str:
    """Give the text of a message's content, whether a string or parts."""
    if isinstance(content, str):
        return content
    parts = [part for part in _list(content) if isinstance(part, dict)]
    return "\n".join([part["text"] for part in parts if isinstance(part.get("text"), str)])


def _last_text(messages: Sequence[Document]) -> str:
    for message in reversed(messages):
        if message.get("role") == "user":
            return text_of(message.get("content"))
    return ""


def _trailing_results(messages: Sequence[Document]) -> tuple[str, ...]:
    results: list[str] = []
    for message in reversed(messages):
        if message.get("role") not in ("tool", "function"):
            break
        results.insert(0, text_of(message.get("content")))
    return tuple(results)


def _called(hub: Document, text: str) -> Mapping[str, object]:
    """The functions that an answer must call."""
    tools = _declared(hub)
    choice = hub.get("tool_choice")
    if not tools or choice == "none":
        return {}
    if isinstance(choice, dict):
        forced = _dict(choice.get("function")).get("name")
        return {name: tools[name] for name in tools if name == forced}
    named = [name for name in tools if _names(text, name)]
    named.sort(key=text.find)
    if not named and (choice == "required" or "mock:tool" in text):
        named = [next(iter(tools))]
    if hub.get("parallel_tool_calls") is False:
        del named[1:]
    return {name: tools[name] for name in named}


def _declared(hub: Document) -> dict[str, object]:
    functions = [_dict(_dict(tool).get("function")) for tool in _list(hub.get("tools"))]
    return {
        function["name"]: function.get("parameters")
        for function in functions
        if isinstance(function.get("name"), str) and function["name"]
    }


def _names(text: str, name: str) -> bool:
    return name in text and bool(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text))


def _choices(hub: Document) -> int:
    number = _int(hub.get("n")) or 1
    if not 1 <= number <= MAX_CHOICES:
        raise Rejected(f"The member 'n' must be from 1 to {MAX_CHOICES}.", param="n")
    return number


def _bound(hub: Document, overrides: Overrides) -> int | None:
    own = _int(hub.get("max_completion_tokens")) or _int(hub.get("max_tokens"))
    return own or overrides.max_tokens


def _stops(value: object) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else _list(value)
    return tuple([stop for stop in given if isinstance(stop, str) and stop])


def _prompt_tokens(hub: Document, messages: Sequence[Document], overrides: Overrides) -> int:
    total = tokens_in(overrides.system_prompt or "")
    for message in messages:
        total += _PER_MESSAGE + tokens_in(text_of(message.get("content")))
    if tools := hub.get("tools"):
        total += len(msgspec.json.encode(tools)) // 4
    return total


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _int(value: object) -> int | None:
    return value if type(value) is int else None
