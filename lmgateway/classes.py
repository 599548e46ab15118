"""
``@frozen`` and ``@define`` of attrs, for a tenth of a second less at each start.

attrs writes and compiles ``__eq__``, ``__hash__`` and ``__repr__`` for each class that
is imported, and of nearly all of our classes hardly one is ever called.  Classes
of this module share one of each instead, which goes through the fields when it is
called.  They say the same, but take longer: a class whose values are compared, or
looked up in a dictionary, for each request takes attrs' own decorators.

For each class attrs still writes and compiles an ``__init__``, half a millisecond at each
start.  A class that needs nothing that only attrs has (converters, private names, values
left out of what is shown or compared, sections that cattrs fills) is a ``msgspec.Struct``,
which is made in a fifteenth of that, and its instances in an eighth of theirs.
"""

from __future__ import annotations

from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from attrs import define, frozen
else:

    def frozen(cls: type | None = None, /, *, eq: bool = True, **options: Any) -> Any:
        """Make a class of values, as ``attrs.frozen`` does."""
        return _made(cls, attrs.frozen, eq, _hash, options)

    def define(cls: type | None = None, /, *, eq: bool = True, **options: Any) -> Any:
        """Make a class of things that change, as ``attrs.define`` does."""
        return _made(cls, attrs.define, eq, None, options)


__all__ = ["define", "frozen"]


def _made(cls: type | None, decorator: Any, eq: bool, hashed: Any, options: dict[str, Any]) -> Any:
    if cls is None:
        return lambda cls: _made(cls, decorator, eq, hashed, options)
    shared = {"__eq__": _eq, "__hash__": hashed} if eq and "__eq__" not in vars(cls) else {}
    if "__repr__" not in vars(cls):
        shared["__repr__"] = _repr
    for name, method in shared.items():
        setattr(cls, name, method)
    return decorator(cls, eq=False, repr=False, **options)


def _eq(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    compared = [field.name for field in self.__attrs_attrs__ if field.eq]
    return all(getattr(self, name) == getattr(other, name) for name in compared)


def _hash(self: Any) -> int:
    compared = [getattr(self, field.name) for field in self.__attrs_attrs__ if field.eq]
    return hash((self.__class__, *compared))


@recursive_repr()
def _repr(self: Any) -> str:
    shown = []
    for field in self.__attrs_attrs__:
        if field.repr:
            told = repr if field.repr is True else field.repr
            shown.append(f"{field.name}={told(getattr(self, field.name))}")
    return f"{self.__class__.__qualname__.rsplit('>.', 1)[-1]}({', '.join(shown)})"
