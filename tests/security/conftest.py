"""One world for each process, while it is at these tests; see security.world."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from security.world import a_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from security.world import World


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "security" in item.path.parts:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with a_world(tmp_path_factory.mktemp("security")) as built:
        yield built
