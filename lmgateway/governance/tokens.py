"""
About how many tokens a request takes, before anybody has counted them.

Four bytes a token, and a flat sum for whatever is not text.  Good enough to hold
something against a limit until the backend has told the truth.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from lmgateway.chat import ChatRequest, Document

BYTES_PER_TOKEN = 4
TOKENS_PER_FILE = 1000
"""For an image, a sound, a document, however large."""

_PROMPT = ("messages", "prompt", "input", "tools")
_OUTPUT = ("max_completion_tokens", "max_tokens")


@frozen
class Ask:
    """
    What a request asks for, in tokens.

    Attributes:
        prompt: What it brings along.
        output: The most that it wants; 0 if it sets no bound.
    """

    prompt: int
    output: int


NOTHING = Ask(0, 0)


def ask_of(request: ChatRequest) -> Ask:
    """Estimate a request; what only counts tokens asks for none."""
    if request.endpoint == "count_tokens":
        return NOTHING
    prompt = sum(_estimate(request.hub.get(name)) for name in _PROMPT)
    return Ask(-(-prompt // BYTES_PER_TOKEN), _output(request.hub))


def _output(hub: Document) -> int:
    for name in _OUTPUT:
        bound = hub.get(name)
        if isinstance(bound, int) and bound > 0:
            return bound * _answers(hub)
    return 0


def _answers(hub: Document) -> int:
    """Give how many answers are asked for at once."""
    number = hub.get("n")
    return number if isinstance(number, int) and number > 1 else 1


def _estimate(value: Any) -> int:
    """Give the bytes of all text in *value*."""
    total, rest = 0, [value]
    while rest:
        part = rest.pop()
        if isinstance(part, str):
            total += _text(part)
        elif isinstance(part, dict):
            rest += part.values()
        elif isinstance(part, list):
            rest += part
    return total


def _text(text: str) -> int:
    if text.startswith("data:"):
        return TOKENS_PER_FILE * BYTES_PER_TOKEN
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
