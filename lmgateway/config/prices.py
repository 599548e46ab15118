"""Prices that the config does not give itself: the ``[prices]`` table."""

from __future__ import annotations

from typing import Literal

from lmgateway.classes import frozen


@frozen(kw_only=True)
class PricesSection:
    """
    Where prices come from that no tier or target gives.

    Attributes:
        file: A price list as LiteLLM has it (``model_prices_and_context_window.json``), relative
            to the main config file's folder.
        table: A table that comes with a package, asked for what the file does not have.
    """

    file: str | None = None
    table: Literal["genai-prices"] | None = None
