"""One price: what the tokens of an attempt cost, in nano-dollars, rounded up once."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from math import ceil

from attrs import evolve, field

from lmgateway.chat import Usage
from lmgateway.classes import frozen
from lmgateway.config.schema import PriceSection
from lmgateway.governance.tokens import Ask

NANO = 10**9
_MILLION = 10**6

PARTS = ("input", "output", "cached_read", "cached_write", "reasoning", "request")


@frozen(kw_only=True)
class Price:
    """
    What a target costs, in nano-dollars: per million tokens, and per request.

    Attributes:
        cached_read: Part of the input.
        cached_write: Part of the input.
        reasoning: Part of the output.
        request: For each answer, whatever its tokens.
        dearest_input: Whatever kind of token it is.
        dearest_output: Likewise.
        beyond: Numbers of input tokens, the smallest first, and the price of all tokens of a
            request that has more.
    """

    input: int = 0
    output: int = 0
    cached_read: int = 0
    cached_write: int = 0
    reasoning: int = 0
    request: int = 0
    beyond: tuple[tuple[int, Price], ...] = field(default=(), repr=False)
    dearest_input: int = field(init=False, repr=False)
    dearest_output: int = field(init=False, repr=False)

    @dearest_input.default
    def _most_of_input(self) -> int:
        return max(self.input, self.cached_read, self.cached_write)

    @dearest_output.default
    def _most_of_output(self) -> int:
        return max(self.output, self.reasoning)

    @classmethod
    def of(cls, section: PriceSection) -> Price:
        """Read a price table of the config."""
        told = {name: getattr(section, name) for name in PARTS}
        return cls.filled({name: nano(v) for name, v in told.items() if v is not None})

    @classmethod
    def filled(
        cls, parts: Mapping[str, int], steps: Mapping[int, Mapping[str, int]] | None = None
    ) -> Price:
        """
        Make a price; a part that is not given costs what the whole does.

        Args:
            steps: The parts that are others beyond so many input tokens.
        """
        told = {"input": 0, "output": 0, "request": 0, **parts}
        told.setdefault("cached_read", told["input"])
        told.setdefault("cached_write", told["input"])
        told.setdefault("reasoning", told["output"])
        beyond, last = [], dict(parts)
        for start in sorted(steps or {}):
            last.update((steps or {})[start])
            beyond.append((start, cls.filled(last)))
        return evolve(FREE, beyond=tuple(beyond), **told)

    def cost(self, usage: Usage) -> int:
        """Give the nano-dollars of one answer; a part is never more than its whole."""
        for start, price in reversed(self.beyond):
            if usage.input_tokens > start:
                return price.cost(usage)
        sent, got = max(0, usage.input_tokens), max(0, usage.output_tokens)
        total = sent * self.input + got * self.output
        if usage.cached_read or usage.cached_write:
            read = _within(usage.cached_read, sent)
            write = _within(usage.cached_write, sent - read)
            total += read * (self.cached_read - self.input)
            total += write * (self.cached_write - self.input)
        if usage.reasoning:
            total += _within(usage.reasoning, got) * (self.reasoning - self.output)
        return self.request - (-total // _MILLION)

    def most(self, ask: Ask) -> int:
        """Give the nano-dollars that an answer can cost, whatever kinds of token it takes."""
        total = ask.prompt * self.dearest_input + ask.output * self.dearest_output
        own = self.request - (-total // _MILLION)
        if not self.beyond:
            return own
        steps = [price.most(ask) for start, price in self.beyond if ask.prompt > start]
        return max([own, *steps])


FREE = Price()


def nano(usd: float | Decimal) -> int:
    """Give the nano-dollars of a number as it is written in decimals; what is less, rounds up."""
    exact = usd if isinstance(usd, Decimal) else Decimal(repr(usd))
    return ceil(exact * NANO)


def usd(amount: int) -> str:
    """Write nano-dollars as decimal USD, without exponent."""
    whole, rest = divmod(amount, NANO)
    return f"{whole}.{rest:09d}".rstrip("0") if rest else f"{whole}"


def _within(part: int, whole: int) -> int:
    return max(0, min(part, whole))
