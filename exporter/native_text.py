"""The lines of a Dask scheduler's /metrics, sorted into those with a task prefix and the rest.

Text format 0.0.4 (what Dask writes, `prometheus_client.generate_latest`) and OpenMetrics 1.0. The usual line is taken
apart with `find`, any other legal one with a regular expression: a page of 32,000 series has to be read in tens of
milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from exporter.errors import CollectError, Reason

LABEL = 'task_prefix_name="'
SECONDS_A_TRANSITION = 0.001  # what a change of state costs the scheduler; ranks prefixes of many small tasks
MAX_LINES = 500_000  # of a page: 4,000 prefixes are 32,000
MAX_LINE = 64 << 10  # characters; Prometheus is told to take 64 labels of 2,048 at most
_SKIP = len(LABEL)
_TAIL = "}"
# Each way through is the only one, so that nothing is tried twice: a regular expression keeps the interpreter to itself
# until it is done, and a line that is tried again for each of its labels would take hours. Possessive (`*+`) are single
# characters alone: Python 3.11.2, which is Debian's, finds nothing where groups are.
_NAME = r"[a-zA-Z_:][\w:]*+"
_TEXT = r'[^"\\\n]*+(?:\\.[^"\\\n]*+)*'
_LABELS = rf'[a-zA-Z_]\w*+="{_TEXT}"'
_SAMPLE = re.compile(rf"{_NAME}(?:\{{(?:{_LABELS}(?:,{_LABELS})*,?)?\}})? ++[^\s{{]\S*+(?: .*)?")
_ANY = re.compile(rf'({_NAME}\{{(?:(?!{LABEL}){_LABELS},)*){LABEL}({_TEXT})"((?:,{_LABELS})*,?\}}) ++(\S++)(?: .*)?')
_TYPE = re.compile(r"# TYPE ([a-zA-Z_:][\w:]*) ([a-z]+)")
_EXTREMES = re.compile(r"_(max|maximum|min|minimum|median|mean|average|quantile|ratio|limit)(_|$)")
_SUFFIXES = ("_total", "_created", "_bucket", "_count", "_sum")
_START = "process_start_time_seconds "


Row = tuple[str, float, int, str]  # prefix as written, value, number of the line, the line


@dataclass(slots=True)
class Series:
    """What has the same name and the same other labels: one sample for each prefix."""

    head: str  # `name{state="erred",`
    tail: str
    grows: bool  # a counter
    sums: bool  # the sum over prefixes means something
    weight: float  # seconds of work that one unit stands for
    rows: list[Row] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The same on every page."""
        return self.head + self.tail


@dataclass(slots=True)
class Block:
    """A family: its comments and other lines first, then its series by prefix."""

    plain: list[str] = field(default_factory=list)
    series: dict[str, Series] = field(default_factory=dict)  # by head, and tail where it is not the usual one


class Parsed:
    """One page, sorted. Raises CollectError (`unexpected_content`) for what is no metrics page."""

    def __init__(self, body: bytes) -> None:
        self.blocks = [Block()]  # in the order of the page
        self.started: str | None = None  # of the scheduler's process, as written
        self.work: dict[str, float] = {}  # seconds by prefix
        self.openmetrics = False
        self._kinds: dict[str, str] = {}
        self._samples = 0
        self._read(_lines(body))
        if not self._samples and not self.work:
            raise CollectError(
                Reason.SHAPE,
                "the scheduler's /metrics has no series; install prometheus_client where the scheduler runs and"
                " restart it",
            )

    def _read(self, lines: list[str]) -> None:
        in_comments = False
        work, block = self.work, self.blocks[-1]
        for number, line in enumerate(lines):
            if line[:1] == "#":
                if not in_comments:
                    block = Block()
                    self.blocks.append(block)
                in_comments = True
                self._comment(block, line)
                continue
            in_comments = False
            at = line.find(LABEL)
            if at < 0:
                self._pass_on(block, line)
                continue
            end = line.find('"', at + _SKIP)
            prefix = line[at + _SKIP : end]
            series = block.series.get(line[:at])
            value = _number(line[end + 3 :]) if line[end : end + 3] == '"} ' and prefix[-1:] != "\\" else None
            if series is None or value is None:
                series, prefix, value = self._dissect(block, line)
            if value - value:  # NaN or infinite: passed on as it is, but no part of a sum
                value = 0.0
            series.rows.append((prefix, value, number, line))
            work[prefix] = work.get(prefix, 0.0) + value * series.weight

    def _comment(self, block: Block, line: str) -> None:
        if line == "# EOF":
            self.openmetrics = True
            return
        kind = _TYPE.match(line)
        if kind is not None:
            self._kinds[kind[1]] = kind[2]
        block.plain.append(line)

    def _pass_on(self, block: Block, line: str) -> None:
        if not line:
            return
        if not _SAMPLE.fullmatch(line):
            raise _strange(line)
        self._samples += 1
        if line.startswith(_START):
            self.started = line.removeprefix(_START)
        block.plain.append(line)

    def _dissect(self, block: Block, line: str) -> tuple[Series, str, float]:
        """Series, prefix and value of any legal line with a task prefix."""
        match = _ANY.fullmatch(line)
        value = _number(match[4]) if match else None
        if match is None or value is None:
            raise _strange(line)
        head, tail = match[1], match[3]
        key = head if tail == _TAIL else head + tail
        series = block.series.get(key)
        if series is None:
            series = block.series[key] = _series(head, tail, self._kinds)
        return series, match[2], value


def _lines(body: bytes) -> list[str]:
    if body.count(b"\n") > MAX_LINES:
        raise CollectError(Reason.TOO_LARGE, f"the scheduler's /metrics has more than {MAX_LINES} lines")
    try:
        lines = body.decode().split("\n")
    except UnicodeDecodeError:
        raise CollectError(Reason.SHAPE, "the scheduler's /metrics is no metrics page: it is not UTF-8") from None
    longest = max(lines, key=len)
    if len(longest) > MAX_LINE:
        raise _strange(longest)
    return lines


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _strange(line: str) -> CollectError:
    what = f"it has the line {line[:60]!r}"
    return CollectError(
        Reason.SHAPE, f"the scheduler's /metrics is no metrics page: {what}; is the dashboard's address right?"
    )


def _series(head: str, tail: str, kinds: dict[str, str]) -> Series:
    """What can be done with the samples of this name, by its family's type and its words."""
    name = head.partition("{")[0]
    # OpenMetrics names a counter's family without its suffix, and both do so for the parts of a histogram.
    kind = next((kinds[family] for family in _families(name) if family in kinds), "unknown")
    grows = (
        kind in ("counter", "histogram", "summary")
        and not name.endswith("_created")
        and 'quantile="' not in head + tail
    )
    level = kind == "gauge" and name.endswith(("_bytes", "_tasks")) and not _EXTREMES.search(name)
    weight = 0.0
    if grows and name.endswith("_seconds_total"):
        weight = 1.0
    elif grows and name.endswith("_state_totals_total"):
        weight = SECONDS_A_TRANSITION
    return Series(head, tail, grows, grows or level, weight)


def _families(name: str) -> Iterator[str]:
    yield name
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            yield name.removesuffix(suffix)
