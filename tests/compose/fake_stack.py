"""`cluster-ai up` with fake services and a quicker pace: `python -m tests.compose.fake_stack STATE PLAN`.

PLAN is a JSON object: service name -> [port, words for fake_service.py]; the word grace=SECONDS is for us.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from compose.native.child import Pace
from compose.native.people import Brought, People
from compose.native.places import State
from compose.native.ports import Address
from compose.native.prepare import Plan
from compose.native.record import Record, ServiceRecord
from compose.native.service import Condition, Service
from compose.native.start import foreground
from provisioning.config.model import Config
from provisioning.config.targets import Targets

PACE = Pace(first_pause=0.1, longest_pause=0.4, healthy_after=1.0, grace=0.5, look=0.1, patience=0.5)
FAKE = Path(__file__).with_name("fake_service.py")


class FakePeople(People):
    def bring(self, *, watched: bool) -> Brought:
        return Brought(["  1 thing is in the way"], ["  a first password"] if watched else [])


def plan(data: dict[str, list[object]]) -> Plan:
    services = []
    for name, (port, *words) in data.items():
        address = Address("127.0.0.1", int(str(port)))
        command = (sys.executable, str(FAKE), str(port), *map(str, words))
        grace = next((float(word.partition("=")[2]) for word in map(str, words) if word.startswith("grace=")), None)
        services.append(Service(name, command, f"{address.url}/ready", address.url, (address,), grace=grace))
    record = Record(config="fake", services=[ServiceRecord(name, Condition.STARTING) for name in data])
    return Plan(services, record, FakePeople(Config(targets=Targets()), "", Path(), demo=True))


if __name__ == "__main__":
    sys.exit(foreground(State(Path(sys.argv[1])), lambda _say: plan(json.loads(sys.argv[2])), PACE))
