from __future__ import annotations

import pytest

from gpu_tenancy.api.pattern import why_not_portable


@pytest.mark.parametrize(
    "pattern",
    ["^$", "^a$", "^(a|b)c*$", "^[-a-z]{0,61}$", r"^a\.b\$$", r"^[^\x00-\x20]+$", r"^[\]a]$", "^(a?b)?$", "^a{1000}$"],
)
def test_a_pattern_that_all_engines_read_alike_passes(pattern: str) -> None:
    assert why_not_portable(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("a$", "not anchored"),
        ("^'$", "has a quote"),
        ("^a", "not anchored"),
        (r"^a\$", "not anchored"),
        ("^a|b$", "alternatives outside a group"),
        ("^(?=a)a$", "lookaround"),
        ("^(?!a)b$", "lookaround"),
        ("^(?P<x>a)$", "begins with ?"),
        (r"^(a)\1$", "back-reference"),
        (r"^\s$", "Unicode"),
        (r"^[\d]$", "Unicode"),
        (r"^[\1]$", "back-reference"),
        ("^[[a]]$", "not read alike"),
        ("^[a&&b]$", "not read alike"),
        ("^a*+$", "repeats a repetition"),
        ("^a*?$", "repeats a repetition"),
        ("^a{2}{3}$", "repeats a repetition"),
        ("^a{1001}$", "more than 1000 times"),
        ("^a{0,5000}$", "more than 1000 times"),
    ],
)
def test_a_pattern_that_engines_may_read_differently_is_refused_with_the_reason(pattern: str, reason: str) -> None:
    assert reason in str(why_not_portable(pattern))
