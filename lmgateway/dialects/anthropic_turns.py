"""
Hub messages, said in Anthropic's turns.

Anthropic's conversation has two roles that take turns, so messages of one role
that follow each other become one turn.  In it, what tools returned comes first.

===========================================  ======================================================
hub                                          Anthropic
===========================================  ======================================================
roles ``system``, ``developer``              blocks of the system prompt, whatever their place
role ``user``                                turn of the user
role ``tool``                                ``tool_result`` block in the user's turn
role ``assistant``                           turn of the assistant; at the very end (prefill)
                                             without trailing white space, which Anthropic refuses
``tool_calls[]``                             ``tool_use``; arguments as an object, spelt as they
                                             were
``thinking_blocks``                          ``thinking``, ``redacted_thinking``, first in the turn
``reasoning_content``                        nothing: Anthropic takes no unsigned reasoning
text, refusal                                ``text``; an empty one is left out
``image_url``                                ``image``: base64 or url; never fetched.  A PDF is a
                                             ``document``
``file`` with data                           ``document``: PDF in base64, or text; ``filename`` is
                                             its ``title``
``cache_control``                            the same, on the block
``input_audio``, files by id, anything else  refused
===========================================  ======================================================

The ids of tool calls keep what Anthropic allows in them (letters, digits, ``_``
and ``-``); other characters become ``_``, in call and result alike.
"""

from __future__ import annotations

import re
from base64 import b64decode

import msgspec

from lmgateway.chat import Document
from lmgateway.dialects.anthropic_checks import list_at, object_at, objects_at, refuse, text_at
from lmgateway.dialects.hub import split_data_uri
from lmgateway.errors import Unsupported

_PDF = "application/pdf"
_ID = re.compile(r"[^a-zA-Z0-9_-]")
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_turns(messages: list[object]) -> tuple[list[Document], list[Document]]:
    """
    Say hub messages.

    Returns:
        The blocks of the system prompt, and the turns.

    Raises:
        MalformedRequest: If a message is not well formed.
        Unsupported: If one holds what Anthropic cannot say.
    """
    system: list[Document] = []
    turns: list[tuple[str, list[Document]]] = []
    for message, where in objects_at(messages, "messages"):
        role = message.get("role")
        if role in ("system", "developer"):
            system += _system_blocks(message.get("content"), f"{where}.content")
            continue
        role, blocks = _turn(message, where)
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        elif blocks:
            turns.append((role, blocks))
    if turns and turns[-1][0] == "assistant":
        _strip_end(turns)
    return system, [{"role": role, "content": _content(blocks)} for role, blocks in turns]


def _turn(message: Document, where: str) -> tuple[str, list[Document]]:
    role = message.get("role")
    if role == "user":
        return "user", _blocks(message.get("content"), f"{where}.content")
    if role == "tool":
        return "user", [_tool_result(message, where)]
    if role == "function":
        raise Unsupported("Use the role 'tool'.", param=f"{where}.role")
    if role != "assistant":
        refuse(f"{where}.role", "is not known")
    return "assistant", _assistant_blocks(message, where)


def _strip_end(turns: list[tuple[str, list[Document]]]) -> None:
    blocks = turns[-1][1]
    if blocks[-1]["type"] == "text":
        blocks[-1] = {**blocks[-1], "text": blocks[-1]["text"].rstrip()}


def _content(blocks: list[Document]) -> str | list[Document]:
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return str(blocks[0]["text"])
    return sorted(blocks, key=_is_not_result)


def _is_not_result(block: Document) -> bool:
    return bool(block["type"] != "tool_result")


def _system_blocks(content: object, where: str) -> list[Document]:
    blocks = _blocks(content, where)
    for block in blocks:
        if block["type"] != "text":
            raise Unsupported("A system prompt is text here.", param=where)
    return blocks


def _tool_result(message: Document, where: str) -> Document:
    result: Document = {
        "type": "tool_result",
        "tool_use_id": _id_of(message, where, "tool_call_id"),
    }
    blocks = _blocks(message.get("content"), f"{where}.content")
    if blocks:
        result["content"] = _content(blocks)
    if message.get("is_error") is True:
        result["is_error"] = True
    return result


def _id_of(member: Document, where: str, name: str) -> str:
    given = text_at(member.get(name), f"{where}.{name}")
    return _ID.sub("_", given) if given else refuse(f"{where}.{name}", "must not be empty")


