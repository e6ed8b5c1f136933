"""Objects as text: the same objects give the same bytes, and every reader of YAML reads the same values."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

# Versions of YAML disagree on what `no`, `1e3`, `0o7` or `1:30` is. A word that looks like none of these stays bare.
_BARE = re.compile(r"[A-Za-z][A-Za-z0-9_./+-]*( [A-Za-z0-9_./+-]+)*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


class Format(StrEnum):
    """The notations of objects."""

    YAML = "yaml"
    JSON = "json"


def text(document: Any, notation: Format) -> str:
    """Write one document."""
    return _json(document) if notation is Format.JSON else _yaml([document])


def manifests(objects: Sequence[dict[str, Any]], notation: Format) -> str:
    """Write objects as a stream of YAML documents, or as one List in JSON."""
    if notation is Format.JSON:
        return _json({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    return _yaml(objects)


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _yaml(documents: Sequence[Any]) -> str:
    width = float("inf")  # breaks no line
    written: str = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=width)
    return written


class _Dumper(yaml.SafeDumper):
    """Quotes each string that could be read as anything else, and never refers back to a value."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _string(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    bare = _BARE.fullmatch(value) is not None and value.lower() not in _WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if bare else '"')


_Dumper.add_representer(str, _string)
