"""What attempts cost."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import Usage
from lmgateway.config.schema import PriceSection
from lmgateway.governance.pricing import FREE, Price, nano, usd

AMOUNTS = st.decimals(0, 1000, places=6, allow_nan=False)
TOKENS = st.integers(0, 10**7)


class PriceTests(SynchronousTestCase):
    """Tokens times prices."""

    def test_L6_1_tokens_times_price(self) -> None:
        """1000 and 500 tokens at 30 and 60 USD per million are 0.06 USD, to the last digit."""
        price = Price.of(PriceSection(input=30, output=60))
        self.assertEqual(usd(price.cost(Usage(input_tokens=1000, output_tokens=500))), "0.06")

    def test_parts_have_prices_of_their_own(self) -> None:
        """Cached and reasoning tokens are part of the input and the output."""
        section = PriceSection(input=1, output=10, cached_read=0.1, cached_write=1.25, reasoning=20)
        usage = Usage(
            input_tokens=1000, output_tokens=100, cached_read=600, cached_write=100, reasoning=40
        )
        expected = 300 * 1000 + 600 * 100 + 100 * 1250 + 60 * 10000 + 40 * 20000
        self.assertEqual(Price.of(section).cost(usage), expected)

    def test_parts_without_a_price_cost_what_the_whole_does(self) -> None:
        """A provider that tells more is not cheaper for it."""
        price = Price.of(PriceSection(input=1, output=10))
        told = Usage(input_tokens=10, output_tokens=10, cached_read=5, cached_write=2, reasoning=7)
        self.assertEqual(price.cost(told), price.cost(Usage(input_tokens=10, output_tokens=10)))

    def test_requests_may_cost(self) -> None:
        """Whatever their tokens."""
        price = Price.of(PriceSection(input=0, output=0, request=0.005))
        self.assertEqual(usd(price.cost(Usage())), "0.005")

    def test_rounds_up_once(self) -> None:
        """A cost is never less than it was, and never a whole nano-dollar more."""
        price = Price.of(PriceSection(input=0.0001, output=0.0001))
        self.assertEqual(price.cost(Usage(input_tokens=1)), 1)
        self.assertEqual(price.cost(Usage(input_tokens=1, output_tokens=1)), 1)
        self.assertEqual(price.cost(Usage(input_tokens=10, output_tokens=1)), 2)
        self.assertEqual(price.cost(Usage()), 0)

    def test_impossible_usage_costs_no_less_than_nothing(self) -> None:
        """A backend may tell whatever it likes."""
        price = Price.of(PriceSection(input=1, output=1, cached_read=5, reasoning=5))
        odd = Usage(input_tokens=10, output_tokens=-5, cached_read=10**9, reasoning=10**9)
        self.assertEqual(price.cost(odd), 10 * 5000)
        self.assertEqual(FREE.cost(odd), 0)

    @given(AMOUNTS, AMOUNTS, TOKENS, TOKENS)
    def test_exact(self, input_: Decimal, output: Decimal, sent: int, got: int) -> None:
        """As with pencil and paper."""
        price = Price.of(PriceSection(input=float(input_), output=float(output)))
        exact = (sent * input_ + got * output) / 10**6
        rounded = exact.quantize(Decimal(10) ** -9, ROUND_CEILING)
        told = usd(price.cost(Usage(input_tokens=sent, output_tokens=got)))
        self.assertEqual(Decimal(told), rounded)


class NanoTests(SynchronousTestCase):
    """Money as whole numbers."""

    def test_as_written(self) -> None:
        """A price is what its decimals say, not what a float makes of them."""
        self.assertEqual(
            [nano(v) for v in (0.15, 0.1, 3, 0.0375)], [150000000, 10**8, 3 * 10**9, 37500000]
        )
        self.assertEqual(nano(1e-12), 1)

    def test_written(self) -> None:
        """Without exponent and without idle zeros."""
        told = [usd(n) for n in (0, 1, 10**9, 1_500_000_000, 12 * 10**9)]
        self.assertEqual(told, ["0", "0.000000001", "1", "1.5", "12"])