def _assistant_blocks(message: Document, where: str) -> list[Document]:
    if message.get("function_call"):
        raise Unsupported("Use 'tool_calls'.", param=f"{where}.function_call")
    blocks = [
        block
        for block, _ in objects_at(message.get("thinking_blocks") or [], f"{where}.thinking_blocks")
        if block.get("signature") or block.get("type") == "redacted_thinking"
    ]
    blocks += _blocks(message.get("content"), f"{where}.content")
    if message.get("refusal"):
        blocks += _blocks(text_at(message["refusal"], f"{where}.refusal"), where)
    if message.get("tool_calls"):
        calls = objects_at(message["tool_calls"], f"{where}.tool_calls")
        blocks += [_tool_use(call, path) for call, path in calls]
    return blocks


def _tool_use(call: Document, where: str) -> Document:
    if call.get("type", "function") != "function":
        raise Unsupported("Only calls of functions.", param=f"{where}.type")
    function = object_at(call.get("function"), f"{where}.function")
    return {
        "type": "tool_use",
        "id": _id_of(call, where, "id"),
        "name": text_at(function.get("name"), f"{where}.function.name"),
        "input": arguments_at(function.get("arguments"), f"{where}.function.arguments"),
    }


def arguments_at(arguments: object, where: str) -> msgspec.Raw:
    """
    Take a tool call's arguments as the object that they are, its spelling kept.

    Raises:
        MalformedRequest: If they are not a JSON object.
    """
    text = text_at(arguments, where).strip() or "{}"
    try:
        _decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        refuse(where, "must be a JSON object")
    return msgspec.Raw(text.encode())


def _blocks(content: object, where: str) -> list[Document]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    blocks = []
    for part, path in objects_at(list_at(content, where), where):
        block = _block(part, path)
        if block is not None:
            blocks.append(block)
    return blocks


def _block(part: Document, where: str) -> Document | None:
    kind = part.get("type")
    if kind in ("text", "refusal"):
        text = text_at(part.get(kind), f"{where}.{kind}")
        block: Document = {"type": "text", "text": text}
        if not text.strip():
            return None
    elif kind == "image_url":
        block = _image(part.get("image_url"), f"{where}.image_url")
    elif kind == "file":
        block = _file(object_at(part.get("file"), f"{where}.file"), f"{where}.file")
    else:
        raise Unsupported(f"{kind!r} is not available with this model.", param=f"{where}.type")
    if part.get("cache_control") is not None:
        block["cache_control"] = part["cache_control"]
    return block


def _image(image: object, where: str) -> Document:
    if isinstance(image, dict):
        image, where = image.get("url"), f"{where}.url"
    url = text_at(image, where)
    if url[:7].lower() == "http://" or url[:8].lower() == "https://":
        return {"type": "image", "source": {"type": "url", "url": url}}
    uri = split_data_uri(url)
    if uri is None:
        refuse(where, "must be a data: address in base64, or http(s):")
    kind = "document" if uri[0] == _PDF else "image"
    return {"type": kind, "source": {"type": "base64", "media_type": uri[0], "data": uri[1]}}


def _file(file: Document, where: str) -> Document:
    if file.get("file_url") is not None:
        url = text_at(file["file_url"], f"{where}.file_url")
        source: Document = {"type": "url", "url": url}
    elif file.get("file_data") is not None:
        source = _file_source(text_at(file["file_data"], f"{where}.file_data"), where)
    else:
        raise Unsupported("A file must be in the request itself.", param=where)
    block: Document = {"type": "document", "source": source}
    if file.get("filename"):
        block["title"] = text_at(file["filename"], f"{where}.filename")
    return block


def _file_source(data: str, where: str) -> Document:
    uri = split_data_uri(data)
    if uri is None:
        refuse(f"{where}.file_data", "must be a data: address in base64")
    if uri[0] == _PDF:
        return {"type": "base64", "media_type": _PDF, "data": uri[1]}
    if not uri[0].startswith("text/"):
        raise Unsupported("A file must be a PDF or text.", param=f"{where}.file_data")
    try:
        text = b64decode(uri[1], validate=True).decode()
        return {"type": "text", "media_type": "text/plain", "data": text}
    except ValueError:
        refuse(f"{where}.file_data", "must be UTF-8 text in base64")
