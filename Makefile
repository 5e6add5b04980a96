# Needs Python 3.11 or newer and make; everything else is installed into .venv from the hashed locks in requirements/.

PYTHON ?= python3
BIN := .venv/bin
export ARSENAL_REQUIRE_ALL

# A virtual environment that happens to be active must not take part. Where PYTHONDONTWRITEBYTECODE is set, as in many
# container images, every process would compile all 1,300 modules anew: 3 s instead of 1.3 s for each start of the server.
unexport VIRTUAL_ENV PYTHONHOME PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help runtime dev demo test test-rest test-crash test-production test-killed test-corpus check check-lint check-types \
	check-imports check-migrations check-docs format bench docs lock clean
.NOTPARALLEL:

help:  ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/\1\t\2/p' Makefile | expand -t 18

runtime:
	@$(PYTHON) requirements/install.py runtime

dev:
	@$(PYTHON) requirements/install.py dev

demo: runtime  ## Start everything, play 200 paid orders, keep serving (ONCE=1: check and exit)
	@$(BIN)/arsenal demo $(if $(filter-out 0,$(ONCE)),--once)

test: test-rest test-killed test-corpus  ## Run every test (ARGS="..." goes to pytest)

# $(call side_by_side,SELECTION,SELECTION): two runs of pytest, the first shown when both are done. Each starts a database
# of its own, and neither keeps both cores busy. 5: nothing was selected.
define side_by_side
	@log=$$(mktemp); \
	echo "$(BIN)/pytest $(1) $(ARGS)   (beside the next; shown when both are done)"; \
	$(BIN)/pytest $(1) $(ARGS) >$$log 2>&1 & first=$$!; \
	echo "$(BIN)/pytest $(2) $(ARGS)"; \
	$(BIN)/pytest $(2) $(ARGS); second=$$?; \
	wait $$first; first=$$?; cat $$log; rm -f $$log; \
	[ $$second != 5 ] || second=0; [ $$first != 5 ] || first=0; \
	exit $$((second ? second : first))
endef

FIRST_HALF := tests/api tests/capabilities tests/clients tests/delivery tests/governance tests/identity tests/plugin_host
NOT_SLOW := -m "not crash and not corpus and not production"
test-rest: dev  ## Run all tests but the three slow suites below
	$(call side_by_side,$(NOT_SLOW) $(FIRST_HALF),$(NOT_SLOW) $(FIRST_HALF:%=--ignore %))

test-killed: dev  ## Run test-crash and test-production side by side
	$(call side_by_side,-m crash,-m production)

test-crash: dev  ## Run the tests that kill processes
	$(BIN)/pytest -m crash $(ARGS)

test-corpus: dev  ## Let the hostile plugin loose at every level (ARSENAL_TEST_LEVEL=L4: what must be attained)
	$(BIN)/pytest -m corpus $(ARGS)

test-production: dev  ## Run the tests against system PostgreSQL, Redis and RabbitMQ (skipped where absent; ARSENAL_REQUIRE_ALL=1: failed)
	$(BIN)/pytest -m production $(ARGS)

check: check-lint check-types check-imports check-migrations check-docs  ## Lint, types, layers, migrations, documents

check-lint: dev  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check-types: dev  ## mypy --strict
	$(BIN)/mypy --strict
	$(BIN)/mypy --strict requirements/install.py docs/generate.py

check-imports: dev  ## import-linter: the layers of docs/explanation/architecture.md
	$(BIN)/lint-imports

check-migrations: dev  ## Migrations up, down, up
	@if [ -f platform_core/kernel/database/migrations_check.py ]; then \
	  echo "$(BIN)/python -m platform_core.kernel.database.migrations_check --also sandbox"; \
	  $(BIN)/python -m platform_core.kernel.database.migrations_check --also sandbox; \
	else echo "migrations: not checked, migrations_check is not part of this tree yet"; fi

check-docs: dev  ## Links, anchors, examples and generated pages
	$(BIN)/python docs/generate.py --check
	$(BIN)/pytest tests/docs

format: dev  ## Let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: dev  ## Run the benchmarks (NAME=paid_order: only that one)
	@$(BIN)/python -m benchmarks $(NAME)

docs: dev  ## Write the generated reference pages
	$(BIN)/python docs/generate.py

COMPILE = $(BIN)/uv --no-config pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url
lock: dev  ## Lock the requirements again (UPGRADE=1: newest versions; UPGRADE=name: that one)
	$(COMPILE) $(LOCK_UPGRADE) -o requirements/bootstrap.txt requirements/bootstrap.in
	$(COMPILE) $(LOCK_UPGRADE) -o requirements/runtime.txt pyproject.toml
	$(COMPILE) $(LOCK_UPGRADE) --extra dev --constraint requirements/runtime.txt -o requirements/dev.txt pyproject.toml

LOCK_UPGRADE = $(if $(filter 1,$(UPGRADE)),--upgrade,$(if $(UPGRADE),--upgrade-package $(UPGRADE)))

clean:  ## Remove .venv, caches and build output; .arsenal (the demo's data) stays
	rm -rf .venv .venv-clients build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .schemathesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
