"""Which grammar is spoken where: by backends, and in the errors of each path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lmgateway.dialects.base import Dialect
from lmgateway.dialects.openai import OPENAI

BACKEND_DIALECTS: Mapping[str, Dialect] = {OPENAI.name: OPENAI}

ERROR_GRAMMARS: Sequence[tuple[bytes, Dialect]] = ((b"", OPENAI),)
"""By path prefix; the first that fits."""
