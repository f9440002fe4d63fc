# One entry for everything: `make demo` first.
SHELL := /bin/bash
.DEFAULT_GOAL := help
SECONDS :=
AUDIT ?=
JOBS ?= 2
PYTHON := .venv/bin/python
SIMVG := .venv/bin/simvg
PACKAGES := infra producers consumers simvg_core simvg.py

# Images of containers like to forbid bytecode. Commands and tests start hundreds of programs here, and each would spend
# more than half of its start on compiling the same libraries again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup setup-test setup-check demo up down test faults check lint format types shell compose secrets audit schemas docs constraints clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## the environment, Apache Kafka and, where this may install them, Java and Maven
	@scripts/setup.sh run

setup-test:
	@scripts/setup.sh test

setup-check:
	@scripts/setup.sh check

demo: setup ## the whole line on this machine; SECONDS=60 ends by itself with a summary
	@$(SIMVG) demo $(if $(SECONDS),--seconds $(SECONDS))

up: setup ## start the local Kafka and Redis
	@$(SIMVG) up

down: ## stop them
	@[ ! -x $(SIMVG) ] || $(SIMVG) down

# Side by side one thread each: with one per core in each of them they wait for one another, spinning. Numbers of threads
# that a test or a command names stay as they are.
test: setup-test ## all tests, against a real broker, Redis and RTSP server; JOBS=2 of them at once
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n $(JOBS) --dist worksteal -m "not alone"
	$(PYTHON) -m pytest -m alone

faults: setup-test ## kill workers, brokers and Redis and compare the alerts with an undisturbed run; a soak (three quarters of an hour)
	$(PYTHON) -m tests.faults --rounds 20 --seed 7
	$(PYTHON) -m tests.faults --rounds 8 --seed 7 --redis-away 5 --cluster
	$(PYTHON) -m tests.faults.fuzz --inputs 10000 --seed 7
	$(PYTHON) benchmarks/soak.py --minutes 10

lint: setup-check ## style
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format: setup-check ## put the code in shape
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

types: setup-check ## strict type check
	$(PYTHON) -m mypy

shell: setup-check ## shell scripts
	shellcheck scripts/*.sh .ci/run

compose: setup-check ## docker-compose.yml, all profiles
	docker-compose --profile cpu config --quiet
	docker-compose --profile gpu config --quiet
	docker-compose --profile cpu --profile observability config --quiet

secrets: setup-check ## no secret in any file
	scripts/secrets.sh

audit: setup-check ## pinned dependencies against known vulnerabilities; AUDIT=offline goes on where that is out of reach
	@AUDIT=$(AUDIT) $(PYTHON) scripts/audit.py

check: lint types shell compose secrets audit test ## everything that must hold

docs: setup-check ## write docs/reference.md anew from the code
	$(PYTHON) scripts/reference.py

schemas: setup-check ## write infra/schemas/*.json anew from the types
	$(SIMVG) schemas

constraints: setup-check ## resolve constraints.txt anew
	@echo '# Exact versions of every dependency; renewed by `make constraints`.' > constraints.txt.new
	@.venv/bin/uv pip compile pyproject.toml --all-extras --python-version 3.11 \
	  --universal --no-header --no-annotate --quiet >> constraints.txt.new
	@mv constraints.txt.new constraints.txt

clean: down ## stop the stack and remove its state
	rm -rf .state
