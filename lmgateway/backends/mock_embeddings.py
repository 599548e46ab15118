"""
Embeddings of the mock: unit vectors that depend on the text alone.

They say nothing of meaning; the same text has the same vector, in every run.
"""

from __future__ import annotations

import math
from array import array
from base64 import b64encode
from hashlib import shake_256
from sys import byteorder

from lmgateway.backend_errors import Rejected
from lmgateway.backends.mock_ask import inputs_of, tokens_in
from lmgateway.chat import Document

DIMENSIONS = 256
MAX_DIMENSIONS = 4096


def vector(text: str, dimensions: int = DIMENSIONS) -> array[float]:
    """Give the unit vector of a text."""
    digest = shake_256(text.encode("utf-8", "surrogatepass")).digest(2 * dimensions)
    numbers = [
        int.from_bytes(digest[i : i + 2], "little", signed=True) + 0.5
        for i in range(0, len(digest), 2)
    ]
    length = math.sqrt(math.fsum(number * number for number in numbers))
    return array("f", [number / length for number in numbers])


def embeddings(hub: Document, model: str) -> Document:
    """
    Answer an embeddings request.

    Raises:
        Rejected: If it asks for what cannot be given.
    """
    texts = inputs_of(hub.get("input"), "input")
    dimensions = _dimensions(hub.get("dimensions"))
    packed = _packed(hub.get("encoding_format"))
    tokens = sum(tokens_in(text) for text in texts)
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": _base64(found) if packed else found.tolist(),
            }
            for index, found in enumerate(vector(text, dimensions) for text in texts)
        ],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _dimensions(value: object) -> int:
    if value is None:
        return DIMENSIONS
    if type(value) is int and 1 <= value <= MAX_DIMENSIONS:
        return value
    raise Rejected(
        f"The member 'dimensions' must be from 1 to {MAX_DIMENSIONS}.", param="dimensions"
    )


def _packed(value: object) -> bool:
    if value in (None, "float"):
        return False
    if value == "base64":
        return True
    raise Rejected(
        "The member 'encoding_format' must be 'float' or 'base64'.", param="encoding_format"
    )


def _base64(numbers: array[float]) -> str:
    if byteorder == "big":
        numbers.byteswap()
    return b64encode(numbers.tobytes()).decode()
