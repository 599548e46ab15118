"""
What the mock says.

In this order: a fixture's answer; a call of the tools that the request forces
or names; a text that quotes the tool results which the messages end with;
JSON, where that is asked for; else text in the configured style.  The same
request gets the same answer, streamed or not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random
from typing import Literal

from attrs import evolve

from lmgateway.backends.mock_ask import Ask
from lmgateway.backends.mock_schema import example
from lmgateway.classes import frozen
from lmgateway.dialects.document import encode

Style = Literal["plain", "echo", "lorem", "scripted"]

MAX_TEXT = 65_536
"""Characters after which no answer goes on: every model has such a bound."""

LOREM_TOKENS = 120
MAX_LOREM_TOKENS = 1024
_QUOTED = 200
_ARGUMENT_PIECE = 12
_WORD = re.compile(r"\s*\S+|\s+")
_PROSE = (
    "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut "
    "labore et dolore magna aliqua enim ad minim veniam quis nostrud exercitation ullamco laboris "
    "nisi aliquip ex ea commodo consequat duis aute irure in reprehenderit voluptate velit esse "
    "cillum fugiat nulla pariatur excepteur sint occaecat cupidatat non proident sunt culpa qui "
    "officia deserunt mollit anim id est laborum"
)
_LATIN = _PROSE.split()


@frozen(kw_only=True)
class ToolCall:
    """One call of a declared function; ``arguments`` is JSON text."""

    name: str
    arguments: str

    @property
    def pieces(self) -> tuple[str, ...]:
        """The arguments as they are streamed."""
        text = self.arguments
        return tuple([text[i : i + _ARGUMENT_PIECE] for i in range(0, len(text), _ARGUMENT_PIECE)])


@frozen(kw_only=True)
class Said:
    """
    What one choice of an answer says.

    Attributes:
        pieces: The text as it is streamed.
        reasoning: What a reasoning model thinks before it answers.
        usage: Members of ``usage`` that a fixture dictates.
    """

    pieces: tuple[str, ...] = ()
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = "stop"
    usage: Mapping[str, int] = {}

    @property
    def text(self) -> str:
        """The text as a whole."""
        return "".join(self.pieces)


def compose(ask: Ask, style: Style, seed: int, index: int) -> Said:
    """
    Say something, in full: neither bounds nor stop words are minded yet.

    Args:
        seed: Used where the request has none of its own.
        index: Which of the request's choices this is.
    """
    if ask.tools:
        calls = tuple([_call(name, schema) for name, schema in ask.tools.items()])
        return Said(tool_calls=calls, finish_reason="tool_calls")
    if ask.results:
        text = f"The tool answered: {'; '.join(ask.results)}"
    elif ask.wants_json:
        text = _json(ask)
    else:
        text = _prose(ask, style, seed, index)
    if len(text) > MAX_TEXT:
        return Said(pieces=words(text[:MAX_TEXT]), finish_reason="length")
    return Said(pieces=words(text))


def _call(name: str, schema: object) -> ToolCall:
    arguments = example(schema) if isinstance(schema, dict) else {}
    return ToolCall(name=name, arguments=to_json(arguments if isinstance(arguments, dict) else {}))


def _json(ask: Ask) -> str:
    if isinstance(ask.schema, dict):
        return to_json(example(ask.schema))
    return to_json({"answer": "This is the built-in mock model.", "asked": ask.text[:_QUOTED]})


def _prose(ask: Ask, style: Style, seed: int, index: int) -> str:
    if style == "echo":
        return ask.text
    if style == "lorem":
        random = Random(f"{seed if ask.seed is None else ask.seed} {index} {ask.model} {ask.text}")
        return _lorem(random, min(ask.max_tokens or LOREM_TOKENS, MAX_LOREM_TOKENS))
    asked = " ".join(ask.text.split())
    if len(asked) > _QUOTED:
        asked = asked[:_QUOTED].rstrip() + "..."
    about = f'You asked: "{asked}".' if asked else "You asked nothing yet."
    again = f" This is choice {index + 1} of {ask.choices}." if ask.choices > 1 else ""
    return (
        f"Hello! I am {ask.model}, played by the mock that is built into lmgateway. {about} "
        "I only say this, but streams, tools, JSON mode and token usage work as with a real "
        f"model. Name a real backend in the config file to get real answers.{again}"
    )


def _lorem(random: Random, tokens: int) -> str:
    """Prose of at least so many tokens: the bound cuts off the rest."""
    sentences: list[str] = []
    left = tokens * 4
    while left > 0:
        chosen = random.choices(_LATIN, k=random.randint(6, 14))
        if len(chosen) > 9:
            chosen[len(chosen) // 2] += ","
        sentences.append(" ".join(chosen).capitalize() + ".")
        left -= len(sentences[-1]) + 1
    return " ".join(sentences)


def to_json(value: object) -> str:
    """Give a value as compact JSON text."""
    return encode(value).decode()


def words(text: str) -> tuple[str, ...]:
    """Cut a text before its spaces, as models' tokens are."""
    return tuple(_WORD.findall(text))


def spread(said: Said, count: int) -> Said:
    """Cut the text into *count* pieces of nearly the same length."""
    text = said.text
    size = len(text)
    cuts = [text[i * size // count : (i + 1) * size // count] for i in range(min(count, size))]
    if count > size:
        cuts = list(text)
    return evolve(said, pieces=tuple(cuts))


def filled(said: Said, count: int) -> Said:
    """Give the text exactly *count* words: some more, or not all."""
    own = said.pieces[:count]
    more = count - len(own)
    turns = -(-more // len(_LATIN)) if more else 0
    filler = ([f" {word}" for word in _LATIN] * turns)[:more]
    return evolve(said, pieces=(*own, *filler))


def bounded(said: Said, ask: Ask) -> Said:
    """Cut the text off at the first stop word, or where the output bound is reached."""
    if not ask.stop and ask.max_tokens is None:
        return said
    text = said.text
    found = [place for stop in ask.stop if (place := text.find(stop)) >= 0]
    size = min(found, default=len(text))
    reason = said.finish_reason
    if ask.max_tokens is not None:
        room = len(text[:size].encode()[: ask.max_tokens * 4].decode("utf-8", "ignore"))
        if room < size:
            size, reason = room, "length"
    if size == len(text):
        return said
    return evolve(said, pieces=_shortened(said.pieces, size), finish_reason=reason)


def _shortened(pieces: Sequence[str], size: int) -> tuple[str, ...]:
    kept: list[str] = []
    for piece in pieces:
        if size <= 0:
            break
        kept.append(piece[:size])
        size -= len(piece)
    return tuple(kept)
