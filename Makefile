# The two commands everybody needs: `make run` and `make test`. ARGS="..." is passed on to `cluster-ai up` or pytest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .cache/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header $(UPGRADE)

# A line for every tenth package: pip says too much or nothing.
PROGRESS := awk '/^Collecting/ && ++n % 10 == 0 { print "  " n " packages ..."; fflush() }'

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test check test-real test-containers coverage mutate soak outages gameday bench generate lock clean venv tools
.DELETE_ON_ERROR:

help:
	@echo 'make run        start everything on this machine; without a cluster-ai.yml, a demo'
	@echo 'make test       run the tests'
	@echo 'make check      lint, check types and workflows'
	@echo 'make test-real  run the tests against real Dask, Ollama, Open WebUI and Prometheus'
	@echo 'make test-containers  run the compose files on a Docker engine of their own; needs root (8 minutes the first time)'
	@echo 'make coverage   run the tests and say which lines of exporter/ they leave out; fails below 95 %'
	@echo 'make mutate     break the decoders in thousands of ways and count the ways that no test sees (half an hour)'
	@echo 'make soak       half an hour at ten times the usual rate with faults; SOAK_MINUTES changes how long'
	@echo 'make outages    kill and starve each part of a production stack that people use, and say what they saw (10 minutes)'
	@echo 'make gameday    break real systems in some fifty ways and say who was told of what, and when (an hour)'
	@echo 'make bench      measure what exporter and proxy cost beside their peers, what the rules cost, and how soon a phone rings'
	@echo 'make generate   rewrite the generated pages of docs/'
	@echo 'make lock       choose the versions of packages anew (UPGRADE=--upgrade for the newest; needs uv)'
	@echo 'make clean      remove what these made here; programs in ~/.cache/cluster-ai and state stay'

run: $(VENV)/.runtime
	@exec $(BIN)/cluster-ai up $(ARGS)

test: $(VENV)/.dev tools
	@PATH="$(CURDIR)/$(TOOLS):$$PATH" $(BIN)/python -m pytest $(ARGS)

test-real: $(VENV)/.dev tools
	@PATH="$(CURDIR)/$(TOOLS):$$PATH" $(BIN)/python -m pytest -m real $(ARGS)

# Tables of Markdown; docs/performance.md keeps those of one run. ARGS="ollama dask" measures those parts alone.
bench: $(VENV)/.dev
	@$(BIN)/python -m benchmarks $(ARGS)

coverage: $(VENV)/.dev tools
	@mkdir -p .cache/coverage && rm -f .cache/coverage/*
	@PATH="$(CURDIR)/$(TOOLS):$$PATH" $(BIN)/python -m pytest --cov --cov-report= $(ARGS)
	@$(BIN)/coverage report

# In a copy: it writes broken code. ARGS="exporter.dask_protocol*" for one module.
mutate: $(VENV)/.dev
	@rm -rf .cache/mutate && mkdir -p .cache/mutate
	@git ls-files -z | xargs -0 cp --parents -t .cache/mutate
	@cd .cache/mutate && PATH="$(CURDIR)/$(BIN):$$PATH" $(CURDIR)/$(BIN)/python -m mutmut run $(ARGS) | tail -1
	@cd .cache/mutate && $(CURDIR)/$(BIN)/python -m tests.mutants

# As root: an engine in namespaces of its own, and images of Debian's programs under the names of the official ones.
test-containers: $(VENV)/.dev
	@$(BIN)/python -m tests.standins.docker_engine
	@$(BIN)/python -m tests.standins.container_images
	@$(BIN)/python -m pytest -m containers tests/real/test_compose.py $(ARGS)

soak: $(VENV)/.dev
	@$(BIN)/python -m tests.endurance.soak

# ARGS="postgres-gone" plays single faults; OUTAGES_PACE=1 at production's own pace. A real Grafana with GRAFANA_HOME set.
outages: $(VENV)/.dev tools
	@PATH="$(CURDIR)/$(TOOLS):$$PATH" $(BIN)/python -m tests.outages $(ARGS)

# ARGS="dask key-revoked" plays the faults of a system, or single ones; docs/gameday.md says more.
gameday: $(VENV)/.dev tools
	@PATH="$(CURDIR)/$(TOOLS):$$PATH" $(BIN)/python -m tests.gameday $(ARGS)

check: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/zizmor --quiet --offline --no-progress .github
	@if command -v actionlint >/dev/null; then actionlint; fi

# Prometheus, promtool and their like, where the tests find them: from PATH, or fetched and unpacked, never installed.
tools: $(VENV)/.dev
	@$(BIN)/python -m compose.native.binaries --links $(TOOLS)
	@$(BIN)/python -m tests.standins.redis_server
	@$(BIN)/python -m tests.standins.nginx_server
	@$(BIN)/python -m tests.standins.postgres_server
	@$(BIN)/python -m tests.standins.acme
	@$(BIN)/python -m tests.standins.exporters
	@$(BIN)/python -m tests.standins.faketime

# What is needed to run, and nothing more. A stamp file makes the second time instant.
$(VENV)/.runtime: requirements.lock requirements-build.lock pyproject.toml | venv
	@echo 'Installing the locked packages into $(VENV) (12 MB to fetch) ...'
	@$(PIP) install --require-hashes -r requirements.lock -r requirements-build.lock | $(PROGRESS)
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# The other locks are named too, so that pip refuses locks that disagree.
$(VENV)/.dev: requirements.lock requirements-build.lock requirements-dev.lock pyproject.toml | venv
	@echo 'Installing the locked packages for tests into $(VENV) (about 100 MB to fetch) ...'
	@$(PIP) install --require-hashes -r requirements.lock -r requirements-build.lock -r requirements-dev.lock | $(PROGRESS)
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $(VENV)/.runtime $@

venv:
	@$(BIN)/python -c '' 2>/dev/null || { \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo 'Python 3.11 or newer is needed; name one with: make $(MAKECMDGOALS) PYTHON=python3.12' >&2; exit 1; }; \
	  echo 'Making $(VENV) with '"$$($(PYTHON) --version)"' ...'; \
	  rm -rf $(VENV); \
	  $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }; \
	}

# The pages of docs/ that are made from the code and the goldens; tests fail when they are not up to date.
generate: $(VENV)/.dev
	$(BIN)/python -m provisioning.config.reference > docs/configuration.md
	$(BIN)/python -m tests.exporter.metrics_page > docs/metrics.md
	$(BIN)/python -m exporter.doctor.reference > docs/doctor.md
	$(BIN)/python -m alert_rules.reference

lock:
	@command -v uv >/dev/null || { echo 'make lock needs uv (https://docs.astral.sh/uv/)' >&2; exit 1; }
	$(COMPILE) pyproject.toml -o requirements.lock
	$(COMPILE) pyproject.toml --group dev -o requirements-dev.lock
	$(COMPILE) --group build -o requirements-build.lock
	$(COMPILE) pyproject.toml --extra apprise --extra redis --constraint requirements.lock -o requirements-image.lock

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
