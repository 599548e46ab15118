"""
Gates: is this answer good enough, or should a dearer tier be asked?

Each gate has a name, by which it is switched on, tuned and counted.

============  ==============================================  =====  ======
gate          fires when                                      whole  prefix
============  ==============================================  =====  ======
tool_valid    a called tool was not declared, or its          yes    no
              arguments break its schema
refusal       it opens with a refusal, in any of many         yes    yes
              languages
empty         nothing but white space                         yes    yes
truncated     it ran out of its output bound                  yes    no
json_valid    JSON was asked for, and this is none, or        yes    start
              breaks the schema
length        it has fewer than ``min_bytes``                 yes    no
language      it is not in the language of the question       yes    yes
repetition    it says the same over and over                  yes    yes
judge         a cheap tier scores it below ``min_score``      yes    no
============  ==============================================  =====  ======

An answer that calls tools is judged by ``tool_valid`` alone, one in JSON not by
its length or language.  Everything here is a pure function of the answer and
the request; ``judge``, which asks a backend, is in ``gate_judge``.
"""

from __future__ import annotations

from collections.abc import Iterator

from lmgateway.chat import ChatRequest, Document
from lmgateway.classes import frozen
from lmgateway.routing.gate_answer import Said, asked, said
from lmgateway.routing.gate_language import other_language
from lmgateway.routing.gate_refusal import refusal_in
from lmgateway.routing.gate_repetition import repeated
from lmgateway.routing.gate_schema import (
    declares_tools,
    json_fault,
    json_prefix_fault,
    must_call,
    tool_fault,
    wants_json,
)

WORTH = (
    "empty",
    "refusal",
    "tool_valid",
    "json_valid",
    "repetition",
    "language",
    "length",
    "truncated",
    "judge",
)
"""The gates, by what an answer that they stopped is still worth: the least first."""

BLANK = 80
"""So many characters of white space, and nothing else, begin no answer."""


@frozen
class Finding:
    """
    Why an answer is not good enough.

    Attributes:
        gate: Which gate says so.
        reason: For the operator; quotes nothing of the answer.
    """

    gate: str
    reason: str

    @property
    def worth(self) -> int:
        """How good the answer is in spite of it, to compare."""
        return WORTH.index(self.gate)


@frozen(kw_only=True)
class Gates:
    """
    Which gates an answer has to pass, and how they are set.

    Attributes:
        min_bytes: The fewest UTF-8 bytes of text; ``None`` switches ``length`` off.
        refusal: Whether refusals are looked for.
        phrases: Further phrases that are one.
        repeats: How often a phrase may be said in a row; ``None`` switches ``repetition`` off.
    """

    min_bytes: int | None = 20
    refusal: bool = True
    phrases: tuple[str, ...] = ()
    empty: bool = True
    truncated: bool = False
    json_valid: bool = True
    tool_valid: bool = True
    language: bool = False
    repeats: int | None = None

    def judge_whole(self, hub_answer: Document, request: ChatRequest) -> Finding | None:
        """Judge a complete answer in hub form by every gate that needs no backend."""
        answer = said(hub_answer)
        if answer.tool_calls:
            return self._calls(answer, request)
        return next(self._whole(answer, request), None)

    def judge_prefix(self, text: str, has_tool_call: bool, request: ChatRequest) -> Finding | None:
        """
        Judge the beginning of an answer by what a beginning can show.

        Args:
            text: What was said so far.
            has_tool_call: Whether a tool call has begun; it can only be judged whole.
        """
        if has_tool_call:
            return None
        return next(self._prefix(text, request), None)

    def _calls(self, answer: Said, request: ChatRequest) -> Finding | None:
        if not self.tool_valid or not declares_tools(request):
            return None
        fault = tool_fault(answer.tool_calls, request)
        return None if fault is None else Finding("tool_valid", fault)

    def _whole(self, answer: Said, request: ChatRequest) -> Iterator[Finding]:
        if self.tool_valid and must_call(request):
            yield Finding("tool_valid", "the answer calls no tool although it must")
        if self.refusal and answer.refusal:
            yield Finding("refusal", "the model marked its answer as a refusal")
        if answer.bears_more:
            return
        if self.empty and not answer.text.strip():
            yield Finding("empty", "the answer is empty")
        if self.truncated and answer.finish_reason == "length":
            yield Finding("truncated", "the answer was cut at its output bound")
        if wants_json(request):
            fault = json_fault(answer.text, request) if self.json_valid else None
            if fault is not None:
                yield Finding("json_valid", fault)
            return
        yield from self._prose(answer.text, request)
        fewest = _fewest(self.min_bytes, request)
        if len(answer.text.encode("utf-8", "replace")) < fewest:
            yield Finding("length", f"the answer has fewer than {fewest} bytes")

    def _prefix(self, text: str, request: ChatRequest) -> Iterator[Finding]:
        if self.json_valid and wants_json(request):
            fault = json_prefix_fault(text, request)
            if fault is not None:
                yield Finding("json_valid", fault)
            return
        if self.empty and len(text) >= BLANK and not text.strip():
            yield Finding("empty", "the answer begins with nothing but white space")
        # The last word may go on: a phrase that ends here is not complete yet.
        yield from self._prose(text + "_", request)

    def _prose(self, text: str, request: ChatRequest) -> Iterator[Finding]:
        """What holds for a text and for its beginning."""
        if self.refusal and refusal_in(text, self.phrases) is not None:
            yield Finding("refusal", "the answer is a refusal")
        if self.repeats is not None and repeated(text, self.repeats) is not None:
            yield Finding("repetition", "the answer repeats itself")
        if self.language:
            other = other_language(asked(request), text)
            if other is not None:
                yield Finding("language", f"the answer is in another language: {other}")


def _fewest(min_bytes: int | None, request: ChatRequest) -> int:
    """The bound, or as much as the client lets the answer have: a token is a byte at least."""
    bounds = [request.hub.get(name) for name in ("max_tokens", "max_completion_tokens")]
    return min([min_bytes or 0, *(b for b in bounds if isinstance(b, int) and b > 0)])
