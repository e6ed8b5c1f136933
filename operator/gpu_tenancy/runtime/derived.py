"""Values that follow from stores, computed when they are asked for and only after a change that matters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpu_tenancy.kube.store import Entry, Store

T = TypeVar("T")


class Derived(Generic[T]):
    """Calls `compute` at most once per change.

    Args:
        compute: gives the value; it may read the stores and other derived values.
        stores: what it reads.
        matters: whether a change of an entry can change the value; by default every change does.
    """

    def __init__(
        self,
        compute: Callable[[], T],
        *stores: Store[Any],
        matters: Callable[[Entry[Any] | None, Entry[Any] | None], bool] = lambda _old, _new: True,
    ) -> None:
        self._compute = compute
        self._matters = matters
        self._value: tuple[T] | None = None
        for store in stores:
            store.subscribe(self._changed)

    def __call__(self) -> T:
        """Give the value as of now."""
        if self._value is None:
            self._value = (self._compute(),)
        return self._value[0]

    def _changed(self, _key: object, old: Entry[Any] | None, new: Entry[Any] | None) -> None:
        if self._matters(old, new):
            self._value = None
