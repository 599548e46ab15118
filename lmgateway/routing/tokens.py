"""
How many tokens a request is, counted no more exactly than the question needs.

=======================  =====================================================
when                     how
=======================  =====================================================
far below every limit    the size of the body: a token is at least a byte
near a limit             text by text: by the tokenizer (o200k) if the
                         ``tokens`` extra and its data are there, else by length
a large text             the same, in a thread
=======================  =====================================================

Nothing is ever fetched: the vocabulary is read from the folder that
``TIKTOKEN_CACHE_DIR`` names, if it is there and is what it should be.

As the reference counts: 4 for each message, its role, its text and its tool
calls, 2 for the list, the tools; a tenth more for safety.  Images count as in
OpenAI's own tables, not by the length of their data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from importlib import import_module
from math import ceil
from pathlib import Path
from typing import Any, Protocol

from attrs import define, frozen
from twisted.internet.defer import Deferred

from lmgateway.chat import ChatRequest, Document
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

_VOCABULARY = "fb374d419588a4632f3f557e76b4b70aebbca790"
"""The file name that tiktoken gives its copy of o200k: the SHA-1 of its address."""
_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"

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


def offline_encode(environ: Mapping[str, str]) -> Encode | None:
    """Give the tokenizer, if it can be had without asking anyone; takes half a second."""
    # As tiktoken looks: an empty TIKTOKEN_CACHE_DIR hides the other one, and makes it fetch.
    folder = environ.get("TIKTOKEN_CACHE_DIR", environ.get("DATA_GYM_CACHE_DIR"))
    if not folder:
        return None
    try:
        vocabulary = (Path(folder) / _VOCABULARY).read_bytes()
        if sha256(vocabulary).hexdigest() != _SHA256:
            return None
        encoding = import_module("tiktoken").get_encoding("o200k_base")
    except (ImportError, OSError):
        return None

    def count(text: str) -> int:
        return len(encoding.encode(text, disallowed_special=()))

    return count


@frozen(kw_only=True)
class Counter:
    """
    Counts.

    Attributes:
        encode: The tokenizer; a guess by length if there is none.
        in_thread: Where large texts are tokenized.
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
            bound = self._bound()
            if bound is not None and bound < limit:
                return bound
            self._counted = await self._count()
        return self._counted

    def _bound(self) -> int | None:
        """What it cannot exceed, at no cost; ``None`` where media make size meaningless."""
        request = self._request
        if next(media_parts(request.hub), None) is not None:
            return None
        return ceil((len(request.raw) + 8) * _MARGIN)

    async def _count(self) -> int:
        counter, request = self._counter, self._request
        large = len(request.raw) > THREAD_BYTES
        if large and counter.encode is not None and counter.in_thread is not None:
            return await counter.in_thread(lambda: counter.count(request))
        return counter.count(request)


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
