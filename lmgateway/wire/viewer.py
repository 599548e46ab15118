"""A page that shows a port's own OpenAPI document: one file, nothing from elsewhere."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files

from lmgateway.wire.heads import Headers

MEDIA = "text/html; charset=utf-8"


@cache
def viewer() -> tuple[bytes, Headers]:
    """
    Give the page, and the policy that lets a browser run nothing but its own script.

    The page loads ``openapi.json`` from beside it, whatever prefix a proxy puts before both.
    """
    page = files("lmgateway.wire").joinpath("viewer.html").read_bytes()
    return page, [(b"content-security-policy", policy(page, b"connect-src 'self'"))]


def policy(page: bytes, *more: bytes) -> bytes:
    """Give a content security policy: the style and script that are in *page*, and *more*."""
    parts = [b"default-src 'none'", b"base-uri 'none'", b"frame-ancestors 'none'", *more]
    for name in (b"style", b"script"):
        found = re.findall(b"<%b>(.*?)</%b>" % (name, name), page, re.DOTALL)
        hashes = [b"'sha256-%b'" % b64encode(sha256(text).digest()) for text in found]
        if hashes:
            parts.append(b"%b-src " % name + b" ".join(hashes))
    if not any(part.startswith(b"form-action") for part in more):
        parts.append(b"form-action 'none'")
    return b"; ".join(parts)
