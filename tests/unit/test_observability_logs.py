from __future__ import annotations

import io
import json
import logging
import re
import sys
import warnings
from typing import TYPE_CHECKING

import pytest

from gpu_tenancy.observability.logs import about, configure

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("gpu_tenancy.test")

JWT = "eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl-_x"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def root_logger_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def fail(message: str) -> None:
    raise ValueError(message)


def written_as_json(level: str = "INFO") -> io.StringIO:
    stream = io.StringIO()
    configure("json", level, stream)
    return stream


def written_as_text(stream: io.StringIO | None = None) -> io.StringIO:
    stream = stream or io.StringIO()
    configure("text", "INFO", stream)
    return stream


def test_json_has_one_object_per_line_with_what_it_is_about():
    stream = written_as_json()
    logger.info("Namespace %s\nadopted", "x", extra=about("IndustrialTenant", "", "neura"))
    logger.warning("Other")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {
        "level": "info",
        "logger": "gpu_tenancy.test",
        "message": "Namespace x\nadopted",
        "kind": "IndustrialTenant",
        "name": "neura",
    }
    assert second["level"] == "warning"


def test_json_has_the_traceback_in_the_same_line():
    stream = written_as_json()
    try:
        fail("broken")
    except ValueError:
        logger.exception("Failed", extra=about("GpuReservation", "ns", "night"))
    [line] = map(json.loads, stream.getvalue().splitlines())
    assert "ValueError: broken" in line["error"]
    assert (line["kind"], line["namespace"], line["name"]) == ("GpuReservation", "ns", "night")


def test_text_has_time_level_message_and_what_it_is_about():
    stream = written_as_text()
    logger.warning("Window ends", extra=about("GpuReservation", "ns", "night"))
    assert re.fullmatch(r"\S+Z WARNING  Window ends \[GpuReservation/ns/night\]\n", stream.getvalue())


def test_text_is_coloured_only_on_a_terminal_and_not_against_the_users_wish(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    on_terminal = written_as_text(Terminal())
    logger.error("x")
    assert "\x1b[31mERROR" in on_terminal.getvalue()
    in_file = written_as_text()
    logger.error("x")
    assert "\x1b" not in in_file.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    unwanted = written_as_text(Terminal())
    logger.error("x")
    assert "\x1b" not in unwanted.getvalue()


def test_what_comes_from_outside_forges_no_line_and_steers_no_terminal():
    stream = written_as_text()
    logger.info("Tenant %s", "evil\n2026-01-01T00:00:00.000Z INFO all is well\x1b[2J\x9b")
    [line] = stream.getvalue().splitlines()
    assert line.endswith(r"Tenant evil\x0a2026-01-01T00:00:00.000Z INFO all is well\x1b[2J\x9b")
    try:
        fail("\x1b[2J")
    except ValueError:
        logger.exception("Failed")
    assert "\x1b" not in stream.getvalue()
    assert "\nTraceback" in stream.getvalue()


@pytest.mark.parametrize("format_", ["json", "text"])
def test_tokens_are_blotted_out_wherever_they_stray(format_: str):
    stream = io.StringIO()
    configure(format_, "INFO", stream)
    logger.info("Headers: %s", {"Authorization": "Bearer opaque-secret.123"})
    logger.info("token=%s", JWT)
    try:
        fail(f"refused: {JWT}")
    except ValueError:
        logger.exception("Failed")
    text = stream.getvalue()
    assert "opaque-secret" not in text
    assert "eyJ" not in text
    assert text.count("***") == 3


def test_what_is_below_the_level_is_not_written_and_libraries_are_quiet_below_warning():
    stream = written_as_json("DEBUG")
    logger.debug("mine")
    logging.getLogger("kopf.objects").info("theirs")
    logging.getLogger("kopf.objects").warning("theirs, but it matters")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == [
        "mine",
        "theirs, but it matters",
    ]
    stream = written_as_json("ERROR")
    logger.warning("mine")
    logging.getLogger("kopf").warning("theirs")
    assert stream.getvalue() == ""


def test_warnings_are_logged():
    stream = written_as_json()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        configure("json", "INFO", stream)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert "DeprecationWarning: old" in stream.getvalue()


def test_configuring_twice_writes_each_line_once_and_to_standard_error(monkeypatch: pytest.MonkeyPatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure("text", "INFO")
    configure("text", "INFO")
    logger.info("once")
    assert stream.getvalue().count("once") == 1
