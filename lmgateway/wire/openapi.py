"""
The OpenAPI 3.1 document of a port, made from what its routes declare.

A route is told as an ``Operation``; types become schemas by way of msgspec, so that what is
documented is what is read and written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import cleandoc
from typing import Any, TypeAlias, get_args

import msgspec
from attrs import field

from lmgateway.classes import frozen

JSON = "application/json"

Document: TypeAlias = dict[str, Any]

_PART = re.compile(r"<(?:\w+:)?(\w+)>")
_ENTRY = re.compile(r"    (\w+): (.*(?:\n        .*)*)")
_REF = "#/components/schemas/{name}"


@frozen(kw_only=True)
class Content:
    """
    One kind of answer or body.

    Attributes:
        of: A type, a JSON Schema, or ``None`` where there is nothing to say of it.
        media: What kind it is; empty if there is no body at all.
        must: Whether a request has to have it.
    """

    of: Any = None
    media: str = JSON
    description: str = ""
    must: bool = True


@frozen(kw_only=True)
class Operation:
    """
    One method of one path.

    Attributes:
        path: With ``<name>`` for variable parts.
        query: A struct with a member for each query parameter.
        answers: By status, or class of them (``4XX``); of each the kinds that there are.
        security: What must be shown: names of security schemes, one of which will do.
    """

    method: str
    path: str
    tag: str
    summary: str
    description: str = ""
    query: type[msgspec.Struct] | None = None
    body: Content | None = None
    answers: Mapping[str, tuple[Content, ...]]
    security: Sequence[str] = ()
    extensions: Mapping[str, Any] = field(factory=dict)

    @property
    def template(self) -> str:
        """The path as OpenAPI writes it."""
        return _PART.sub(r"{\1}", self.path)


def document(
    title: str,
    release: str,
    operations: Iterable[Operation],
    schemes: Mapping[str, Any],
    description: str = "",
) -> Document:
    """Give the whole document; *schemes* are the security schemes."""
    listed = sorted(operations, key=lambda one: (one.template, one.method))
    schemas = _Schemas(_types(listed))
    paths: dict[str, Document] = {}
    for one in listed:
        paths.setdefault(one.template, {})[one.method.lower()] = _operation(one, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": release, "description": description},
        "servers": [{"url": "./"}],
        "tags": [{"name": name} for name in sorted({one.tag for one in listed})],
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": dict(schemes)},
    }


def own_version() -> str:
    """Give this package's version."""
    from importlib import metadata  # takes long, and is hardly ever asked for

    try:
        return metadata.version("lmgateway")
    except metadata.PackageNotFoundError:  # run from a source tree
        return "0"


class _Schemas:
    """The schemas of all types that are used, each named once."""

    def __init__(self, types: Sequence[Any]) -> None:
        given, self.components = msgspec.json.schema_components(types, ref_template=_REF)
        self._given = dict(zip(map(id, types), given, strict=True))
        self._types = types  # an id means something only while its object lives
        for name, cls in _classes(types).items():
            if name in self.components:
                _describe(self.components[name], cls)

    def of(self, content: Any) -> Document | None:
        """Give the schema of a type, or the one that was given."""
        if content is None or isinstance(content, dict):
            return content
        return self._given[id(content)]

    def fields(self, struct: type[msgspec.Struct]) -> Iterator[tuple[str, Document, bool]]:
        """Give name and schema of each member, and whether it must be given."""
        schema = self.components[struct.__name__]
        required = schema.get("required", ())
        for name, each in schema["properties"].items():
            yield name, each, name in required


def _types(operations: Sequence[Operation]) -> list[Any]:
    """List all types, each once."""
    found: list[Any] = []
    for one in operations:
        bodies = () if one.body is None else (one.body,)
        for contents in (bodies, *one.answers.values()):
            found += [content.of for content in contents]
        found.append(one.query)
    types = [of for of in found if of is not None and not isinstance(of, dict)]
    return [of for position, of in enumerate(types) if of not in types[:position]]


def _classes(types: Iterable[Any]) -> dict[str, type]:
    """Find the structs in types, by name."""
    found: dict[str, type] = {}

    def look(hint: Any) -> None:
        is_struct = isinstance(hint, type) and issubclass(hint, msgspec.Struct)
        if is_struct and hint.__name__ not in found:
            found[hint.__name__] = hint
            for each in msgspec.structs.fields(hint):
                look(each.type)
        for part in get_args(hint):
            look(part)

    for hint in types:
        look(hint)
    return found


def _describe(schema: Document, cls: type) -> None:
    """Say of each member what the class's docstring says of it."""
    text = cleandoc(cls.__doc__ or "")
    schema["description"] = text.partition("\n\n")[0]
    entries = dict(_ENTRY.findall(text.partition("Attributes:\n")[2]))
    for name, each in schema.get("properties", {}).items():
        if name in entries:
            each["description"] = " ".join(entries[name].replace("``", "`").split())


def _operation(one: Operation, schemas: _Schemas) -> Document:
    told: Document = {
        "operationId": _identifier(one),
        "tags": [one.tag],
        "summary": one.summary,
        "description": one.description,
        "parameters": [*_parameters(one, schemas)],
        "responses": {
            status: _response(contents, schemas) for status, contents in one.answers.items()
        },
        "security": [{name: []} for name in one.security],
        **one.extensions,
    }
    if one.body is not None:
        schema = schemas.of(one.body.of) or {}
        content = {one.body.media: {"schema": schema}}
        told["requestBody"] = {"required": one.body.must, "content": content}
    return told


def _identifier(one: Operation) -> str:
    words = re.findall(r"\w+", one.path)
    return "_".join([one.method.lower(), *words])


def _parameters(one: Operation, schemas: _Schemas) -> Iterator[Document]:
    for name in _PART.findall(one.path):
        schema: Document = {"type": "string", "minLength": 1}
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    if one.query is not None:
        for name, schema, required in schemas.fields(one.query):
            text = schema.get("description", "")
            bare = {key: value for key, value in schema.items() if key != "description"}
            yield {
                "name": name, "in": "query", "required": required,
                "description": text, "schema": bare,
            }  # fmt: skip


def _response(contents: Sequence[Content], schemas: _Schemas) -> Document:
    told: Document = {"description": contents[0].description or "Done."}
    for content in contents:
        if content.media:
            schema = schemas.of(content.of)
            media = content.media.partition(";")[0]
            told.setdefault("content", {})[media] = {} if schema is None else {"schema": schema}
    return told
