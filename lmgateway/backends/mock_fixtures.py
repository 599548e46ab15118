"""
Scripted answers: what the mock says word by word, from files.

A file is TOML or JSON; a folder is all such files in it, by name.  In TOML::

    [[fixtures]]
    model = "gpt-4o"             # every key that is given must match;
    text = "What is 2 + 2?"      # the last user message, exactly
    hash = "0123456789abcdef"    # the request's hash, as the 404 tells it
    answers = [                  # given in turn; the last one again and again
        { text = "4" },
        { chunks = ["fo", "ur"], reasoning = "2 + 2", usage = { completion_tokens = 1 } },
        { tool_calls = [{ name = "add", arguments = { a = 2, b = 2 } }] },
        { status = 429, retry_after = 2, text = "Slow down." },
    ]

The first fixture that matches answers.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from attrs import field

from lmgateway.backends.mock_answers import Said, ToolCall, to_json, words
from lmgateway.classes import frozen
from lmgateway.errors import ConfigError


class _ToolCall(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    arguments: dict[str, Any] = {}


class _Answer(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    text: str = ""
    chunks: list[str] = []
    reasoning: str = ""
    tool_calls: list[_ToolCall] = []
    finish_reason: str | None = None
    usage: dict[str, int] = {}
    status: int = 200
    retry_after: float | None = None


class _Fixture(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    model: str | None = None
    text: str | None = None
    hash: str | None = None
    answers: list[_Answer]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    fixtures: list[_Fixture]


@frozen(kw_only=True)
class Scripted:
    """
    One answer of a fixture.

    Attributes:
        status: 200, or the error status to answer with; the text is its message then.
    """

    said: Said
    status: int = 200
    retry_after: float | None = None


@frozen
class Fixture:
    """Answers for the requests that match; ``None`` matches any."""

    model: str | None
    text: str | None
    hash: str | None
    answers: Sequence[Scripted]

    def matches(self, model: str, text: str, hash_: str) -> bool:
        """Tell whether this fixture answers such a request."""
        return (
            self.model in (None, model) and self.text in (None, text) and self.hash in (None, hash_)
        )


@frozen
class Fixtures:
    """All scripted answers of one backend, and which of them come next."""

    fixtures: Sequence[Fixture]
    _turns: dict[int, int] = field(factory=dict, init=False)

    def find(self, model: str, text: str, hash_: str) -> Scripted | None:
        """Give the next answer for a request, if there is one."""
        for number, fixture in enumerate(self.fixtures):
            if fixture.matches(model, text, hash_):
                turn = self._turns.get(number, 0)
                self._turns[number] = turn + 1
                return fixture.answers[min(turn, len(fixture.answers) - 1)]
        return None


def load_fixtures(path: str | Path) -> Fixtures:
    """
    Read a fixture file, or all of a folder.

    Raises:
        ConfigError: With everything that is wrong with them.
    """
    place = Path(path)
    found: list[Fixture] = []
    problems: list[str] = []
    for file in _files(place, problems):
        try:
            found += [_fixture(one) for one in _read(file).fixtures]
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            problems.append(f"{file}: {error}")
    if problems:
        raise ConfigError(problems)
    return Fixtures(found)


def _files(place: Path, problems: list[str]) -> list[Path]:
    if not place.is_dir():
        return [place]
    files = sorted(file for file in place.iterdir() if file.suffix in (".json", ".toml"))
    if not files:
        problems.append(f"{place}: no .json or .toml file in it")
    return files


def _read(file: Path) -> _File:
    data = file.read_bytes()
    if file.suffix == ".toml":
        return msgspec.convert(tomllib.loads(data.decode()), _File)
    return msgspec.json.decode(data, type=_File)


def _fixture(read: _Fixture) -> Fixture:
    if not read.answers:
        raise ValueError("a fixture has no answers")
    for answer in read.answers:
        if answer.status != 200 and not 400 <= answer.status <= 599:
            raise ValueError(f"a status must be 200 or 400 to 599, not {answer.status}")
    return Fixture(read.model, read.text, read.hash, [_scripted(one) for one in read.answers])


def _scripted(answer: _Answer) -> Scripted:
    calls = tuple(
        [ToolCall(name=c.name, arguments=to_json(c.arguments)) for c in answer.tool_calls]
    )
    usage: Mapping[str, int] = answer.usage
    said = Said(
        pieces=tuple(answer.chunks) or words(answer.text),
        reasoning=answer.reasoning,
        tool_calls=calls,
        finish_reason=answer.finish_reason or ("tool_calls" if calls else "stop"),
        usage=usage,
    )
    return Scripted(said=said, status=answer.status, retry_after=answer.retry_after)
