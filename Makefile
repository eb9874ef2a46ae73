# `make help` lists what there is.

.DEFAULT_GOAL := help
.PHONY: help up down test chaos bench sim images lint docs pictures lock clean

BERTH := .venv/bin/berth
PIP_COMPILE := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header

# Where the bootstrap put a Node of its own, tests find it.
test chaos bench: export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.venv/node/bin:$(PATH)

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1	\2/p' $(MAKEFILE_LIST) | expand -t 10

up: ## Install what is missing, start the hub, print its address (MONITORING=1: Prometheus too, from now on; 0: not any more)
	@scripts/bootstrap hub $(if $(filter-out 0,$(MONITORING)),monitoring)
	@$(BERTH) up $(if $(MONITORING),$(if $(filter 0,$(MONITORING)),--no-monitoring,--monitoring))

down: ## Stop the hub; users' containers keep running (PURGE=1: remove them, homes and state as well)
	@scripts/bootstrap hub
	@$(BERTH) down $(if $(filter-out 0,$(PURGE)),--purge)

images: ## Build the user image (FLAVOUR=cpu, gpu or all)
	@scripts/bootstrap hub
	@$(BERTH) images $(if $(FLAVOUR),--flavour $(FLAVOUR))

test: ## Install what the tests need, build the user image, run all tests (ARGS: further arguments of pytest)
	@scripts/bootstrap dev
	@.venv/bin/python scripts/prepare_tests.py
	@.venv/bin/$(if $(ARGS),pytest --durations=15 $(ARGS),python scripts/run_tests.py)

chaos: ## Kill hub, janitor, engine and containers 50 times under load (KILLS=n, SEED=n)
	@scripts/bootstrap dev
	@.venv/bin/python scripts/prepare_tests.py
	@CHAOS_KILLS=$(or $(KILLS),50) CHAOS_SEED=$(SEED) .venv/bin/pytest -s tests/chaos/test_chaos.py $(ARGS)

bench: ## Measure decisions, claims, scrapes, the console and classes, and compare with stock DockerSpawner (ARGS: further arguments of the comparison)
	@scripts/bootstrap dev
	@.venv/bin/python -m tests.bench.decide
	@.venv/bin/python -m tests.bench.ledger
	@.venv/bin/python -m tests.bench.exporter
	@.venv/bin/python -m tests.bench.console
	@.venv/bin/python -m tests.bench.seats
	@.venv/bin/python -m tests.bench $(ARGS)

sim: ## Simulate 10,000 users on 1,000 GPUs for a week, drawn for the docs, and a term of courses (ARGS: options of berth simulate instead)
	@scripts/bootstrap dev
	@$(BERTH) simulate $(or $(ARGS),--plot docs/images/simulation.png)
	@$(if $(ARGS),:,$(BERTH) simulate classes --seeds 3)

lint: ## Check style, types and the import contracts
	@scripts/bootstrap dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

docs: ## Render the reference pages from the settings' schema and the API, and Grafana's dashboards
	@scripts/bootstrap hub
	@$(BERTH) settings reference --write
	@.venv/bin/python -m deploy.grafana.boards
	@.venv/bin/python -m spawner.console.reference

pictures: ## Take the documentation's screenshots anew
	@scripts/bootstrap dev
	@.venv/bin/python scripts/prepare_tests.py
	BERTH_PICTURES=docs/images .venv/bin/pytest tests/browser/test_docs_pictures.py tests/browser/test_class_pictures.py
	.venv/bin/python -m docs.images.take

lock: ## Resolve all dependencies anew into the lock files
	@scripts/bootstrap dev
	$(PIP_COMPILE) pyproject.toml requirements/build.in -o requirements/hub.txt
	$(PIP_COMPILE) requirements/build.in -c requirements/hub.txt -o requirements/build.txt
	$(PIP_COMPILE) pyproject.toml --extra dev requirements/build.in -c requirements/hub.txt -o requirements/dev.txt
	$(PIP_COMPILE) requirements/node.in -o requirements/node.txt
	npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund

clean: ## Remove what was installed into this directory (state and images stay)
	rm -rf .venv node_modules tests/support/oidc/node_modules tests/support/axe/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis
