"""
What a client was given of an answer, and where a further one goes on from it.

An answer that broke off may only be gone on with by one that begins with exactly what was
delivered (``Again``), or that was asked to continue it (``Onward``).  Whatever cannot be compared
letter by letter (a tool call, several choices, log probabilities, signed thoughts, more text than
is kept) makes a delivered answer ``closed``: nothing may follow it.

Thoughts are compared while they are all that was delivered.  Once text was, a further answer's
thoughts up to that point are left out: those that were shown belong to the same text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmgateway.chat import Chunk, Document
from lmgateway.dialects import hub

MAX_DELIVERED = 1024 * 1024
"""Characters of an answer that are kept to be compared."""

CERTAIN = 32
"""Characters from which an answer that repeats what it was to continue does so on purpose."""

_PLAIN = frozenset({"role", "content", "reasoning_content", "reasoning"})


class Diverged(Exception):
    """An answer does not go on where the delivered one broke off."""


class Delivered:
    """
    What was delivered of one answer.

    Args:
        compared: Whether it is kept, and not only known whether there is any.

    Attributes:
        head: The members that all chunks of the answer share.
        has_output: Whether anything was delivered that bears output.
        closed: Whether nothing may follow it.
    """

    def __init__(self, *, compared: bool) -> None:
        self.head: Document = {}
        self.has_output = False
        self.closed = False
        self._compared = compared
        self._text: list[str] = []
        self._thoughts: list[str] = []
        self._size = 0

    @property
    def text(self) -> str:
        """The text."""
        return "".join(self._text)

    @property
    def thoughts(self) -> str:
        """The reasoning."""
        return "".join(self._thoughts)

    def add(self, chunk: Chunk) -> None:
        """Take a hub chunk that the client is about to be given."""
        choices = hub.objects(chunk.get("choices"))
        if choices and not self.head:  # some servers begin with a chunk that has no id yet
            self.head = {name: chunk[name] for name in ("id", "created", "model") if name in chunk}
        for choice in choices:
            self._take(choice)

    def close(self) -> None:
        """Let nothing follow; what was kept is let go."""
        self.closed = True
        self._text.clear()
        self._thoughts.clear()

    def _take(self, choice: Mapping[str, Any]) -> None:
        delta = hub.mapping(choice.get("delta"))
        text, thoughts = delta.get("content"), hub.reasoning(delta)
        bears_more = any(value for name, value in delta.items() if name not in _PLAIN)
        self.has_output = bool(self.has_output or text or thoughts or bears_more)
        if self.closed:
            return
        plain = text is None or isinstance(text, str)
        whole = choice.get("index") or choice.get("logprobs") or choice.get("finish_reason")
        if bears_more or whole or not plain or (self.has_output and not self._compared):
            self.close()
            return
        self._keep(text or "", thoughts)

    def _keep(self, text: str, thoughts: str) -> None:
        self._size += len(text) + len(thoughts)
        if self._size > MAX_DELIVERED:
            self.close()
            return
        if text:
            self._text.append(text)
        if thoughts:
            self._thoughts.append(thoughts)


class Rest:
    """
    Gives what of a further answer the client has not been given yet.

    Attributes:
        reached: Whether all that was delivered has been met again.
    """

    def __init__(self, delivered: Delivered) -> None:
        self.reached = False
        self._has_role = bool(delivered.head)
        self._text = delivered.text
        self._thoughts = "" if self._text else delivered.thoughts

    def take(self, chunk: Chunk) -> Chunk | None:
        """
        Give what of a hub chunk goes to the client; ``None`` if nothing does.

        Raises:
            Diverged: If it is not what was delivered.
        """
        choices = hub.objects(chunk.get("choices"))
        if not choices:
            return chunk
        if len(choices) > 1 or choices[0].get("index"):
            raise Diverged
        choice = {**choices[0], "delta": dict(hub.mapping(choices[0].get("delta")))}
        if self._has_role:
            choice["delta"].pop("role", None)
        if not self.reached:
            choice.pop("logprobs", None)
            self._compare(choice["delta"], finished=bool(choice.get("finish_reason")))
        if not any(choice["delta"].values()) and not choice.get("finish_reason"):
            return {**chunk, "choices": []} if chunk.get("usage") else None
        return {**chunk, "choices": [choice]}

    def end(self) -> None:
        """
        Tell that the answer has ended.

        Raises:
            Diverged: If it was shorter than what was delivered.
        """
        if not self.reached:
            raise Diverged

    def _compare(self, delta: Document, *, finished: bool) -> None:
        """Leave in a delta what goes beyond what was delivered."""
        thoughts, text = hub.reasoning(delta), hub.text(delta.pop("content", None))
        for name in ("reasoning_content", "reasoning"):
            delta.pop(name, None)
        if thoughts and (beyond := self._match_thoughts(thoughts)):
            delta["reasoning_content"] = beyond
        if text and (beyond := self._match(text)):
            delta["content"] = beyond
        if finished and not self.reached:
            if beyond := self._last():
                delta["content"] = beyond
            self.end()
        if not self.reached and any(delta.values()):
            raise Diverged

    def _match_thoughts(self, piece: str) -> str:
        """Give what of some reasoning goes beyond."""
        return ""

    def _match(self, piece: str) -> str:
        """Give what of some text goes beyond."""
        raise NotImplementedError

    def _last(self) -> str:
        """Give what was held back, once nothing more comes."""
        return ""


class Again(Rest):
    """An answer from the very beginning."""

    def __init__(self, delivered: Delivered) -> None:
        super().__init__(delivered)
        self._met = 0
        self._wanted = self._text or self._thoughts
        self.reached = not self._wanted

    def _match_thoughts(self, piece: str) -> str:
        return self._meet(piece) if self._thoughts else ""

    def _match(self, piece: str) -> str:
        if self.reached:
            return piece
        if not self._text:
            raise Diverged
        return self._meet(piece)

    def _meet(self, piece: str) -> str:
        common = piece[: len(self._wanted) - self._met]
        if not self._wanted.startswith(common, self._met):
            raise Diverged
        self._met += len(common)
        self.reached = self._met == len(self._wanted)
        return piece[len(common) :]


class Onward(Rest):
    """
    An answer that was asked to continue from ``begun``.

    Some servers give the continuation alone, some repeat what they were given before it: which,
    is seen from its first letters.  Blanks at the end of the delivered text are not part of
    ``begun``, for some servers refuse them; the continuation must begin with them.
    """

    def __init__(self, delivered: Delivered) -> None:
        super().__init__(delivered)
        self.begun = self._text.rstrip()
        self._got: list[str] = []
        self._repeats = _Match(self._text)
        self._goes_on = _Match(self._text[len(self.begun) :])

    def _match(self, piece: str) -> str:
        if self.reached:
            return piece
        self._got.append(piece)
        self._repeats.take(piece)
        self._goes_on.take(piece)
        if not self._repeats.alive:
            return self._continuation() if self._goes_on.decided else ""
        if not self._repeats.decided:
            return ""
        if len(self._text) < CERTAIN:
            raise Diverged
        return self._beyond(self._repeats)

    def _last(self) -> str:
        return self._continuation()

    def _continuation(self) -> str:
        if not (self._goes_on.alive and self._goes_on.decided):
            raise Diverged
        return self._beyond(self._goes_on)

    def _beyond(self, match: _Match) -> str:
        self.reached = True
        return "".join(self._got)[len(match.wanted) :]


class _Match:
    """
    Whether text that comes in pieces begins with what is wanted.

    Attributes:
        alive: Whether it does so far.
        decided: Whether that will stay so.
    """

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        self.alive = True
        self._met = 0

    @property
    def decided(self) -> bool:
        return not self.alive or self._met == len(self.wanted)

    def take(self, piece: str) -> None:
        if self.alive:
            common = piece[: len(self.wanted) - self._met]
            self.alive = self.wanted.startswith(common, self._met)
            self._met += len(common)
