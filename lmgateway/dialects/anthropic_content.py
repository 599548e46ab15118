"""The content of Anthropic's turns, read into hub messages: see ``anthropic_parse``."""

from __future__ import annotations

from base64 import b64encode

from lmgateway.chat import Document
from lmgateway.dialects.anthropic_checks import object_at, objects_at, refuse, text_at
from lmgateway.dialects.document import encode

_ATTACHED = "The result is attached to the next message."


def system_message(content: object, where: str) -> list[Document]:
    """Give the hub message of a system prompt; none if it is empty."""
    parts = _parts(content, where, only=("text",))
    return [{"role": "system", "content": _lone_text(parts)}] if parts else []


def user_messages(content: object, where: str) -> list[Document]:
    """Give the hub messages of one user turn: what its tools returned, then the rest."""
    where = f"{where}.content"
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    results: list[Document] = []
    attached: list[Document] = []
    said: list[Document] = []
    for block, path in objects_at(content, where):
        if block.get("type") == "tool_result":
            message, more = _tool_message(block, path)
            results.append(message)
            attached += more
        else:
            said += _part(block, path)
    if attached or said or not results:
        results.append({"role": "user", "content": _lone_text(attached + said)})
    return results


def assistant_message(content: object, where: str) -> Document:
    """Give the hub message of one assistant turn."""
    where = f"{where}.content"
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    said: list[Document] = []
    calls: list[Document] = []
    thoughts: list[Document] = []
    for block, path in objects_at(content, where):
        kind = block.get("type")
        if kind == "tool_use":
            calls.append(_tool_call(block, path))
        elif kind in ("thinking", "redacted_thinking"):
            thoughts.append(_thought(block, path))
        else:
            said += _part(block, path)
    message: Document = {"role": "assistant", "content": _joined_text(said)}
    if calls:
        message["content"] = message["content"] or None
        message["tool_calls"] = calls
    _add_thoughts(message, thoughts)
    return message


def _add_thoughts(message: Document, thoughts: list[Document]) -> None:
    text = "".join(thought.get("thinking", "") for thought in thoughts)
    signed = [thought for thought in thoughts if thought.get("signature") or "data" in thought]
    if text:
        message["reasoning_content"] = text
    if signed:
        message["thinking_blocks"] = signed


def _thought(block: Document, where: str) -> Document:
    if block["type"] == "redacted_thinking":
        data = text_at(block.get("data"), f"{where}.data")
        return {"type": "redacted_thinking", "data": data}
    signature = block.get("signature")
    return {
        "type": "thinking",
        "thinking": text_at(block.get("thinking"), f"{where}.thinking"),
        "signature": "" if signature is None else text_at(signature, f"{where}.signature"),
    }


def _tool_call(block: Document, where: str) -> Document:
    arguments = object_at(block.get("input"), f"{where}.input")
    return {
        "id": text_at(block.get("id"), f"{where}.id"),
        "type": "function",
        "function": {
            "name": text_at(block.get("name"), f"{where}.name"),
            "arguments": encode(arguments).decode(),
        },
    }


def _tool_message(block: Document, where: str) -> tuple[Document, list[Document]]:
    content = block.get("content")
    parts = [] if content is None else _parts(content, f"{where}.content")
    texts = [part for part in parts if part["type"] == "text"]
    attached = [part for part in parts if part["type"] != "text"]
    if attached and not texts:
        texts = [{"type": "text", "text": _ATTACHED}]
    message: Document = {
        "role": "tool",
        "tool_call_id": text_at(block.get("tool_use_id"), f"{where}.tool_use_id"),
        "content": _lone_text(texts),
    }
    if block.get("is_error") is True:
        message["is_error"] = True
    return message, attached


def _parts(content: object, where: str, only: tuple[str, ...] = ()) -> list[Document]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    parts = []
    for block, path in objects_at(content, where):
        if only and block.get("type") not in only:
            refuse(f"{path}.type", f"must be {only[0]!r}")
        parts += _part(block, path)
    return parts


def _part(block: Document, where: str) -> list[Document]:
    kind = text_at(block.get("type"), f"{where}.type")
    if kind == "text":
        parts = [{"type": "text", "text": text_at(block.get("text"), f"{where}.text")}]
    elif kind == "image":
        parts = [_image(block, where)]
    elif kind == "document":
        parts = _document(block, where)
    else:
        parts = [opaque(where)]
    if block.get("cache_control") is not None:
        parts[-1] = {**parts[-1], "cache_control": block["cache_control"]}
    return parts


def opaque(where: str) -> Document:
    """Give what stands in the hub for a thing that only Anthropic has."""
    return {"type": "opaque", "name": where}


def _image(block: Document, where: str) -> Document:
    url = _url(object_at(block.get("source"), f"{where}.source"), f"{where}.source")
    return opaque(where) if url is None else {"type": "image_url", "image_url": {"url": url}}


def _document(block: Document, where: str) -> list[Document]:
    source = object_at(block.get("source"), f"{where}.source")
    if source.get("type") == "content":
        parts = _parts(source.get("content"), f"{where}.source.content")
        return parts or refuse(f"{where}.source.content", "must not be empty")
    url = _url(source, f"{where}.source")
    if url is None:
        return [opaque(where)]
    title = block.get("title")
    name = "document" if title is None else text_at(title, f"{where}.title")
    member = "file_data" if url.startswith("data:") else "file_url"
    return [{"type": "file", "file": {"filename": name, member: url}}]


def _url(source: Document, where: str) -> str | None:
    kind = source.get("type")
    if kind == "url":
        return text_at(source.get("url"), f"{where}.url")
    if kind not in ("base64", "text"):
        return None
    media_type = text_at(source.get("media_type"), f"{where}.media_type")
    data = text_at(source.get("data"), f"{where}.data")
    if kind == "text":
        data = b64encode(data.encode()).decode()
    return f"data:{media_type};base64,{data}"


def _is_bare(part: Document) -> bool:
    return part["type"] == "text" and "cache_control" not in part


def _lone_text(parts: list[Document]) -> str | list[Document]:
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and _is_bare(parts[0]) else parts


def _joined_text(parts: list[Document]) -> str | list[Document]:
    if all(_is_bare(part) for part in parts):
        return "".join(part["text"] for part in parts)
    return parts
