"""
Prices from a list as LiteLLM has it: one JSON object, an entry for each model.

==========================================  ==============================
member of an entry, USD per token           ours
==========================================  ==============================
``input_cost_per_token``                    ``input``
``output_cost_per_token``                   ``output``
``cache_read_input_token_cost``             ``cached_read``
``cache_creation_input_token_cost``         ``cached_write``
``output_cost_per_reasoning_token``         ``reasoning``
``input_cost_per_request``                  ``request`` (USD)
any of them with ``_above_200k_tokens``     beyond so many input tokens
==========================================  ==============================

Numbers are taken as they are written, digit by digit, never as binary floats.
A model is looked up under its provider's prefix (``groq/llama-3.3-70b``) first,
then by its bare name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from lmgateway.classes import frozen
from lmgateway.errors import ConfigError
from lmgateway.governance.price import Price, nano

MAX_BYTES = 64 * 2**20
"""The list that LiteLLM publishes has 3 MB."""

_MEMBERS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached_read",
    "cache_creation_input_token_cost": "cached_write",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_request": "request",
}
_PREFIXES = {
    "fireworks": "fireworks_ai",
    "nvidia": "nvidia_nim",
    "together": "together_ai",
}
_STEP = re.compile(r"(\w+)_above_(\d{1,6})k_tokens")
_MILLION = 10**6
_MOST = Decimal(10**6)

_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


@frozen
class PriceFile:
    """A list that was read."""

    path: Path
    models: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> PriceFile:
        """
        Read a list.

        Raises:
            ConfigError: If it cannot be read, or is no such list.
        """
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise _refused(path, f"cannot be read: {error.strerror}") from None
        if len(content) > MAX_BYTES:
            raise _refused(path, f"is larger than {MAX_BYTES >> 20} MB")
        try:
            return cls(path, _decoder.decode(content))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise _refused(path, "is not a JSON object of models") from None

    def find(self, provider: str, model: str) -> Price | None:
        """
        Give the price of a provider's model; ``None`` if it has none here.

        Raises:
            ConfigError: If its entry is malformed.
        """
        prefix = _PREFIXES.get(provider, provider)
        for name in (f"{prefix}/{model}", model):
            entry = self.models.get(name)
            if entry is None or not self._is_of(entry, prefix, name):
                continue
            return self._price(name, entry)
        return None

    def _is_of(self, entry: Any, prefix: str, name: str) -> bool:
        """Whether an entry is this provider's; "openai" is any that speaks its grammar."""
        if not isinstance(entry, dict):
            raise _refused(self.path, f'the entry of "{name}" is not an object')
        whose = entry.get("litellm_provider", prefix)
        return name != prefix and (prefix == "openai" or whose == prefix or "/" in name)

    def _price(self, name: str, entry: Mapping[str, Any]) -> Price | None:
        parts: dict[str, int] = {}
        steps: dict[int, dict[str, int]] = {}
        for key, value in entry.items():
            step = _STEP.fullmatch(key)
            part = _MEMBERS.get(step[1] if step else key)
            if part is None or value is None:
                continue
            amount = self._nano(name, key, value, per_token=part != "request")
            (steps.setdefault(int(step[2]) * 1000, {}) if step else parts)[part] = amount
        if "input" not in parts and "output" not in parts and "request" not in parts:
            return None
        return Price.filled(parts, steps)

    def _nano(self, name: str, key: str, value: object, *, per_token: bool) -> int:
        is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
        amount = Decimal(value) if isinstance(value, int | Decimal) and is_number else None
        if amount is None or not amount.is_finite() or not 0 <= amount <= _MOST:
            raise _refused(self.path, f'"{name}": {key} is not an amount of USD')
        return nano(amount * _MILLION if per_token else amount)


def _refused(path: Path, text: str) -> ConfigError:
    return ConfigError([f'prices.file: "{path}" {text}'])
