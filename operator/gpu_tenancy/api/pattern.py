"""Which regular expressions mean the same to the API server (RE2), to pydantic (Rust) and to Python."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(
    r"\\(?P<escape>.)|(?P<set>\[\^?(?:\\.|[^\]\\])*\])|(?P<repeat>\{[0-9]+(?:,[0-9]*)?\}|[*+?])|(?P<sign>.)", re.DOTALL
)
_SET_TRAPS = ("[", "&&", "--", "~~")  # nested sets and set operations: each engine reads them in its own way
_MOST_REPEATS = 1000  # RE2's limit


def why_not_portable(pattern: str) -> str | None:
    """Say why a pattern is not read alike everywhere or does not bind the whole text; None if it does both."""
    return next(_reasons(pattern), None)


def _reasons(pattern: str) -> Iterator[str]:
    if not (pattern.startswith("^") and pattern.endswith("$") and not pattern.endswith(r"\$")):
        yield "is not anchored with ^ and $"
    if "'" in pattern:
        yield "has a quote, which would end it where it is part of a rule"
    depth, previous = 0, ""
    for token in _TOKEN.finditer(pattern):
        text = token[0]
        match token.lastgroup:
            case "escape":
                yield from _reasons_of_escape(text)
            case "set":
                yield from _reasons_of_set(text)
            case "repeat":
                yield from _reasons_of_repeat(text, previous)
        depth += {"(": 1, ")": -1}.get(text, 0)
        if text == "|" and depth == 0:
            yield "has alternatives outside a group, of which each is anchored at one side only"
        previous = "repeat" if token.lastgroup == "repeat" else text


def _reasons_of_escape(text: str) -> Iterator[str]:
    if text[1].isdigit():
        yield f"has the back-reference {text}"
    elif text[1].isalpha() and text[1] not in "nrtx":
        yield f"has {text}, which is ASCII to the API server and Unicode to pydantic; write the characters"


def _reasons_of_set(text: str) -> Iterator[str]:
    inner = text[1:-1]
    if any(trap in inner for trap in _SET_TRAPS):
        yield f"has the set {text}, which is not read alike everywhere"
    for escape in re.findall(r"\\.", inner):
        yield from _reasons_of_escape(escape)


def _reasons_of_repeat(text: str, previous: str) -> Iterator[str]:
    if previous == "(":
        yield "has a group that begins with ?, such as a lookaround"
    if previous == "repeat":
        yield f"repeats a repetition with {text}"
    if any(int(number) > _MOST_REPEATS for number in re.findall("[0-9]+", text)):
        yield f"repeats more than {_MOST_REPEATS} times"
