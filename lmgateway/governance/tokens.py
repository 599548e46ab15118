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
    hub = request.hub
    prompt = _bytes([hub[name] for name in _PROMPT if name in hub])
    return Ask(-(-prompt // BYTES_PER_TOKEN), _output(hub))


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


def _bytes(rest: list[Any]) -> int:
    """Give the bytes of all text in *rest*, which is used up."""
    total = 0
    for part in rest:  # which grows meanwhile
        if type(part) is str:
            if part.startswith("data:"):
                total += TOKENS_PER_FILE * BYTES_PER_TOKEN
            else:
                total += len(part) if part.isascii() else len(part.encode("utf-8", "replace"))
        elif type(part) is dict:
            rest += part.values()
        elif type(part) is list:
            rest += part
    return total
