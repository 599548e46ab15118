"""
Typed looks at parts of a document, each of which names the path at fault.

A path is written as the client would write it: ``messages[2].content[0].text``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from lmgateway.chat import Document
from lmgateway.errors import MalformedRequest


def refuse(param: str, expected: str) -> NoReturn:
    """Say that what stands at *param* is not what is *expected*."""
    raise MalformedRequest(f"{param}: {expected}.", param=param)


def is_number(value: object) -> bool:
    """Whether *value* is a JSON number."""
    return type(value) is int or type(value) is float


def text_at(value: object, param: str) -> str:
    """Take a string."""
    if not isinstance(value, str):
        refuse(param, "must be a string")
    return value


def integer_at(value: object, param: str, least: int = 0) -> int:
    """Take a whole number of at least *least*."""
    if type(value) is not int or value < least:
        refuse(param, f"must be an integer of at least {least}")
    return value


def object_at(value: object, param: str) -> Document:
    """Take an object."""
    if not isinstance(value, dict):
        refuse(param, "must be an object")
    return value


def list_at(value: object, param: str) -> list[Any]:
    """Take an array."""
    if not isinstance(value, list):
        refuse(param, "must be an array")
    return value


def objects_at(value: object, param: str) -> Iterator[tuple[Document, str]]:
    """Take an array of objects, each with its path."""
    for number, each in enumerate(list_at(value, param)):
        where = f"{param}[{number}]"
        yield object_at(each, where), where
