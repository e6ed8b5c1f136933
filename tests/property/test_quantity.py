"""Quantities are exact, and mean what Kubernetes' own clients take them to mean."""

from __future__ import annotations

from decimal import localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.utils.quantity import parse_quantity

from gpu_tenancy.domain import quantity

SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
DIGITS = st.text("0123456789", min_size=1, max_size=6)
QUANTITIES = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "-", "+"]),
    DIGITS,
    st.builds(".{}".format, DIGITS) | st.just(""),
    st.sampled_from(SUFFIXES),
)


def official(text: str) -> Fraction:
    """What the official client reads, in a decimal context that is wide enough not to round."""
    with localcontext(prec=100):
        return Fraction(parse_quantity(text))


@given(QUANTITIES)
def test_a_quantity_is_what_the_official_client_reads(text: str) -> None:
    assert quantity.parse(text) == official(text)


@given(st.integers(), st.integers(0, 9))
def test_what_is_spelled_is_read_back(number: int, decimals: int) -> None:
    value = Fraction(number, 10**decimals)
    assert quantity.parse(quantity.spell(value)) == value


@given(st.fractions())
def test_what_is_too_fine_is_rounded_up_by_less_than_a_billionth(value: Fraction) -> None:
    assert 0 <= quantity.parse(quantity.spell(value)) - value < Fraction(1, 10**9)


@given(QUANTITIES, QUANTITIES)
def test_sameness_is_that_of_the_numbers(one: str, other: str) -> None:
    assert quantity.same(one, other) == (official(one) == official(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", 1),
        ("1000m", "1"),
        ("1Ki", "1024"),
        ("1e3", "1k"),
        ("1E3", "1k"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("5.", 5),
        ("1e-3", "1m"),
        ("2Gi", "2048Mi"),
        ("-1", "-1000m"),
        ("1E", "1000P"),
    ],
)
def test_these_are_the_same(one: str, other: str | int) -> None:
    assert quantity.same(one, other)


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "1K", "1ki", "1mi", "e3", "1e", "1e3k", "1e999", "--1", ".", "0x1", "1,5", "\u0661", "1\n"]
)
def test_these_are_no_quantities(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        quantity.parse(text)


@pytest.mark.parametrize(("value", "text"), [(8, "8"), (Fraction(1, 2), "500m"), (Fraction(-3, 2), "-1500m"), (0, "0")])
def test_spelling(value: Fraction | int, text: str) -> None:
    assert quantity.spell(value) == text
