"""
Tool calls that a model writes as text, read out of its answer.

Only where it makes sense: the request declares tools, and the backend is said
to write tagged text (``tool_format = "xml"``), or is an Ollama whose models
are known to write ``Name(key="value")`` now and then.  Only declared tools
count, and text that is no call stays text.  What reads such text is imported
when the first of it is to be read: few backends write any.
"""

from __future__ import annotations

from msgspec.structs import replace

from lmgateway.backends.base import Reply
from lmgateway.chat import ChatRequest
from lmgateway.dialects import hub
from lmgateway.dialects.base import Dialect, Quirks, StreamReader
from lmgateway.dialects.ollama import OLLAMA
from lmgateway.dialects.openai import OPENAI


def tagged(request: ChatRequest, quirks: Quirks) -> bool:
    """Whether calls must be looked for in tagged text."""
    return quirks.tool_format == "xml" and bool(request.hub.get("tools"))


def reading(reader: StreamReader, request: ChatRequest, quirks: Quirks) -> StreamReader:
    """Give a stream's reader, or one that reads calls out of tagged text too."""
    if not tagged(request, quirks):
        return reader
    from lmgateway.dialects.xml_tools import schemas_of
    from lmgateway.dialects.xml_tools_stream import XmlToolReader

    return XmlToolReader(reader, schemas_of(request.hub["tools"]))


def read_out(reply: Reply, request: ChatRequest, codec: Dialect, quirks: Quirks) -> Reply:
    """Give a whole reply with the calls of its text as proper ones; the same one if none."""
    if reply.answer is None or not request.hub.get("tools"):
        return reply
    if not tagged(request, quirks) and codec is not OLLAMA:
        return reply
    document = codec.decode_answer(reply.answer)
    if codec is OLLAMA:
        from lmgateway.dialects.ollama_text_calls import with_text_calls

        found = with_text_calls(document, hub.tool_names(request.hub))
    else:
        from lmgateway.dialects.xml_tools import schemas_of, with_xml_calls

        found = with_xml_calls(document, schemas_of(request.hub["tools"]))
    if found is document or found == document:
        return reply
    reason = hub.first_choice(found).get("finish_reason")
    return Reply(
        dialect=OPENAI.name,
        status=reply.status,
        headers=reply.headers,
        dropped=reply.dropped,
        verbatim=False,
        answer=replace(reply.answer, document=found, finish_reason=reason),
    )
