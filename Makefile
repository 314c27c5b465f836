# `make help` lists the targets.
VENV ?= .venv
BIN = $(VENV)/bin
MANAGE = $(BIN)/python manage.py

# Tests mostly wait for servers that they started: more processes than cores, but not so many that they disturb
# each other's clocks.
JOBS ?= 3

# Development, unless the environment says otherwise: everything started from here.
export DEBUG ?= 1
export VENV

.DEFAULT_GOAL := help
.PHONY: help run admin install test lint types pytest format bench clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: install ## install what is missing, migrate and serve http://127.0.0.1:8000/ (HOST, PORT)
	@$(MANAGE) migrate --noinput --verbosity 0 --skip-checks
	@exec $(MANAGE) serve

admin: install ## make an administrator for /admin/
	@$(MANAGE) migrate --noinput --verbosity 0 --skip-checks
	@$(MANAGE) createsuperuser

install: ## make .venv with what the service needs
	@.ci/venv requirements.txt

# mypy is one process, and tests wait now and then: beside each other they take less time.
test: lint ## install all that tests need, then run every check and test
	@$(MAKE) --no-print-directory -j2 types pytest
	@echo "All checks and tests passed."

# The tests' environment. No .env file: tests say themselves what they need.
.PHONY: dev
dev:
	@.ci/packages
	@.ci/venv requirements-dev.txt

lint: dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo

types: dev
	ENV_FILE= nice $(BIN)/mypy

pytest: dev
	ENV_FILE= $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

format: dev ## format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: dev ## compare the speed with other chat servers; writes benchmarks/results/
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## remove what the other targets made, but not the database
	rm -rf $(VENV) staticfiles .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
