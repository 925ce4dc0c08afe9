from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.real.ollama_server import OllamaServer, running


@pytest.fixture(scope="session")
def ollama_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OllamaServer]:
    """A real Ollama with the model `tiny`, shared by all suites."""
    with running(tmp_path_factory.mktemp("ollama")) as server:
        yield server
