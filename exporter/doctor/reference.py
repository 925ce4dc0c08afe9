"""docs/doctor.md, written from the kinds of findings. `python -m exporter.doctor.reference` prints it."""

from __future__ import annotations

import sys

from exporter.doctor.findings import Kind, kinds
from exporter.doctor.report import SHAPE

# Module to heading, in the order of the page.
_CHAPTERS = {
    "reach": "Reaching a target",
    "secret_files": "Files and credentials",
    "clocks": "Clocks",
    "collection": "One collection",
    "dask": "Dask",
    "dask_web": "Dask's own metrics",
    "dask_bugs": "Faults of Dask's own metrics",
    "ollama": "Ollama",
    "openwebui": "Open WebUI",
    "examine": "The doctor itself",
}
_INTRODUCTION = f"""# cluster-ai doctor

<!-- Generated from the kinds of findings in exporter/doctor/ by `make generate`; edit them there. -->

`cluster-ai doctor` goes through every target of cluster-ai.yml (or those you name) and says what would make monitoring
fail or mislead, and how to mend it. Run it on the machine where the exporter runs.

It only asks. Dask schedulers get the exporter's own fixed list of reading operations, web servers GET requests (and
Ollama's `POST /api/show`, which reads). Two marks remain: a key of Open WebUI counts as its owner's activity, and
addresses that do not answer as configured are asked in other protocols to find out who is there, which that system may
log. Credentials go to the configured address only.

| Exit code | Meaning |
|---|---|
| 0 | nothing found; notes (`info`) do not count |
| 1 | warnings: monitoring misleads, or something is unsafe |
| 2 | errors: monitoring fails; also when the file or a name given cannot be used |

`--ignore ID` leaves out a finding you have decided to live with. `--json` prints one object: `shape` ({SHAPE}; a new
number when a key goes or changes its meaning), `config`, `exit_code`, `totals` by severity, and `targets`, a list of
`name`, `system`, `address`, `version` (or null), `checked` and `findings`, each with `id`, `severity`, `seen` and
`mend`. A host has one entry for each of its exporters.

`seen` may quote what a target sent. Text output shows control characters as escapes; JSON escapes all but ASCII.
"""


def text() -> str:
    """The whole page."""
    by_module = kinds()
    chapters = [_chapter(heading, by_module[module]) for module, heading in _CHAPTERS.items()]
    return "\n".join([_INTRODUCTION, *chapters])


def _chapter(heading: str, found: list[Kind]) -> str:
    lines = [f"## {heading}", ""]
    for kind in found:
        lines += [f"### {kind.id}", "", f"*{kind.severity}* · {kind.meaning}", "", f"Mend: {kind.mend}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(text())
