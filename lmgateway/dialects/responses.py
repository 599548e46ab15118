"""
OpenAI's Responses (https://platform.openai.com/docs/api-reference/responses), as a surface.

There is no backend of this grammar: a request is read into the hub, and served
by whatever backend, so ``render`` and the reading of answers do not exist.

Requests
--------
==============================  ===============================================
Responses                       hub
==============================  ===============================================
``instructions``                a system message, first
``input``: a string             a user message
``message`` items               messages; ``input_text``, ``output_text``,
                                ``input_image`` (URL, data URI), ``input_file``
                                (data, id), ``input_audio``, ``refusal``
``reasoning`` items             ``reasoning_content`` of the assistant's turn:
                                the text, else the summary
``function_call`` items         ``tool_calls`` of the assistant's turn
``function_call_output`` items  ``tool`` messages, text or parts
``tools``: functions            ``tools``
``tool_choice``                 ``tool_choice``; ``allowed_tools`` leaves only
                                those
``text.format``                 ``response_format``
``text.verbosity``              ``verbosity``
``reasoning.effort``            ``reasoning_effort``
``reasoning.summary``           how reasoning is told in the answer
``max_output_tokens``           ``max_tokens``
``top_logprobs``, ``include``   ``logprobs``, ``top_logprobs``
sampling members                the same: ``temperature``, ``top_p``,
                                ``parallel_tool_calls``, ``metadata``, ``user``
                                and so on
==============================  ===============================================

Refused: ``previous_response_id``, ``conversation``, ``prompt``, ``background``,
``store: true`` and ``item_reference`` (400, ``unsupported_parameter``: nothing
is stored; ``store`` absent or false is fine), tools other than functions and
items of such tools (422).  Without effect, and named as dropped:
``truncation: auto``, ``max_tool_calls`` and members unknown here; without
effect, since they ask for nothing that is here: the rest of ``include``.

Answers
-------
========================  ============================================================
hub                       Responses
========================  ============================================================
``reasoning_content``     a ``reasoning`` item: ``content`` with ``reasoning_text``,
                          or the ``summary`` if asked
``content``, ``refusal``  a ``message`` item with ``output_text`` and ``refusal``
                          parts
``tool_calls``            ``function_call`` items, ``call_id`` the call's
``finish_reason``         ``status``: ``length`` and ``content_filter`` are
                          ``incomplete``, all others ``completed``
``usage``                 ``usage``, with cached and reasoning tokens
========================  ============================================================

Streams: see ``responses_stream``.  Errors: OpenAI's envelope.
"""

from __future__ import annotations

from typing import Literal

from lmgateway.chat import ChatRequest, Document, Endpoint
from lmgateway.classes import frozen
from lmgateway.dialects import openai_errors, responses_answer, responses_request
from lmgateway.dialects.base import StreamWriter
from lmgateway.dialects.document import encode, read
from lmgateway.dialects.responses_stream import ResponsesWriter
from lmgateway.errors import GatewayError


@frozen
class Responses:
    """The client's half of ``dialects.base.Dialect``."""

    name: str = "responses"
    framing: Literal["sse", "ndjson"] = "sse"

    def parse(self, raw: bytes, endpoint: Endpoint = "responses") -> ChatRequest:
        """Read a client's body."""
        document, spans = read(raw)
        asked = responses_request.to_hub(document)
        return ChatRequest(
            dialect=self.name,
            endpoint="responses",
            raw=raw,
            document=document,
            spans=spans,
            hub=asked,
            model=asked["model"],
            stream=asked["stream"],
            wants_usage=True,
            unsaid=responses_request.unsaid(document),
        )

    def write_answer(self, hub: Document, request: ChatRequest) -> bytes:
        """Give a hub answer as a response object."""
        return encode(responses_answer.whole(hub, request))

    def writer(self, request: ChatRequest) -> StreamWriter:
        """Make a writer for one client stream."""
        return ResponsesWriter(request)

    def write_error(self, error: GatewayError, request_id: str) -> bytes:
        """Give OpenAI's error envelope."""
        return openai_errors.write_error(error, request_id)


RESPONSES = Responses()
