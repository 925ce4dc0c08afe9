from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from provisioning.secrets.database import query
from provisioning.secrets.installation import Installation
from tests.real.backing_up import SILENCES, SQL
from tests.real.ollama_server import OllamaServer, running
from tests.standins import grafana_standin, postgres_server
from tests.standins.grafana_standin import StandIn
from tests.standins.postgres_server import Postgres

LAST_LINES: list[str] = []
"""What a suite wants said at the end of the run, such as which version it met."""


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    for line in dict.fromkeys(LAST_LINES) if reporter else ():
        reporter.write_line(line)


@pytest.fixture(scope="session")
def ollama_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OllamaServer]:
    """A real Ollama with the model `tiny`, shared by all suites."""
    with running(tmp_path_factory.mktemp("ollama")) as server:
        yield server


@pytest.fixture(scope="module")
def standin() -> Iterator[StandIn]:
    """What the door leads to where no real Grafana is needed."""
    with grafana_standin.running() as made:
        yield made


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A real one with something in it, to be backed up."""
    with postgres_server.running("backup: {keep_days: 3, keep_weeks: 2}") as server:
        query(server.login("grafana", "grafana-database-password"), "grafana", SQL)
        silences = server.there.folder / "data/alertmanager"
        silences.mkdir(parents=True)
        (silences / "silences").write_bytes(SILENCES)
        yield server


@pytest.fixture
def there(postgres: Postgres) -> Iterator[Installation]:
    """With no backup yet."""
    yield postgres.there
    shutil.rmtree(postgres.there.folder / "backups", ignore_errors=True)
