"""What is written as YAML or JSON is read as it was."""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from gpu_tenancy.cli.documents import Format, text


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner) | st.dictionaries(st.text(), inner)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), nested))
def test_both_notations_give_back_what_was_written(value: Any) -> None:
    assert yaml.safe_load(text({"value": value}, Format.YAML)) == {"value": value}
    assert json.loads(text({"value": value}, Format.JSON)) == {"value": value}
