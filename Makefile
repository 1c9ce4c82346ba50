# Every task, one command each. `make help` lists them. Set-up happens by itself; nothing is installed outside this folder.
SHELL := /bin/sh
.DEFAULT_GOAL := help

export TWOKEY_CACHE ?= $(CURDIR)/.cache
VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python
OPA = $$($(PYTHON) tools/setup.py --print-opa)
REGO := rego
TESTS ?= tests
PYTEST_FLAGS ?=
BENCH_FLAGS ?=

.PHONY: help setup demo test clients test-clients test-all check fmt format lint types imports rego proto proto-breaking proto-image generate bench fuzz mutate lock clean

help: ## List the tasks.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Make the project-local environment, the stubs, and obtain OPA.
	@sh tools/find-python tools/setup.py

demo: setup ## Act the story on real parts. KEEP=1 leaves everything up; STORY=plan is another one.
	@$(BIN)/twokey demo $(if $(KEEP),--keep) $(if $(STORY),--story $(STORY))

test: check clients ## Everything: every check, all tests on PostgreSQL 18, and those that touch it again on 14.
	$(PYTHON) -m tools.run_tests $(PYTEST_FLAGS) $(TESTS)

test-all: check clients ## The same, on 18, 17, 16, 15 and 14.
	$(PYTHON) -m tools.run_tests --all $(PYTEST_FLAGS) $(TESTS)

clients: setup ## Obtain and build the clients of other languages that the tests play (npm, Maven, Go, cargo).
	@$(PYTHON) -m tools.clients

test-clients: clients ## Unmodified clients through the gateway and directly: no byte may differ. FULL=1 for all of SQLAlchemy.
	@$(PYTHON) -m tools.postgres_binaries 18
	$(if $(FULL),TWOKEY_FULL=1) $(BIN)/pytest --postgres maven:18 $(PYTEST_FLAGS) tests/clients

check: setup lint types imports rego proto ## Format, lint, types, import contracts, policies, API.

fmt: setup ## Format Python and Rego.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(OPA) fmt --write $(REGO)

format: fmt

lint: setup ## Check format and lint.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup ## Strict types.
	$(BIN)/mypy
	$(BIN)/mypy --strict tools

imports: setup ## Import contracts: who may know whom.
	$(BIN)/lint-imports

rego: setup ## Format, strict compilation against the input schema, tests and coverage of the policies.
	$(OPA) fmt --fail --list $(REGO)
	$(PYTHON) tools/input_schema.py --check
	$(BIN)/twokey policy check
	$(BIN)/twokey policy test

proto: setup proto-breaking ## Lint the API and compare it with the committed image.
	$(BIN)/buf lint

proto-breaking: setup ## The API may only grow.
	$(BIN)/buf breaking --against proto/image.binpb

proto-image: setup ## Commit to the API as it is now (after a deliberate change).
	$(BIN)/buf build -o proto/image.binpb

bench: setup ## Measure gateway against direct, rung by rung (BENCH_FLAGS: --quick, --write, --cells ...).
	$(PYTHON) -m tests.bench.run $(BENCH_FLAGS)

fuzz: setup ## A million inputs for the wire protocol (FUZZ_INPUTS, FUZZ_SEED), 20,000 statements of a masked role (FUZZ_STATEMENTS), 2,000 by sqlsmith (FUZZ_SMITH), and the property tests for longer.
	$(PYTHON) -m tests.fuzz.run --inputs $(or $(FUZZ_INPUTS),1000000) --seed $(or $(FUZZ_SEED),0)
	@$(PYTHON) -m tools.postgres_binaries 18
	$(PYTHON) -m tests.corpus.judge --statements $(or $(FUZZ_STATEMENTS),20000) --seed $(or $(FUZZ_SEED),1)
	@$(PYTHON) -m tools.sqlsmith
	$(PYTHON) -m tests.corpus.smith --statements $(or $(FUZZ_SMITH),2000) --seed $(or $(FUZZ_SEED),1)
	$(BIN)/pytest -m hypothesis --hypothesis-profile=fuzz --timeout=1800 $(TESTS)

mutate: setup ## Take away each rule of masking's analysis and policy in turn: some test must fail (MUTATE_FLAGS: --only rules, --modules …).
	$(PYTHON) -m tests.mutation.run $(MUTATE_FLAGS)

generate: setup ## Write rego/schemas/input.json anew from the API.
	$(PYTHON) tools/input_schema.py

lock: setup ## Write requirements/*.txt anew from pyproject.toml (needs a package index).
	$(PYTHON) tools/lock.py

clean: ## Remove everything that set-up, tests and builds made.
	rm -rf $(VENV) .cache proto/gen .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
