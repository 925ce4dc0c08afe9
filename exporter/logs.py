"""Log lines for people or for machines, and the request each belongs to."""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

from provisioning.config.problems import printable

Form = Literal["text", "json"]
REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def request_id(given: str | None) -> str:
    """The caller's own id when it can stand in a log line, else a new one."""
    return given if given is not None and _SANE_ID.fullmatch(given) else secrets.token_hex(8)


def setup(level: str, form: Form) -> None:
    """Send every log line of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


class TextLines(logging.Formatter):
    """`2026-01-31T12:00:00.000Z WARNING exporter.scrape: what happened request_id=…`, a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        """One line whatever the message holds; a traceback follows on its own lines."""
        said = "\\n".join(printable(line) for line in record.getMessage().splitlines())
        line = f"{_time(record)} {record.levelname} {record.name}: {said}"
        number = _id(record)
        line += f" request_id={number}" if number else ""
        traceback = _traceback(self, record)
        if traceback:
            line += "\n" + "\n".join(printable(text) for text in traceback.splitlines())
        return line


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and request_id and traceback where there are such."""

    def format(self, record: logging.LogRecord) -> str:
        """ASCII only, so that nothing in it can paint on a terminal."""
        fields = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": _id(record),
            "traceback": _traceback(self, record),
        }
        return json.dumps({name: value for name, value in fields.items() if value is not None})


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _id(record: logging.LogRecord) -> str | None:
    return REQUEST_ID.get() if record.levelno >= logging.WARNING else None


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    return formatter.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else None
