"""
How many tokens a request is, counted no more exactly than the question needs.

=======================  =====================================================
when                     how
=======================  =====================================================
far below every limit    the size of the body: a token is at least a byte
near a limit             text by text: by the tokenizer (o200k) if the
                         ``tokens`` extra is there, else by length
a large text             the same, in a thread, as is the first of all
=======================  =====================================================

Nothing is ever fetched: the vocabulary comes with this package.

As the reference counts: 4 for each message, its role, its text and its tool
calls, 2 for the list, the tools; a tenth more for safety.  Images count as in
OpenAI's own tables, not by the length of their data.
"""

from __future__ import annotations

import lzma
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.resources import files
from importlib.util import find_spec
from math import ceil
from threading import Lock
from typing import Any, Protocol

from msgspec import Struct
from twisted.internet.defer import Deferred

from lmgateway.chat import ChatRequest, Document
from lmgateway.classes import define
from lmgateway.dialects.document import encode
from lmgateway.routing.needs import media_parts, messages_of, text_of

THREAD_BYTES = 50_000
"""More text than this is not tokenized on the reactor."""

IMAGE = 1445
"""The most that an image costs: 2048 by 768 in tiles of 512."""
LOW_IMAGE = 85
MEDIA_BYTES = 400
"""Bytes of other media for a token: compressed speech at ten tokens a second."""

_MARGIN = 1.1
_PER_MESSAGE = 4

Encode = Callable[[str], int]
"""Gives the number of tokens of a text."""


class InThread(Protocol):
    """Runs a function in a thread: ``partial(deferToThreadPool, ...)``."""

    def __call__(self, function: Callable[[], int], /) -> Deferred[int]:
        """Give its result."""


def rough(text: str) -> int:
    """Guess the tokens of a text by its length, rather too many than too few."""
    if text.isascii():
        return ceil(len(text) / 3.5)
    return ceil(len(text.encode("utf-8", "replace")) / 3.2)


class Tokenizer:
    """
    OpenAI's o200k, read when it is first needed: that takes half a second and 70 MB.

    tiktoken would fetch the vocabulary; it is handed the one that comes with this package.
    """

    def __init__(self) -> None:
        self._encode: Encode | None = None
        self._reading = Lock()

    def __call__(self, text: str) -> int:
        """Give the number of tokens of a text."""
        return (self._encode or self._read())(text)

    @property
    def is_read(self) -> bool:
        """Whether nobody has to wait for it any more."""
        return self._encode is not None

    def _read(self) -> Encode:
        with self._reading:
            if self._encode is None:
                self._encode = _read_vocabulary()
            return self._encode


def _read_vocabulary() -> Encode:
    tiktoken = import_module("tiktoken")
    vocabulary = files("lmgateway.routing") / "vocabulary"
    encoding = tiktoken.Encoding(
        "o200k_base",
        pat_str=(vocabulary / "o200k_base.pattern").read_text("utf-8"),
        mergeable_ranks=ranks((vocabulary / "o200k_base.tiktoken.xz").read_bytes()),
        special_tokens={},
    )

    def count(text: str) -> int:
        return len(encoding.encode_ordinary(text))

    return count


@cache
def offline_encode() -> Tokenizer | None:
    """Give the tokenizer of this process, if the ``tokens`` extra is installed."""
    return Tokenizer() if find_spec("tiktoken") is not None else None


def ranks(packed: bytes) -> dict[bytes, int]:
    """Read a vocabulary: a token in base64 and its rank on each line, the whole xz-packed."""
    lines = (line.split() for line in lzma.decompress(packed).splitlines())
    return {b64decode(token): int(rank) for token, rank in lines}


class Counter(Struct, frozen=True, kw_only=True):
    """
    Counts.

    Attributes:
        encode: The tokenizer; a guess by length if there is none.
        in_thread: Where large texts are tokenized, and the vocabulary is read.
    """

    encode: Encode | None = None
    in_thread: InThread | None = None

    def count(self, request: ChatRequest) -> int:
        """Count a whole request."""
        hub = request.hub
        of = self.encode or rough
        total = sum(map(of, _texts(hub))) + sum(map(_media, media_parts(hub)))
        messages = len(messages_of(hub))
        if "messages" in hub:
            total += _PER_MESSAGE * messages + 2
        return ceil(total * _MARGIN)

    def count_aside(self, request: ChatRequest) -> Deferred[int] | None:
        """Count in a thread what would hold others up; ``None`` if nothing would."""
        if self.encode is None or self.in_thread is None:
            return None
        unread = isinstance(self.encode, Tokenizer) and not self.encode.is_read
        if not unread and len(request.raw) <= THREAD_BYTES:
            return None
        return self.in_thread(lambda: self.count(request))

    def estimate(self, request: ChatRequest) -> Estimate:
        """Begin to count a request."""
        return Estimate(request, self)


@define(eq=False)
class Estimate:
    """The tokens of one request, counted once at most."""

    _request: ChatRequest
    _counter: Counter
    _counted: int | None = None

    async def near(self, limit: float) -> int:
        """Give a number that is to *limit*, and to all above it, as the true one is."""
        if self._counted is None:
            bound = self.bound()
            if bound is not None and bound < limit:
                return bound
            self._counted = await self._count()
        return self._counted

    def bound(self) -> int | None:
        """Give what it cannot exceed, at no cost; ``None`` where media make size meaningless."""
        request = self._request
        if next(media_parts(request.hub), None) is not None:
            return None
        return ceil((len(request.raw) + 8) * _MARGIN)

    async def _count(self) -> int:
        counter, request = self._counter, self._request
        aside = counter.count_aside(request)
        return counter.count(request) if aside is None else await aside


def output_budget(request: ChatRequest) -> int:
    """Give the bound on the answer that the client set; 0 if none."""
    for name in ("max_completion_tokens", "max_tokens"):
        bound = request.hub.get(name)
        if type(bound) is int and bound > 0:
            return bound
    return 0


def _texts(hub: Document) -> Iterator[str]:
    for message in messages_of(hub):
        role = message.get("role")
        if isinstance(role, str):
            yield role
        yield text_of(message)
        if message.get("tool_calls"):
            yield _json(message["tool_calls"])
    if hub.get("tools"):
        yield _json(hub["tools"])
    for name in ("prompt", "input"):
        value = hub.get(name)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                yield text


def _json(value: Any) -> str:
    return encode(value).decode()


def _media(part: Mapping[str, Any]) -> int:
    kind = part.get("type")
    inner = part.get(kind) if isinstance(kind, str) else None
    if kind in ("image", "image_url", "input_image"):
        detail = inner.get("detail") if isinstance(inner, dict) else part.get("detail")
        return LOW_IMAGE if detail == "low" else IMAGE
    inner = inner if isinstance(inner, dict) else part
    data = (value for value in inner.values() if isinstance(value, str))
    return sum(map(len, data)) * 3 // 4 // MEDIA_BYTES
