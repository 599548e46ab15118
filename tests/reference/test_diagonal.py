"""The diagonal: one grammar on both sides loses nothing, whatever is said in it."""

from __future__ import annotations

import http.client
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.threads import deferToThread
from twisted.web.server import Request

from tests import vectors
from tests.fakes import Asked
from tests.reference.three import ThreeCase

SURFACES = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "ollama": "/api/chat"}
METERING = {"openai": {"stream_options"}, "anthropic": set[str](), "ollama": {"keep_alive"}}

_NUMBERS = st.one_of(
    st.integers(-(10**25), 10**25).map(str),
    st.sampled_from(["0.10", "1e2", "-0.0", "1E+05", "123456789.000000000001", "1.0", "5e-324"]),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)
_TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
_STRINGS = st.one_of(
    _TEXTS.map(json.dumps), _TEXTS.map(lambda text: json.dumps(text, ensure_ascii=False))
)
_SPACES = st.sampled_from(["", " ", "\n", "\t "])


def _array(items: list[str]) -> str:
    return "[" + " ,".join(items) + "]"


def _object(members: dict[str, str]) -> str:
    return "{" + ",".join(f"{json.dumps(key)}: {value}" for key, value in members.items()) + "}"


VALUES = st.recursive(
    st.one_of(_NUMBERS, _STRINGS, st.sampled_from(["true", "false", "null"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(_array),
        st.dictionaries(_TEXTS, inner, max_size=3).map(_object),
    ),
    max_leaves=8,
)
"""JSON values, as text."""
EXTRAS = st.dictionaries(_TEXTS.map(lambda name: f"x_{name}"), VALUES, max_size=4)
KNOWN = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from(["0.5", "1.0", "1", "0.10", "5e-1"]),
        "top_p": st.sampled_from(["0.90", "1e0"]),
        "metadata": st.just('{"user_id": "u"}'),
    },
)
CONTENT = st.one_of(
    _STRINGS,
    st.lists(_STRINGS.map(lambda text: f'{{"type":"text","text":{text}}}'), min_size=1).map(_array),
)


@st.composite
def bodies(draw: st.DrawFn, dialect: str) -> tuple[str, bool]:
    """Draw a client's body, and whether it asks for a stream."""
    streams = draw(st.booleans())
    content = CONTENT if dialect != "ollama" else _STRINGS
    turns = draw(st.lists(content, min_size=1, max_size=3))
    roles = ["user", "assistant", "user"]
    said = [f'{{"role":"{r}","content":{t}}}' for r, t in zip(roles, turns, strict=False)]
    members = {
        "model": json.dumps(dialect),
        "messages": _array(said),
        "stream": json.dumps(streams),
        "max_tokens": "99",
        **draw(KNOWN),
        **draw(EXTRAS),
    }
    names = draw(st.permutations(sorted(members)))
    space = draw(_SPACES)
    pairs = [f"{space}{json.dumps(name)}{space}:{space}{members[name]}" for name in names]
    return "{" + ",".join(pairs) + space + "}", streams


def spelt(text: str | bytes) -> Any:
    """Parse JSON; numbers stay as they are written."""
    return json.loads(text, parse_int=lambda n: f"int {n}", parse_float=lambda n: f"float {n}")


def without(document: Any, names: set[str]) -> Any:
    """Give a document without some members."""
    return {name: value for name, value in document.items() if name not in names}


class DiagonalTests(ThreeCase):
    """Tests with hypothesis, in a thread, over real sockets."""

    timeout = 120

    def exchange(self, path: str, body: str) -> bytes:
        """Ask the gateway."""
        connection = http.client.HTTPConnection("127.0.0.1", self.client_port, timeout=10)
        try:
            headers = {"content-type": "application/json"}
            connection.request("POST", path, body.encode(), headers)
            response = connection.getresponse()
            got = response.read()
            assert response.status == 200, got
            return got
        finally:
            connection.close()

    async def lossless(self, dialect: str) -> None:
        """Compare what comes with what was sent, in both directions."""
        self.serve()
        answers: list[list[bytes]] = []

        def script(request: Request, asked: Asked) -> None:
            parts = answers[-1]
            if asked.body["stream"]:
                vectors.send(request, asked, parts)
            else:
                request.setHeader("content-type", "application/json")
                request.write(b"".join(parts))
            request.finish()

        self.backend.script = script

        @settings(
            max_examples=60,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(bodies(dialect), EXTRAS, st.integers(1, 40))
        def holds(asked: tuple[str, bool], extras: dict[str, str], cut: int) -> None:
            body, streams = asked
            answer = _stream(dialect, extras) if streams else [_whole(dialect, extras)]
            sent = b"".join(answer)
            answers.append([sent[n : n + cut] for n in range(0, len(sent), cut)])
            got = self.exchange(SURFACES[dialect], body)
            hidden = vectors.usage_chunk()
            assert got == b"".join(part for part in answer if part != hidden)
            changed = {"model"} | METERING[dialect]
            upstream = self.backend.asked[-1].raw
            assert without(spelt(upstream), changed) == without(spelt(body), changed)
            assert json.loads(upstream)["model"] != dialect

        await deferToThread(holds)

    async def test_openai(self) -> None:
        """OpenAI's, but for the usage that was not asked for."""
        await self.lossless("openai")

    async def test_anthropic(self) -> None:
        """Anthropic's."""
        await self.lossless("anthropic")

    async def test_ollama(self) -> None:
        """Ollama's."""
        await self.lossless("ollama")


def _whole(dialect: str, extras: dict[str, str]) -> bytes:
    """Give a whole answer with members that nobody knows."""
    return _with(json.dumps(vectors.text(dialect), indent=1), extras).encode()


def _stream(dialect: str, extras: dict[str, str]) -> list[bytes]:
    """Give a stream, one of whose events has members that nobody knows."""
    parts = vectors.streamed_text(dialect)
    place = next(n for n, part in enumerate(parts) if "wörld".encode() in part)
    text = parts[place].decode()
    begin = text.index("{")
    changed = text[:begin] + _with(text[begin:].rstrip(), extras) + text[len(text.rstrip()) :]
    return [*parts[:place], changed.encode(), *parts[place + 1 :]]


def _with(text: str, extras: dict[str, str]) -> str:
    more = "".join(f",{json.dumps(name)}:{value}" for name, value in extras.items())
    return text.rstrip()[:-1] + more + "}"
