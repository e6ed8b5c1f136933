"""A store orders what it hears by resource version, whoever says it first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_tenancy.kube.store import Entry, Key, Store

Raw = dict[str, Any]


def obj(name: str, version: int, *, uid: str = "u1", namespace: str = "n", data: Any = "x") -> Raw:
    metadata = {"name": name, "namespace": namespace, "uid": uid, "resourceVersion": str(version)}
    return {"kind": "Thing", "metadata": metadata, "data": data}


def decode(raw: Raw) -> str | None:
    if raw["data"] == "poison":
        raise ValueError("it is poisoned")
    return raw["data"] or None


def new_store() -> Store[str]:
    return Store(
        decode, indexes={"namespace": lambda entry: (entry.key.namespace,), "value": lambda entry: entry.value.split()}
    )


def told(store: Store[str]) -> list[tuple[str, str | None, str | None]]:
    calls: list[tuple[str, str | None, str | None]] = []
    store.subscribe(lambda key, old, new: calls.append((key.name, old and old.value, new and new.value)))
    return calls


def test_an_object_is_found_with_its_version() -> None:
    store = new_store()
    store.observe(obj("a", 5))
    assert store.get("a", "n") == Entry(Key("n", "a"), "u1", "5", "x")
    assert store.get("b", "n") is None
    assert len(store) == 1
    assert store.values() == ("x",)
    assert store.latest == 5


def test_an_older_or_equal_version_changes_nothing() -> None:
    store = new_store()
    store.observe(obj("a", 9, data="new"))
    store.observe(obj("a", 9, data="same version"))
    store.observe(obj("a", 10 - 2, data="old"))
    assert store.values() == ("new",)


def test_versions_are_compared_as_numbers() -> None:
    store = new_store()
    store.observe(obj("a", 9, data="nine"))
    store.observe(obj("a", 10, data="ten"))
    assert store.values() == ("ten",)


def test_a_late_answer_to_a_write_does_not_bring_a_deleted_object_back() -> None:
    store = new_store()
    store.observe(obj("a", 1))
    store.forget(Key("n", "a"), "u1", "3")
    store.observe(obj("a", 2))
    assert len(store) == 0


def test_an_object_that_left_the_selection_may_come_back() -> None:
    store = new_store()
    store.observe(obj("a", 1))
    store.forget(Key("n", "a"), "u1", "3")
    store.observe(obj("a", 4))
    assert len(store) == 1


def test_an_object_that_is_known_to_have_come_back_stays() -> None:
    store = new_store()
    store.observe(obj("a", 1))
    store.observe(obj("a", 5))
    store.forget(Key("n", "a"), "u1", "3")
    assert len(store) == 1


def test_what_was_deleted_for_good_stays_away_whatever_the_watch_still_tells() -> None:
    store = new_store()
    store.observe(obj("a", 1))
    store.forget(Key("n", "a"), "u1")
    store.observe(obj("a", 4))
    assert len(store) == 0


def test_a_new_object_of_the_same_name_replaces_the_old_one_and_outlives_its_deletion() -> None:
    store = new_store()
    store.observe(obj("a", 1, uid="u1", data="first"))
    store.observe(obj("a", 5, uid="u2", data="second"))
    store.forget(Key("n", "a"), "u1", "3")
    assert store.values() == ("second",)
    store.observe(obj("a", 2, uid="u1", data="first, late"))
    assert store.values() == ("second",)


def test_a_list_says_what_is_gone() -> None:
    store = new_store()
    store.observe(obj("gone", 1, uid="u1"))
    store.observe(obj("stays", 2, uid="u2"))
    calls = told(store)
    store.retain({"u2"}, "5")
    assert calls == [("gone", "x", None)]
    assert store.latest == 5


def test_a_list_says_nothing_of_what_was_written_after_it() -> None:
    store = new_store()
    store.observe(obj("later", 7))
    store.retain(set(), "5")
    assert len(store) == 1


def test_a_list_makes_a_tombstone_of_what_is_gone() -> None:
    store = new_store()
    store.observe(obj("gone", 1))
    store.retain(set(), "5")
    store.observe(obj("gone", 4))
    assert len(store) == 0


def test_after_the_servers_history_went_back_its_list_overrules_everything() -> None:
    store = new_store()
    store.observe(obj("changed", 100, uid="u1", data="after the backup"))
    store.observe(obj("created after the backup", 101, uid="u2"))
    store.observe(obj("deleted after the backup", 90, uid="u3"))
    store.forget(Key("n", "deleted after the backup"), "u3", "102")
    store.restart_history()
    store.observe(obj("changed", 50, uid="u1", data="as of the backup"))
    store.observe(obj("deleted after the backup", 40, uid="u3", data="alive"))
    store.retain({"u1", "u3"}, "60")
    assert set(store.values()) == {"as of the backup", "alive"}
    assert store.latest == 60


def test_what_is_of_no_interest_counts_as_absent() -> None:
    store = new_store()
    store.observe(obj("a", 1))
    calls = told(store)
    store.observe(obj("a", 2, data=""))
    assert len(store) == 0
    assert calls == [("a", "x", None)]
    store.observe(obj("a", 1))
    assert len(store) == 0
    store.observe(obj("a", 3))
    assert len(store) == 1


def test_what_cannot_be_decoded_counts_as_absent_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    store = new_store()
    calls = told(store)
    store.observe(obj("a", 1, data="poison"))
    assert len(store) == 0
    assert store.undecodable == {Key("n", "a"): "ValueError: it is poisoned"}
    assert calls == [("a", None, None)]
    assert "it is poisoned" in caplog.text
    store.observe(obj("a", 2, data="cured"))
    assert store.undecodable == {}
    assert calls[1:] == [("a", None, "cured")]


def test_an_undecodable_object_that_goes_is_told_once_more() -> None:
    store = new_store()
    store.observe(obj("a", 1, data="poison"))
    calls = told(store)
    store.forget(Key("n", "a"), "u1", "2")
    assert store.undecodable == {}
    assert calls == [("a", None, None)]


def test_only_changed_values_are_told_but_the_version_is_kept() -> None:
    store = new_store()
    store.observe(obj("a", 1))
    calls = told(store)
    store.observe(obj("a", 2))
    assert calls == []
    entry = store.get("a", "n")
    assert entry is not None
    assert entry.resource_version == "2"
    store.observe(obj("a", 3, data="y"))
    assert calls == [("a", "x", "y")]


def test_a_failing_subscriber_stops_neither_the_store_nor_the_others(caplog: pytest.LogCaptureFixture) -> None:
    store = new_store()

    def fail(_key: Key, _old: Entry[str] | None, _new: Entry[str] | None) -> None:
        raise RuntimeError("subscriber's bug")

    store.subscribe(fail)
    calls = told(store)
    store.observe(obj("a", 1))
    assert calls == [("a", None, "x")]
    assert "subscriber's bug" in caplog.text


def test_indexes_follow_changes() -> None:
    store = new_store()
    store.observe(obj("a", 1, uid="u1", data="red round"))
    store.observe(obj("b", 2, uid="u2", data="red"))
    assert [entry.key.name for entry in store.by("value", "red")] == ["a", "b"]
    assert [entry.key.name for entry in store.by("namespace", "n")] == ["a", "b"]
    store.observe(obj("a", 3, uid="u1", data="blue blue"))
    assert [entry.key.name for entry in store.by("value", "red")] == ["b"]
    assert [entry.key.name for entry in store.by("value", "blue")] == ["a"]
    assert store.keys("value") == {"red", "blue"}
    store.forget(Key("n", "a"), "u1", "4")
    assert store.by("value", "blue") == ()
    assert store.keys("value") == {"red"}
    with pytest.raises(KeyError):
        store.by("colour", "red")


def test_a_snapshot_stays_as_it_was_and_is_shared_until_something_changes() -> None:
    store = new_store()
    store.observe(obj("a", 1))
    first = store.snapshot()
    assert store.snapshot() is first
    store.observe(obj("b", 2, uid="u2"))
    assert list(first) == [Key("n", "a")]
    assert list(store.snapshot()) == [Key("n", "a"), Key("n", "b")]


# One name lives through several incarnations; a watch tells all of it in order, and the answers to our own writes come
# whenever they like after they were made. Whatever the order, in the end the store has what the server has.
@given(st.data())
def test_watch_and_late_answers_converge_to_the_servers_state(data: st.DataObject) -> None:
    history: list[tuple[str, Raw]] = []
    uid, alive = 0, False
    for version in range(1, data.draw(st.integers(1, 12)) + 1):
        if alive and data.draw(st.booleans()):
            history.append(("DELETED", obj("a", version, uid=f"u{uid}")))
            alive = False
        else:
            uid += not alive
            alive = True
            history.append(("PUT", obj("a", version, uid=f"u{uid}", data=f"v{version}")))
    # An answer may be taken in before the watch tells of the write, or any time after.
    moments = [data.draw(st.integers(0, len(history) + 1)) for _ in history]
    store = new_store()
    for moment in range(len(history) + 2):
        for (kind, raw), when in zip(history, moments, strict=True):
            # An answer exists from the moment of the write on; a watch may be behind, but not ahead.
            if when == moment and kind == "PUT":
                store.observe(raw)
        if moment < len(history):
            kind, raw = history[moment]
            if kind == "DELETED":
                store.forget(Key("n", "a"), raw["metadata"]["uid"], raw["metadata"]["resourceVersion"])
            else:
                store.observe(raw)
    assert store.values() == ((history[-1][1]["data"],) if alive else ())
