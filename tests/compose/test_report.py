"""What `cluster-ai status` prints of targets that are not to be trusted."""

from __future__ import annotations

from compose.native.record import Record
from compose.native.report import Seen, Target, as_text


def test_an_error_that_quotes_a_target_cannot_paint_on_the_terminal():
    error = "identity: failed on 'identity' (\x1b]0;owned\x07\x1b[2J\r\n\u202eboom)"
    text = as_text(Seen(running=True, record=Record(), targets=[Target("main", "dask", False, error, False)]))
    assert all(char.isprintable() or char == "\n" for char in text)
    assert r"\x1b]0;owned\x07" in text
    assert text.splitlines()[-1].startswith("main")
