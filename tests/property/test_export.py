"""What is written as YAML or JSON is read as it was."""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from gpu_tenancy.cli.documents import Format, text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.text(), one),
    )
)
def test_both_notations_give_back_what_was_written(value: Any) -> None:
    assert yaml.safe_load(text({"value": value}, Format.YAML)) == {"value": value}
    assert json.loads(text({"value": value}, Format.JSON)) == {"value": value}
