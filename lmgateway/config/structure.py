"""
From a parsed tree to frozen values, strictly, and with all faults told at once.

cattrs does the work.  Its own leniency is switched off: ``port = "80"`` is not
a number here, and a text is not a list of letters.  After a faulty pass the
faulty values are taken out and the rest is structured again, so that the
checks that follow can look at everything that is sound.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

import attrs
from cattrs import ClassValidationError, Converter
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)

from lmgateway.config.merge import KeyPath, Tree
from lmgateway.config.report import Report, suggestion
from lmgateway.config.schema import Settings
from lmgateway.config.values import not_one_of

Hook: TypeAlias = Callable[[Any, Any], Any]

_PLACEHOLDERS = ("?", 0)
"""Stand for a required text or number that is missing, so that the rest can be looked at."""

_PASSES = 8
"""More than the depth of the file: each pass repairs at least one level."""


class Unfit(ValueError):
    """A value that a key does not take; the message says what it does."""


class WrongType(Unfit):
    """
    A value of the wrong type.

    Args:
        wanted: What would be right, in words.
        value: What is there; only its type is told.
    """

    def __init__(self, wanted: str, value: object) -> None:
        super().__init__(f"must be {wanted}, not {_type_in_words(value)}")
        self.wanted = wanted


def structure(tree: Tree, report: Report) -> Settings:
    """
    Turn a merged tree into settings.

    Faults go to *report*.  The settings hold every sound value, and defaults
    or placeholders in the places of those reported.
    """
    tree = deepcopy(tree)
    filled: dict[KeyPath, int] = {}
    for _ in range(_PASSES):
        try:
            settings: Settings = _converter.structure(tree, Settings)
        except BaseValidationError as error:
            for path, fault in [*_leaves(error, ())]:
                for place, text in _described(path, fault):
                    report.broken(place, text)
                    _repair(tree, place, fault, filled)
        else:
            return settings
    raise AssertionError("a config could not be repaired")  # pragma: no cover


def _leaves(error: BaseException, path: KeyPath) -> Iterator[tuple[KeyPath, BaseException]]:
    """Go through the single faults in a group, each with its way."""
    if not isinstance(error, ClassValidationError | IterableValidationError):
        yield path, error
        return
    for inner in error.exceptions:
        steps: list[str | int] = [
            note.name if isinstance(note, AttributeValidationNote) else note.index
            for note in getattr(inner, "__notes__", ())
            if isinstance(note, AttributeValidationNote | IterableValidationNote)
        ]
        yield from _leaves(inner, (*path, *steps[-1:]))


def _described(path: KeyPath, fault: BaseException) -> Iterator[tuple[KeyPath, str]]:
    """Say in words what is wrong, and where."""
    if isinstance(fault, ForbiddenExtraKeysError):
        known = [attribute.name for attribute in attrs.fields(fault.cl)]
        for key in sorted(fault.extra_fields):
            yield (*path, key), "unknown key" + suggestion(key, known, "allowed here")
    elif isinstance(fault, KeyError):
        yield path, "must be given"
    else:
        yield path, str(fault)


def _repair(tree: Tree, path: KeyPath, fault: BaseException, filled: dict[KeyPath, int]) -> None:
    """
    Take out what is faulty, or put something harmless in its place.

    A required key that is missing becomes a placeholder; if none fits, the table that
    needs it goes, and the whole list that the table is in: the others keep their places.
    """
    is_table = isinstance(fault, WrongType) and fault.wanted == "a table"
    tried = filled.get(path, 0)
    does_not_fit = tried == len(_PLACEHOLDERS) and not is_table
    path = _enclosing(path) if does_not_fit else path
    node: Any = tree
    for step in path[:-1]:
        if isinstance(node, dict) and step not in node:
            return  # went with another fault of this pass
        node = node[step]
    last: Any = path[-1]
    if is_table:
        node[last] = {}
    elif does_not_fit:
        node.pop(last, None)
    elif tried or isinstance(node, list) or last not in node:
        node[last] = _PLACEHOLDERS[tried]
        filled[path] = tried + 1
    else:
        del node[last]


def _enclosing(path: KeyPath) -> KeyPath:
    """Give the path of the table around a key, or of the list around that table."""
    path = path[:-1]
    while isinstance(path[-1], int):
        path = path[:-1]
    return path


def _type_in_words(value: object) -> str:
    names: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "true or false"),
        (str, "text"),
        ((int, float), "a number"),
        (list, "a list"),
        (dict, "a table"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "a date or time")


def _scalar(wanted: str, accepts: Callable[[Any], bool], make: Callable[[Any], Any]) -> Hook:
    def hook(value: Any, _: Any) -> Any:
        if not accepts(value):
            raise WrongType(wanted, value)
        return make(value)

    return hook


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _table_hook(cls: Any, converter: Converter) -> Hook:
    """
    Structure one of the schema's classes.

    cattrs would write and compile a function for all keys of the class, which takes ten
    times longer than to read the few keys that a file has.
    """
    attrs.resolve_types(cls)
    keys: list[tuple[str, Any, bool]] = [
        (key.name, key.type, key.default is attrs.NOTHING) for key in attrs.fields(cls)
    ]
    names = {name for name, _, _ in keys}

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise WrongType("a table", value)
        given: dict[str, Any] = {}
        faults: list[Exception] = []
        for name, kind, required in keys:
            try:
                if name in value:
                    given[name] = converter.structure(value[name], kind)
                elif required:
                    raise KeyError(name)
            except Exception as fault:
                fault.add_note(AttributeValidationNote(name, name, kind))
                faults.append(fault)
        if extra := value.keys() - names:
            faults.append(ForbiddenExtraKeysError(None, cls, extra))
        if faults:
            raise ClassValidationError(f"{cls.__name__} does not fit", faults, cls)
        return cls(**given)

    return hook


def _mapping_hook(kind: Any, converter: Converter) -> Hook:
    """Structure a table with free keys, and freeze it."""
    key_kind, value_kind = get_args(kind)

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise WrongType("a table", value)
        if value_kind is object:  # passed on as it is, so of the plainest type
            return dict(value)
        return MappingProxyType(converter.structure(value, dict[key_kind, value_kind]))  # type: ignore[valid-type]  # a type made at run time

    return hook


def _list_hook(kind: Any, converter: Converter) -> Hook:
    """Structure a list of any length, and freeze it."""
    (item_kind, _) = get_args(kind)

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, list):
            raise WrongType("a list", value)
        return tuple(converter.structure(value, list[item_kind]))  # type: ignore[valid-type]  # a type made at run time

    return hook


def _choice_hook(kind: Any, _: Converter) -> Hook:
    """Structure one of a few words."""
    choices: tuple[str, ...] = get_args(kind)

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, str):
            raise WrongType("text", value)
        if value not in choices:
            raise Unfit(not_one_of(value, choices))
        return value

    return hook


def _kind_hook(kind: Any, converter: Converter) -> Hook:
    """Structure a value that must be more than of the right type."""
    base, *demands = get_args(kind)

    def hook(value: Any, _: Any) -> Any:
        plain = converter.structure(value, base)
        for demand in demands:
            fault = demand.fault(plain)
            if fault is not None:
                raise Unfit(fault)
        return plain

    return hook


def _optional_hook(kind: Any, converter: Converter) -> Hook:
    """Structure what may also be left out."""
    kinds = [part for part in get_args(kind) if part is not type(None)]
    if len(kinds) > 1:
        return _name_or_list_hook(kinds, converter)
    (inner,) = kinds

    def hook(value: Any, _: Any) -> Any:
        return converter.structure(value, inner)

    return hook


def _name_or_list_hook(kinds: list[Any], converter: Converter) -> Hook:
    """Structure a text, or a list of tables that say more."""
    name_kind, list_kind = kinds

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, str | list):
            raise WrongType("text or a list", value)
        return converter.structure(value, list_kind if isinstance(value, list) else name_kind)

    return hook


def _switch_hook(kind: Any, converter: Converter) -> Hook:
    """Structure a table that may also just be switched on or off."""
    (inner,) = [part for part in get_args(kind) if part is not bool]

    def hook(value: Any, _: Any) -> Any:
        if value is False:
            return False
        if value is not True and not isinstance(value, dict):
            raise WrongType("true, false or a table", value)
        return converter.structure({} if value is True else value, inner)

    return hook


def _is_switch(kind: Any) -> bool:
    """Tell ``bool | SomeTable``."""
    parts = get_args(kind)
    return get_origin(kind) in (Union, types.UnionType) and bool in parts and attrs.has(parts[-1])


def _has_origin(*origins: Any) -> Callable[[Any], bool]:
    return lambda kind: get_origin(kind) in origins


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=True)
    for kind, wanted, accepts in (
        (bool, "true or false", lambda value: isinstance(value, bool)),
        (
            int,
            "a whole number",
            lambda value: _is_number(value) and isinstance(value, int),
        ),
        (float, "a number", _is_number),
        (str, "text", lambda value: isinstance(value, str)),
    ):
        converter.register_structure_hook(kind, _scalar(wanted, accepts, kind))
    for predicate, factory in (
        (attrs.has, _table_hook),
        (_has_origin(tuple), _list_hook),
        (_has_origin(Mapping), _mapping_hook),
        (_has_origin(Literal), _choice_hook),
        (_has_origin(Union, types.UnionType), _optional_hook),
        (_has_origin(Annotated), _kind_hook),
        (_is_switch, _switch_hook),
    ):
        converter.register_structure_hook_factory(predicate, factory)
    return converter


_converter = _make_converter()
