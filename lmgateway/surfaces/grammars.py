"""Which grammar is spoken where: by backends, and in the errors of each path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lmgateway.dialects.anthropic import ANTHROPIC
from lmgateway.dialects.base import Dialect, SurfaceDialect
from lmgateway.dialects.completions import COMPLETIONS
from lmgateway.dialects.ollama import OLLAMA
from lmgateway.dialects.openai import OPENAI

BACKEND_DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect for dialect in (OPENAI, COMPLETIONS, ANTHROPIC, OLLAMA)
}

CALLS: Mapping[str, Sequence[str]] = {
    OPENAI.name: ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"),
    ANTHROPIC.name: ("/v1/messages", "/v1/messages/count_tokens"),
    OLLAMA.name: ("/api/chat", "/api/generate", "/api/embed", "/api/embeddings"),
}
"""The paths of each grammar that a backend is asked at."""

ERROR_GRAMMARS: Sequence[tuple[bytes, SurfaceDialect]] = (
    (b"/v1/messages", ANTHROPIC),
    (b"/api/", OLLAMA),
    (b"", OPENAI),
)
"""By path prefix; the first that fits."""
