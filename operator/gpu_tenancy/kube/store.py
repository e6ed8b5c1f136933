"""The last known state of the objects of one kind, fed by a watch and by the answers to one's own writes.

The two race: the answer to a write may come before or after the watch tells of it, or of the deletion that followed.
Resource versions order them (within one kind they are comparable integers), and a tombstone keeps what is deleted so.
"""

from __future__ import annotations

import logging
import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")

Object = dict[str, Any]

_TOMBSTONES = 8192
"""How many deletions are remembered: far more than happen while an answer is on its way."""
_NEVER_AGAIN = sys.maxsize


class Key(NamedTuple):
    """Names an object of the store's kind; `namespace` is empty for cluster-scoped kinds."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """One object: who it is, in which version, and what the owner of the store made of it."""

    key: Key
    uid: str
    resource_version: str
    value: T


Subscriber = Callable[[Key, Entry[T] | None, Entry[T] | None], None]
Index = Callable[[Entry[T]], Iterable[Hashable]]


class Store(Generic[T]):
    """Objects of one kind by namespace and name; not for several threads.

    Attributes:
        undecodable: what `decode` failed on, and why; these objects count as absent.
    """

    def __init__(
        self,
        decode: Callable[[Object], T | None],
        *,
        indexes: Mapping[str, Index[T]] | None = None,
    ) -> None:
        """Make an empty store.

        Args:
            decode: turns an object into the value to keep, or into None if it is of no interest and counts as absent.
                It may raise what it likes.
            indexes: by name, functions that give the keys under which an entry is found with `by`.
        """
        self.undecodable: dict[Key, str] = {}
        self._decode = decode
        self._entries: dict[Key, Entry[T]] = {}
        self._lent = False
        self._versions: dict[Key, tuple[str, int]] = {}
        self._tombstones: OrderedDict[str, int] = OrderedDict()
        self._latest = 0
        self._indexes = indexes or {}
        self._buckets: dict[str, dict[Hashable, dict[Key, Entry[T]]]] = {name: {} for name in self._indexes}
        self._subscribers: list[Subscriber[T]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: str, namespace: str = "") -> Entry[T] | None:
        """Find one object."""
        return self._entries.get(Key(namespace, name))

    def by(self, index: str, key: Hashable) -> tuple[Entry[T], ...]:
        """Find the objects that an index has under a key."""
        return tuple(self._buckets[index].get(key, {}).values())

    def keys(self, index: str) -> frozenset[Any]:
        """Give the keys under which an index has objects."""
        return frozenset(self._buckets[index])

    def snapshot(self) -> Mapping[Key, Entry[T]]:
        """Give all objects as they are now; later changes do not show. Free unless something changed in between."""
        self._lent = True
        return self._entries

    def values(self) -> tuple[T, ...]:
        """Give the values of all objects."""
        return tuple(entry.value for entry in self._entries.values())

    def subscribe(self, subscriber: Subscriber[T]) -> None:
        """Have a function called with key, old and new entry whenever a value appears, changes or goes.

        A new version with an equal value is not told. An object that cannot be decoded is told as absent, and is then
        found in `undecodable`. The function must not block; what it raises is logged.
        """
        self._subscribers.append(subscriber)

    def observe(self, raw: Object) -> None:
        """Take in an object as the server sent it, unless something later is known of it."""
        metadata = raw["metadata"]
        key, uid = Key(metadata.get("namespace", ""), metadata["name"]), metadata["uid"]
        version = int(metadata["resourceVersion"])
        _, known_version = self._versions.get(key, ("", -1))
        # Of two incarnations of one name, too, the one with the later version is the living one.
        if version <= known_version or version <= self._tombstones.get(uid, -1):
            return
        self._versions[key] = (uid, version)
        self._latest = max(self._latest, version)
        value, problem = self._decoded(raw)
        self._replace(key, None if value is None else Entry(key, uid, metadata["resourceVersion"], value), problem)

    def forget(self, key: Key, uid: str, resource_version: str | None = None) -> None:
        """Take in that an object has gone.

        Args:
            key: its name.
            uid: which incarnation of it.
            resource_version: of the deletion, as a watch tells it: the same incarnation may come back later if it
                merely left the watch's selection. None if it was deleted for good.
        """
        version = int(resource_version) if resource_version else _NEVER_AGAIN
        self._bury(uid, version)
        if resource_version:
            self._latest = max(self._latest, version)
        known_uid, known_version = self._versions.get(key, ("", -1))
        if known_uid == uid and known_version <= version:
            del self._versions[key]
            self._replace(key, None)

    def retain(self, uids: set[str], resource_version: str) -> None:
        """Take in that a complete list, of which every object was observed, had these and no others.

        Args:
            uids: of the objects in the list.
            resource_version: of the list. What is known from later on stays: the watch will tell of it.
        """
        version = int(resource_version)
        gone = [
            (key, uid)
            for key, (uid, known_version) in self._versions.items()
            if uid not in uids and known_version <= version
        ]
        for key, uid in gone:
            self.forget(key, uid, resource_version)
        self._latest = max(self._latest, version)

    @property
    def latest(self) -> int:
        """The highest resource version that this store has heard of."""
        return self._latest

    def restart_history(self) -> None:
        """Forget which versions are known but not the objects: the server's own versions went back.

        So they do when etcd is restored from a backup. The next complete list then overrules everything.
        """
        self._versions = {key: (uid, 0) for key, (uid, _) in self._versions.items()}
        self._tombstones.clear()
        self._latest = 0

    def _decoded(self, raw: Object) -> tuple[T | None, str]:
        try:
            return self._decode(raw), ""
        except Exception as error:  # noqa: BLE001  # whatever one object does to the decoder, the others go on
            return None, f"{type(error).__name__}: {error}"

    def _replace(self, key: Key, new: Entry[T] | None, problem: str = "") -> None:
        old = self._entries.get(key)
        if self._lent:
            self._entries, self._lent = dict(self._entries), False
        if new is not None:
            self._entries[key] = new
        elif old is not None:
            del self._entries[key]
        self._reindex(old, new)
        problem_before = self.undecodable.pop(key, "")
        if problem:
            self.undecodable[key] = problem
            logger.warning("Cannot read %s/%s: %s", key.namespace, key.name, problem)
        if problem != problem_before or (old.value if old else None) != (new.value if new else None):
            self._tell(key, old, new)

    def _reindex(self, old: Entry[T] | None, new: Entry[T] | None) -> None:
        for name, index in self._indexes.items():
            buckets = self._buckets[name]
            if old is not None:
                for bucket_key in set(index(old)):
                    bucket = buckets[bucket_key]
                    del bucket[old.key]
                    if not bucket:
                        del buckets[bucket_key]
            if new is not None:
                for bucket_key in index(new):
                    buckets.setdefault(bucket_key, {})[new.key] = new

    def _bury(self, uid: str, version: int) -> None:
        self._tombstones[uid] = max(version, self._tombstones.pop(uid, -1))
        if len(self._tombstones) > _TOMBSTONES:
            self._tombstones.popitem(last=False)

    def _tell(self, key: Key, old: Entry[T] | None, new: Entry[T] | None) -> None:
        for subscriber in self._subscribers:
            try:
                subscriber(key, old, new)
            except Exception:
                logger.exception("A subscriber failed on %s/%s", key.namespace, key.name)
