"""
Anthropic's Messages API, both ways against the hub.

https://platform.claude.com/docs/en/api/messages, version ``2023-06-01``.  What is
said how stands at the head of the module that says it:

==============================  =====================================================
``anthropic_parse``             a client's request, into the hub
``anthropic_content``           its turns and blocks
``anthropic_render``            a backend's request: the diagonal, and from the hub
``anthropic_turns``             hub messages as turns and blocks
``anthropic_answer``            whole answers, both ways
``anthropic_reader``            a backend's stream, into the hub
``anthropic_writer``            a client's stream, from the hub
``anthropic_errors``            the error envelope, both ways
==============================  =====================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct

from lmgateway.backend_errors import BackendError
from lmgateway.chat import ChatRequest, Document, Endpoint, Overrides
from lmgateway.dialects import anthropic_answer as answers
from lmgateway.dialects import anthropic_errors as errors
from lmgateway.dialects.anthropic_parse import parse, unsaid
from lmgateway.dialects.anthropic_reader import AnthropicReader
from lmgateway.dialects.anthropic_render import dropped, render
from lmgateway.dialects.anthropic_writer import AnthropicWriter
from lmgateway.dialects.base import Answer, Dialect, Quirks
from lmgateway.dialects.document import encode
from lmgateway.errors import GatewayError

__all__ = ["ANTHROPIC", "Anthropic", "count_tokens_answer", "dropped", "models_page", "unsaid"]


class Anthropic(Struct, frozen=True):
    """The dialect: see ``dialects.base.Dialect`` for what each method is for."""

    name: str = "anthropic"
    framing: Literal["sse", "ndjson"] = "sse"

    def parse(self, raw: bytes, endpoint: Endpoint) -> ChatRequest:
        """
        Read a client's body: ``chat`` or ``count_tokens``.

        Raises:
            MalformedRequest: With ``param``, whatever is wrong with it.
        """
        return parse(raw, endpoint)

    def render(self, request: ChatRequest, overrides: Overrides, quirks: Quirks) -> bytes:
        """
        Give the body for a backend.

        Raises:
            MalformedRequest: If a hub request is not well formed where it must be read.
            Unsupported: If it says what this grammar cannot.
        """
        return render(request, overrides, quirks)

    def path(self, request: ChatRequest) -> str | None:
        """Give the path of what takes ``render``'s body; there are no embeddings here."""
        if request.endpoint == "embeddings":
            return None
        counts = request.endpoint == "count_tokens"
        return "/v1/messages/count_tokens" if counts else "/v1/messages"

    def dropped(self, request: ChatRequest, overrides: Overrides | None = None) -> tuple[str, ...]:
        """Give the members of a request that ``render`` leaves out."""
        if request.dialect == self.name:
            return ()
        return (*request.unsaid, *dropped(request.hub, overrides))

    def read_answer(self, body: bytes) -> Answer:
        """
        Read a backend's whole answer.

        Raises:
            BackendError: If it is not one: ``ProtocolError``, or what the error in it says.
        """
        return answers.read_answer(body)

    def decode_answer(self, answer: Answer) -> Document:
        """Give the hub form of an answer."""
        return answers.decode_answer(answer)

    def write_answer(self, hub: Document, request: ChatRequest) -> bytes:
        """Give a hub answer as an Anthropic client expects it."""
        return answers.write_answer(hub, request)

    def reader(self, quirks: Quirks) -> AnthropicReader:
        """Make a reader for one backend stream."""
        return AnthropicReader()

    def writer(self, request: ChatRequest) -> AnthropicWriter:
        """Make a writer for one client stream."""
        return AnthropicWriter(request)

    def write_error(self, error: GatewayError, request_id: str) -> bytes:
        """Give the error envelope."""
        return errors.write_error(error, request_id)

    def read_error(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> BackendError:
        """Say what a backend's refusal means.  Never raises."""
        return errors.read_error(status, headers, body)


ANTHROPIC: Final[Dialect] = Anthropic()


def models_page(names: Sequence[str], created_at: str = "1970-01-01T00:00:00Z") -> bytes:
    """Give the answer to ``GET /v1/models`` with all of *names*, in one page."""
    page: Document = {
        "data": [_model(name, created_at) for name in names],
        "has_more": False,
        "first_id": names[0] if names else None,
        "last_id": names[-1] if names else None,
    }
    return encode(page)


def model_document(name: str, created_at: str = "1970-01-01T00:00:00Z") -> bytes:
    """Give the answer to ``GET /v1/models/{id}``."""
    return encode(_model(name, created_at))


def _model(name: str, created_at: str) -> Document:
    return {"type": "model", "id": name, "display_name": name, "created_at": created_at}


def count_tokens_answer(input_tokens: int) -> bytes:
    """Give the answer to ``POST /v1/messages/count_tokens``."""
    return encode({"input_tokens": input_tokens})
