from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tests.exporter.golden import Golden

# 200 trees for each decoder; HYPOTHESIS_EXAMPLES=2000 looks longer. No deadline: the machine may do other things too.
settings.register_profile("suite", max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "200")), deadline=None)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files with what was collected")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(update=request.config.getoption("--update-golden"))
