"""Kubernetes quantities (`500m`, `64Gi`, `1e3`) as exact numbers, which Python adds and compares itself."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_SUFFIXES = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "": Fraction(1),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
    "Ki": Fraction(2**10),
    "Mi": Fraction(2**20),
    "Gi": Fraction(2**30),
    "Ti": Fraction(2**40),
    "Pi": Fraction(2**50),
    "Ei": Fraction(2**60),
}
_QUANTITY = re.compile(r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]{1,2}))?")


# The same few amounts are compared again and again, for every namespace.
@lru_cache(maxsize=4096)
def parse(quantity: str | int) -> Fraction:
    """Read a quantity exactly.

    Raises:
        ValueError: if it is none.
    """
    match = _QUANTITY.fullmatch(str(quantity))
    if match is None:
        raise ValueError(f"not a quantity: {quantity!r}")
    number, suffix, exponent = match.groups()
    return Fraction(number) * (Fraction(10) ** int(exponent) if exponent else _SUFFIXES[suffix or ""])


def spell(value: Fraction | int) -> str:
    """Write a number as a quantity: whole if it is, else in thousandths, millionths or billionths.

    What is finer than a billionth is rounded up, as Kubernetes does.
    """
    value = Fraction(value)
    for suffix in ("", "m", "u"):
        scaled = value / _SUFFIXES[suffix]
        if scaled.denominator == 1:
            return f"{scaled.numerator}{suffix}"
    scaled = value / _SUFFIXES["n"]
    return f"{-(-scaled.numerator // scaled.denominator)}n"


def same(one: str | int, other: str | int) -> bool:
    """Say whether two quantities are the same number, however they are spelled."""
    return one == other or parse(one) == parse(other)
