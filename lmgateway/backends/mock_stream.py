"""
The mock's streams: chunks to framed events, at their pace, with what goes wrong.

Without a pace, events come in large batches and nothing is scheduled.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Literal

from lmgateway.backend_errors import BackendError, BackendFailed, ProtocolError, Unreachable
from lmgateway.backends.base import Batch
from lmgateway.backends.mock_documents import Beat, Beats
from lmgateway.backends.mock_faults import Fault
from lmgateway.backends.mock_pace import NEVER, Pace
from lmgateway.chat import Event
from lmgateway.dialects.base import Mark, StreamReader, StreamWriter

FULL_BATCH = 64
GARBAGE = b'{"choices": [{"delta": {"con'

Framing = Literal["sse", "ndjson"]
Line = tuple[Beat, bytes | BackendError | None]
"""When, and what: bytes; an error that breaks the stream; or ``None``, nothing ever again."""


class MockStream:
    """
    One streamed answer.

    Args:
        reader: Reads what is sent, as it would read a real backend.
        writer: Frames the chunks; must not hide the usage.
        pace: When they come.
        fault: What goes wrong on the way.
    """

    def __init__(
        self,
        framing: Framing,
        reader: StreamReader,
        writer: StreamWriter,
        pace: Pace,
        fault: Fault,
    ) -> None:
        self._framing = framing
        self.reader = reader
        self._writer = writer
        self._pace = pace
        self._fault = fault

    async def batches(self, beats: Beats) -> AsyncGenerator[Batch, None]:
        """
        Give an empty batch once the first output is in hand, then all that there is.

        Raises:
            BackendError: If the stream breaks, goes silent or reports an error.
        """
        batch: list[tuple[Event, Mark]] = []
        committed = False
        for beat, line in self._lines(beats):
            when = self._when(beat, line)
            error = line if isinstance(line, BackendError) else None
            if batch and committed and (when or error or len(batch) >= FULL_BATCH):
                yield batch
                batch = []
            if when:
                await self._pace.until(when)
            if isinstance(line, bytes):
                output, error = self._read(line, batch)
                if output and not committed:
                    committed = True
                    self._pace.commit()
                    yield ()
            if error is not None:
                if batch and committed:
                    yield batch
                raise error
        yield batch

    def _when(self, beat: Beat, line: bytes | BackendError | None) -> float:
        if line is None:
            return NEVER
        return self._pace.next() if beat is Beat.TOKEN else 0.0

    def _read(
        self, line: bytes, batch: list[tuple[Event, Mark]]
    ) -> tuple[bool, BackendError | None]:
        """Inspect what was sent, into *batch*: whether it is a commit point, and what broke."""
        output = False
        for event in split(line, self._framing):
            mark = self.reader.inspect(event)
            if mark is Mark.ERROR:
                return output, self.reader.error or ProtocolError()
            batch.append((event, mark))
            output = output or mark is Mark.OUTPUT or mark is Mark.END
        return output, None

    def _lines(self, beats: Beats) -> Iterator[Line]:
        """What is sent, in its order, faults included."""
        encode = self._writer.encode
        troubles = self._troubles()
        sent = 0
        opened = False
        for beat, chunk in beats:
            while troubles and troubles[0][0] == sent and (opened or beat is Beat.TOKEN):
                yield Beat.NOW, troubles.pop(0)[1]
            if beat is Beat.TOKEN:
                sent += 1
                opened = True
            yield beat, encode(chunk)
        yield Beat.NOW, self._writer.end()

    def _troubles(self) -> list[tuple[int, bytes | BackendError | None]]:
        """What goes wrong, by the number of chunks after which it does."""
        fault = self._fault
        garbage = b"data: " + GARBAGE + b"\n\n" if self._framing == "sse" else GARBAGE + b"\n"
        told = self._writer.error(BackendFailed()) if fault.error_after is not None else b""
        troubles: list[tuple[int | None, bytes | BackendError | None]] = [
            (fault.garbage_after, garbage),
            (fault.error_after, told),
            (fault.cut_after, Unreachable("The model backend broke off its answer.")),
            (fault.hold_after, None),
        ]
        due = [(after, what) for after, what in troubles if after is not None]
        return sorted(due, key=lambda trouble: trouble[0])


def split(data: bytes, framing: Framing) -> list[Event]:
    """Cut what a writer framed, one or more whole events, into events."""
    if data.startswith(b"data: ") and data.find(b"\n") == len(data) - 2:
        return [Event(data, b"", data[6:-2])]
    if framing == "ndjson":
        return [Event(line, b"", line.rstrip()) for line in data.splitlines(keepends=True)]
    return [_event(block + b"\n\n") for block in data.split(b"\n\n") if block]


def _event(raw: bytes) -> Event:
    name = b""
    data: list[bytes] = []
    for line in raw.splitlines():
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value
        elif field == b"data":
            data.append(value)
    return Event(raw, name, b"\n".join(data))
