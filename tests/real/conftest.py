from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.real.ollama_server import OllamaServer, running

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
