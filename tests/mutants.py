"""What `make mutate` found: per module, how many of the mutants the tests killed; fails below the floor."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict

FLOOR = 0.85
# The tests never ran into it: a part that only takes effect in another module's tests, or not at all.
KILLED, SURVIVED = ("killed", "timeout", "segfault"), ("survived", "no tests", "suspicious")


def results() -> dict[str, Counter[str]]:
    """Verdicts by module; what was not run is left out."""
    command = [sys.executable, "-m", "mutmut", "results", "--all", "true"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        name, separator, verdict = line.strip().rpartition(": ")
        if separator and verdict in KILLED + SURVIVED:
            found[name.rpartition(".")[0]][verdict] += 1
            if verdict in SURVIVED:
                print(f"{verdict}: {name}")  # noqa: T201 -- a report
    return found


def main() -> int:
    """Print the table."""
    killed = whole = 0
    for module, verdicts in sorted(results().items()):
        dead, all_ = sum(verdicts[verdict] for verdict in KILLED), verdicts.total()
        killed, whole = killed + dead, whole + all_
        print(f"{module:45} {dead:5} of {all_:5} killed {dead / all_:7.1%}")  # noqa: T201
    print(f"{'all':45} {killed:5} of {whole:5} killed {killed / max(whole, 1):7.1%}; at least {FLOOR:.0%} wanted")  # noqa: T201
    return int(killed < FLOOR * whole or not whole)


if __name__ == "__main__":
    sys.exit(main())
