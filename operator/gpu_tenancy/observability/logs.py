"""Logs to standard error: one JSON object per line for machines, or text for people.

    logger.info("Namespace adopted", extra=about("IndustrialTenant", "", "neura"))

What comes from outside (an object's fields, an API server's message) can neither forge a line nor steer a terminal,
and a bearer token that strays into a message or a traceback is blotted out.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import orjson

if TYPE_CHECKING:
    from typing import TextIO

# A JSON Web Token, such as each service account's, wherever it stands; and whatever follows "Bearer".
_TOKEN = re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*|(?<=\bBearer )[^\s\"',]+", re.IGNORECASE)
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROL_BUT_NEWLINE = {code: text for code, text in _CONTROL.items() if code != ord("\n")}
_COLOURS = {"DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
# They tell of each request or handler; what matters of it is counted or logged by whoever asked.
_TALKATIVE = ("kopf", "aiohttp", "asyncio", "kubernetes", "urllib3")


def about(kind: str, namespace: str, name: str) -> dict[str, Any]:
    """Give the `extra` of a message about an object; an empty namespace is that of a cluster-scoped one."""
    # In one field, as `logging` keeps `name` for itself.
    return {"about": {"kind": kind, "namespace": namespace, "name": name}}


def configure(
    format: Literal["json", "text"],  # noqa: A002  # the setting's name
    level: str,
    stream: TextIO | None = None,
) -> None:
    """Send all logs of this process to `stream`, by default standard error; replaces what was configured before.

    Args:
        format: the setting `log_format`.
        level: the least severe level that is written, such as INFO; for talkative libraries WARNING at least.
        stream: where to write; text is coloured if it is a terminal and NO_COLOR is not set.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter(colour=_wants_colour(stream)))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))


class JsonFormatter(logging.Formatter):
    """One JSON object: time, level, logger, message; kind, namespace and name of the object; error with traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line."""
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _blot(record.getMessage()),
            **_object(record),
        }
        if record.exc_info:
            line["error"] = _blot(self.formatException(record.exc_info))
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    """Time, level, message and the object it is about; tracebacks on lines of their own."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Write one line, and those of the traceback."""
        level = f"{record.levelname:<8}"
        if self._colour and record.levelname in _COLOURS:
            level = f"\x1b[{_COLOURS[record.levelname]}m{level}\x1b[0m"
        about_it = "/".join(part for part in _object(record).values() if part)
        message = _blot(record.getMessage()).translate(_CONTROL)
        line = f"{_time(record)} {level} {message}" + (f" [{about_it}]" if about_it else "")
        if record.exc_info:
            line += "\n" + _blot(self.formatException(record.exc_info)).translate(_CONTROL_BUT_NEWLINE)
        return line


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _object(record: logging.LogRecord) -> dict[str, str]:
    fields: dict[str, str] = getattr(record, "about", {})
    return {key: value for key, value in fields.items() if value}


def _blot(text: str) -> str:
    return _TOKEN.sub("***", text)


def _wants_colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR")
