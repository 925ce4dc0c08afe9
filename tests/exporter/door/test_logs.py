"""Log lines: one each, for people or machines, with the request they belong to."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from exporter.logs import REQUEST_ID, JsonLines, TextLines, request_id


def record(message: str, level: int = logging.WARNING, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    line = logging.LogRecord("exporter.scrape", level, "scrape.py", 1, message, None, info)
    line.created = 1_800_000_000.25
    return line


@pytest.fixture
def scrape_7():
    token = REQUEST_ID.set("scrape-7")
    yield
    REQUEST_ID.reset(token)


def test_text_is_one_line_whatever_the_message_holds(scrape_7):
    line = TextLines().format(record("down:\n2027 ERROR forged \x1b[31m"))
    expected = r"down:\n2027 ERROR forged \x1b[31m request_id=scrape-7"
    assert line == f"2027-01-15T08:00:00.250Z WARNING exporter.scrape: {expected}"


def test_json_is_one_object_a_line(scrape_7):
    line = JsonLines().format(record("down:\n\u202ereversed"))
    assert "\n" not in line
    assert line.isascii()
    assert json.loads(line) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "warning",
        "logger": "exporter.scrape",
        "message": "down:\n\u202ereversed",
        "request_id": "scrape-7",
    }


def test_lines_of_the_ordinary_course_need_no_request(scrape_7):
    assert "request_id" not in TextLines().format(record("is up", logging.INFO))
    assert "request_id" not in json.loads(JsonLines().format(record("is up", logging.INFO)))


@pytest.mark.parametrize("lines", [TextLines(), JsonLines()])
def test_a_traceback_tells_where_and_not_what_the_variables_held(lines):
    def ask(password: str) -> None:
        raise RuntimeError("boom")

    try:
        ask("SENTINEL" + "-password")
    except RuntimeError:
        text = lines.format(record("failed", logging.ERROR, sys.exception()))
    assert "in ask" in text
    assert "RuntimeError: boom" in text
    assert "SENTINEL-password" not in text


@pytest.mark.parametrize(
    ("given", "kept"),
    [("scrape-7", True), ("a.b_c-d", True), ("", False), (None, False), ("a\nb", False), ("x" * 65, False)],
)
def test_a_callers_request_id_is_kept_when_it_can_stand_in_a_line(given, kept):
    assert (request_id(given) == given) is kept
    assert request_id(given) != request_id(None)
