"""
The mock's answers as documents of the hub's grammar, whole and in chunks.

See https://platform.openai.com/docs/api-reference/chat/object for chats,
``.../completions/object`` for legacy completions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum, auto
from itertools import zip_longest
from typing import Any

from lmgateway.backends.mock_answers import Said
from lmgateway.backends.mock_ask import Ask, tokens_in
from lmgateway.chat import Chunk, Document
from lmgateway.classes import frozen

FINGERPRINT = "fp_lmgateway_mock"


class Beat(Enum):
    """When a chunk is sent."""

    NOW = auto()
    """With what comes before or after it."""
    TOKEN = auto()
    """As a token: at the pace of the answer."""


Beats = Iterator[tuple[Beat, Chunk]]


@frozen(kw_only=True)
class Title:
    """
    What all documents of one answer have in common.

    Attributes:
        legacy: Whether this is a legacy text completion.
    """

    id: str
    created: int
    model: str
    legacy: bool = False

    def document(self, kind: str, choices: list[Document]) -> Document:
        """Give a document with these choices."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": FINGERPRINT,
            "choices": choices,
        }


def usage_of(asks: Sequence[Ask], said: Sequence[Said]) -> Document:
    """Give the ``usage`` member: an estimate, unless a fixture says otherwise."""
    told = said[0].usage if said else {}
    reasoning = told.get("reasoning_tokens", sum(tokens_in(one.reasoning) for one in said))
    prompt = told.get("prompt_tokens", sum(ask.input_tokens for ask in asks))
    output = told.get("completion_tokens", sum(_output_tokens(one) for one in said))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": told.get("total_tokens", prompt + output),
        "prompt_tokens_details": {"cached_tokens": told.get("cached_tokens", 0)},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def _output_tokens(said: Said) -> int:
    calls = sum(tokens_in(call.name + call.arguments) for call in said.tool_calls)
    return tokens_in(said.text) + tokens_in(said.reasoning) + calls


def whole(title: Title, asks: Sequence[Ask], said: Sequence[Said]) -> Document:
    """Give a whole answer."""
    choice = _text_choice if title.legacy else _message_choice
    choices = [choice(title, index, one, asks[0]) for index, one in enumerate(said)]
    kind = "text_completion" if title.legacy else "chat.completion"
    return {**title.document(kind, choices), "usage": usage_of(asks, said)}


def _text_choice(title: Title, index: int, said: Said, ask: Ask) -> Document:
    return {
        "text": said.text,
        "index": index,
        "logprobs": None,
        "finish_reason": said.finish_reason,
    }


def _message_choice(title: Title, index: int, said: Said, ask: Ask) -> Document:
    message: Document = {"role": "assistant", "content": said.text, "refusal": None}
    if said.reasoning:
        message["reasoning_content"] = said.reasoning
    if said.tool_calls:
        message["content"] = said.text or None
        message["tool_calls"] = [
            {
                "id": call_id(title, index, number),
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for number, call in enumerate(said.tool_calls)
        ]
    return {
        "index": index,
        "message": message,
        "logprobs": _logprobs(said.pieces, ask),
        "finish_reason": said.finish_reason,
    }


def call_id(title: Title, index: int, number: int) -> str:
    """Give the id of a tool call: unique, and the same streamed or not."""
    return f"call_{title.id.rpartition('-')[2]}{index:x}{number:02x}"


def _logprobs(pieces: Sequence[str], ask: Ask) -> Document | None:
    if ask.top_logprobs is None:
        return None
    return {"content": [_logprob(piece, ask.top_logprobs) for piece in pieces], "refusal": None}


def _logprob(piece: str, alternatives: int) -> Document:
    own = {"token": piece, "logprob": -0.01 * (1 + len(piece) % 7), "bytes": [*piece.encode()]}
    others = [
        {"token": f"{piece}{'*' * n}", "logprob": -1.0 - n, "bytes": [*piece.encode(), *b"*" * n]}
        for n in range(1, min(alternatives, 20))
    ]
    return {**own, "top_logprobs": [own, *others] if alternatives else []}


def streamed(title: Title, asks: Sequence[Ask], said: Sequence[Said]) -> Beats:
    """Give a streamed answer's chunks: choices take turns, the usage comes last."""
    kind = "text_completion" if title.legacy else "chat.completion.chunk"
    deltas = _text_deltas if title.legacy else _message_deltas
    turns = zip_longest(*[deltas(title, i, one, asks[0]) for i, one in enumerate(said)])
    for turn in turns:
        for step in turn:
            if step is not None:
                yield step[0], title.document(kind, [step[1]])
    yield Beat.NOW, {**title.document(kind, []), "usage": usage_of(asks, said)}


def _text_deltas(title: Title, index: int, said: Said, ask: Ask) -> Iterator[tuple[Beat, Document]]:
    for piece in said.pieces:
        yield Beat.TOKEN, {"text": piece, "index": index, "logprobs": None, "finish_reason": None}
    last = {"text": "", "index": index, "logprobs": None, "finish_reason": said.finish_reason}
    yield Beat.NOW, last


def _message_deltas(
    title: Title, index: int, said: Said, ask: Ask
) -> Iterator[tuple[Beat, Document]]:
    first: Document = {"role": "assistant", "content": "", "refusal": None}
    if said.tool_calls and not said.pieces:
        first["content"] = None
    yield Beat.NOW, _choice(index, first)
    if said.reasoning:
        yield Beat.TOKEN, _choice(index, {"reasoning_content": said.reasoning})
    for piece in said.pieces:
        choice = _choice(index, {"content": piece})
        choice["logprobs"] = _logprobs((piece,), ask)
        yield Beat.TOKEN, choice
    for number, call in enumerate(said.tool_calls):
        function: Document = {"name": call.name, "arguments": ""}
        opened = {"id": call_id(title, index, number), "type": "function", "function": function}
        yield Beat.TOKEN, _choice(index, {"tool_calls": [{"index": number, **opened}]})
        for piece in call.pieces:
            delta: dict[str, Any] = {"index": number, "function": {"arguments": piece}}
            yield Beat.TOKEN, _choice(index, {"tool_calls": [delta]})
    yield Beat.NOW, _choice(index, {}, said.finish_reason)


def _choice(index: int, delta: Document, finish_reason: str | None = None) -> Document:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
