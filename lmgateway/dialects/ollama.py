"""
Ollama (https://docs.ollama.com/api), both ways against the hub.

Requests
--------
==============================  ============================================================
Ollama                          hub
==============================  ============================================================
``model``                       ``model``, a tag (``:latest``) included: routing strips it
``stream``, absent: true        ``stream``
``messages[].content``          the same, a string
``messages[].images``           ``image_url`` parts with data URIs, their type told by the
                                first bytes; URLs are refused, not fetched
``messages[].thinking``         ``reasoning_content``
``tool_calls``: objects         ``tool_calls``: JSON text, with ids by position
``tool_name``                   ``tool_call_id``
``tools``                       ``tools``, functions only
``format``                      ``response_format``: ``json`` is ``json_object``, a schema
                                is ``json_schema``
``think``: a boolean            ``think``
``think``: a level              ``reasoning_effort``; ``none`` is false, ``minimal`` is
                                ``low``, ``xhigh`` is ``high``
``options``                     sampling members: see ``ollama_options``
``keep_alive``                  ``keep_alive``; for ever (-1), where neither the caller nor
                                the operator says
``logprobs``, ``top_logprobs``  the same
``prompt``, ``system``          a user and a system message (``/api/generate``)
``suffix``, ``template``,       none: honoured by Ollama backends only, refused
``raw``, ``context``            elsewhere
``input`` (``/api/embed``)      ``input``
``prompt``                      ``input``, one text (``/api/embeddings``)
``dimensions``                  ``dimensions``
==============================  ============================================================

Hub members that Ollama has no word for are left out (``dropped`` names them):
``tool_choice`` other than ``auto`` and ``none`` (which leaves the tools out),
``parallel_tool_calls``, ``logit_bias``, ``user``, ``metadata``, ``store``, ...
``n`` above 1, audio and file parts, image URLs, tools that are no functions
and call arguments that are no object are refused.

On the diagonal the client's bytes are kept, but for the model, ``keep_alive``
and ``think`` where absent, a system prompt, and options that the operator set
and the client did not.

Answers: see ``ollama_answers`` (whole) and ``ollama_stream``.
Errors: ``{"error": "one sentence"}``, always a string, as Ollama's clients
want it; what kind it is stands in the status and in the headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from lmgateway.backend_errors import BackendError, ProtocolError
from lmgateway.chat import ChatRequest, Document, Endpoint, Overrides
from lmgateway.dialects import hub, hub_errors, ollama_answers, ollama_parse, ollama_render
from lmgateway.dialects.base import Answer, Quirks, StreamReader, StreamWriter
from lmgateway.dialects.document import encode, read
from lmgateway.dialects.ollama_stream import OllamaReader, OllamaWriter
from lmgateway.dialects.waits import retry_after
from lmgateway.errors import GatewayError


class Ollama(Struct, frozen=True):
    """The dialect: see ``dialects.base.Dialect``."""

    name: str = "ollama"
    framing: Literal["sse", "ndjson"] = "ndjson"

    def parse(self, raw: bytes, endpoint: Endpoint) -> ChatRequest:
        """Read a client's body for ``chat``, ``generate`` or ``embeddings``."""
        document, spans = read(raw)
        only = None
        if endpoint == "embeddings":
            asked = ollama_parse.embeddings(document)
        elif endpoint == "generate":
            asked = ollama_parse.generate(document)
            only = ollama_parse.diagonal_only(document)
        else:
            asked = ollama_parse.chat(document)
        return ChatRequest(
            dialect=self.name,
            endpoint=endpoint,
            raw=raw,
            document=document,
            spans=spans,
            hub=asked,
            model=hub.model_of(document),
            stream=endpoint != "embeddings" and ollama_parse.streams(document),
            wants_usage=True,
            diagonal_only=only,
            unsaid=ollama_parse.unsaid(document),
        )

    def render(self, request: ChatRequest, overrides: Overrides, quirks: Quirks) -> bytes:
        """Give the body for an Ollama backend, to be sent to ``path(request)``."""
        if request.dialect == self.name:
            return ollama_render.verbatim(request, overrides, quirks)
        return ollama_render.translated(request, overrides, quirks)

    def path(self, request: ChatRequest) -> str | None:
        """Give the path of a backend that takes what ``render`` gives."""
        if request.endpoint == "count_tokens":
            return None
        ours = request.dialect == self.name
        if request.endpoint == "embeddings":
            legacy = ours and "input" not in request.document
            return "/api/embeddings" if legacy else "/api/embed"
        return "/api/generate" if ours and request.endpoint == "generate" else "/api/chat"

    def dropped(self, request: ChatRequest, overrides: Overrides | None = None) -> tuple[str, ...]:
        """Give the members of a request that ``render`` leaves out."""
        return ollama_render.dropped(request)

    def read_answer(self, body: bytes) -> Answer:
        """Read a backend's whole answer."""
        return ollama_answers.read_answer(body)

    def decode_answer(self, answer: Answer) -> Document:
        """Give the hub form of an answer."""
        return ollama_answers.decode_answer(answer)

    def write_answer(self, answer: Document, request: ChatRequest) -> bytes:
        """Give a hub answer as an Ollama client expects it."""
        return ollama_answers.write_answer(answer, request)

    def reader(self, quirks: Quirks) -> StreamReader:
        """Make a reader for one backend stream."""
        return OllamaReader()

    def writer(self, request: ChatRequest) -> StreamWriter:
        """Make a writer for one client stream."""
        return OllamaWriter(request)

    def write_error(self, error: GatewayError, request_id: str) -> bytes:
        """Give Ollama's error: one string."""
        return encode({"error": str(error)})

    def read_error(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> BackendError:
        """Say what a backend's refusal means."""
        try:
            message = hub.text(hub.read_object(body).get("error"))
        except ProtocolError:
            message = ""
        return hub_errors.refusal(status, retry_after(headers), message)


OLLAMA = Ollama()
