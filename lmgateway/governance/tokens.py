"""
About how many tokens a request takes, before anybody has counted them.

Four bytes a token, and a flat sum for whatever is not text.  Good enough to hold
something against a limit until the backend has told the truth.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import msgspec

from lmgateway.chat import ChatRequest, Document

BYTES_PER_TOKEN = 4
TOKENS_PER_FILE = 1000
"""For an image, a sound, a document, however large."""

_PROMPT = frozenset({"messages", "prompt", "input", "prediction", "suffix"})
_DECLARED = frozenset({"tools", "functions", "response_format"})
"""Read by a model, or by what binds it, with the names of their members."""

_TOLD = ("messages", "system", "mcp_servers")
_BESIDE = ("context", "suffix", "template")
"""What Ollama's prompt is made of besides what the hub has."""

_OUTPUT = ("max_completion_tokens", "max_tokens")
"""The bounds on one answer: the larger one counts, as nobody knows which is heeded."""

_ANSWERS = ("n", "best_of")
_SEVERAL = frozenset({*_ANSWERS, "prompt"})
"""Members without which one answer is made."""

_FILES = ("audio_url", "file", "image_url", "input_audio", "video_url")


class Ask(msgspec.Struct, frozen=True, gc=False):
    """
    What a request asks for, in tokens.

    Attributes:
        prompt: What it brings along.
        output: The most that it wants; 0 if it sets no bound.
        answers: How many answers it wants at once.
    """

    prompt: int
    output: int
    answers: int = 1


NOTHING = Ask(0, 0)


def ask_of(request: ChatRequest) -> Ask:
    """Estimate a request; what only counts tokens asks for none."""
    if request.endpoint == "count_tokens":
        return NOTHING
    # Of a completion's prompts the hub has the first one only.
    said = request.document if request.endpoint == "completions" else request.hub
    prompt, document = _bytes([said[name] for name in _PROMPT.intersection(said)]), request.document
    if request.dialect == "anthropic":  # whose blocks the hub has not always a word for
        prompt = max(prompt, _bytes([document[name] for name in _TOLD if name in document]))
    elif request.dialect == "ollama":
        prompt += _bytes([document[name] for name in _BESIDE if name in document])
    if not _DECLARED.isdisjoint(said):
        declared = [said[name] for name in _DECLARED.intersection(said)]
        prompt += _bytes(declared, named=True)
    answers = 1 if _SEVERAL.isdisjoint(said) else _answers(said)
    return Ask(-(-prompt // BYTES_PER_TOKEN), _most(said, _OUTPUT) * answers, answers)


def _answers(said: Document) -> int:
    """Give how many answers are made at once: so many for each prompt."""
    answers = _most(said, _ANSWERS) or 1
    prompt = said.get("prompt")
    if isinstance(prompt, list) and prompt and type(prompt[0]) is not int:
        return answers * len(prompt)
    return answers


def _most(said: Document, names: tuple[str, ...]) -> int:
    """Give the largest of some numbers; nonsense is none."""
    most = 0
    for name in names:
        value = said.get(name)
        if type(value) is int and value > most:
            most = value
    return most


def _bytes(rest: list[Any], *, named: bool = False) -> int:
    """
    Give the bytes of all text in *rest*, which is used up; a number, as a token's, is a token.

    Args:
        named: Whether the names of members count; else files are looked for.
    """
    total = 0
    for part in rest:  # which grows meanwhile
        kind = type(part)
        if kind is str:
            total += len(part) if part.isascii() else len(part.encode("utf-8", "replace"))
        elif kind is dict:
            if named:
                rest += part
            elif "type" in part and (beside := _beside_file(part)) is not None:
                total += TOKENS_PER_FILE * BYTES_PER_TOKEN
                part = beside
            rest += part.values()
        elif kind is list:
            first = type(part[0]) if part else None
            if first is int and set(map(type, part)) == {int}:
                total += len(part) * BYTES_PER_TOKEN  # of which there may be millions
            elif first is dict and not named and (text := _only_text(part)) is not None:
                rest.append(text)
            else:
                rest += part
        elif kind is int or kind is float:
            total += BYTES_PER_TOKEN
    return total


def _only_text(objects: list[Any]) -> str | None:
    """Give the text of objects that hold nothing else, and no file; ``None`` of any others."""
    try:
        text = "".join(chain.from_iterable(map(dict.values, objects)))
    except TypeError:
        return None
    return None if "type" in set().union(*objects) else text


def _beside_file(block: Document) -> Document | None:
    """Give what stands beside a file in its block; ``None`` if the block holds none."""
    kind = block["type"]
    if kind in _FILES and kind in block:
        return {name: value for name, value in block.items() if name != kind}
    return {} if kind == "base64" and "data" in block else None
