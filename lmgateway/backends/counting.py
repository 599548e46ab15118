"""Counting a prompt's tokens where the backend cannot: an estimate, in Anthropic's grammar."""

from __future__ import annotations

from lmgateway.backends.base import Reply
from lmgateway.chat import ChatRequest, Usage
from lmgateway.dialects.anthropic import ANTHROPIC, count_tokens_answer
from lmgateway.dialects.base import Answer

BYTES_A_TOKEN = 4


def counted(request: ChatRequest) -> Reply:
    """Give an estimate of the tokens of a ``count_tokens`` request."""
    tokens = max(1, len(request.raw) // BYTES_A_TOKEN)
    return Reply(
        dialect=ANTHROPIC.name,
        body=count_tokens_answer(tokens),
        answer=Answer(
            document={"input_tokens": tokens}, usage=Usage(), finish_reason=None, model=None
        ),
    )
