# What a newcomer types. Each target first makes what it needs in .venv (once; again only after pyproject.toml or
# constraints.txt changed), so no target has a set-up step of its own to remember.

PYTHON ?= python3
ARGS ?=

PY := .venv/bin/python
# --no-compile: Python compiles what it imports, when it does; compiling everything here would double the wait.
PIP := $(PY) -m pip --disable-pip-version-check -qq install --no-compile -c constraints.txt
RUN := $(PY) -m

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help test reproduce reproduce-all test-peers bench format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile
	@echo "  Options: PYTHON=python3.12 (at least 3.11; default python3), ARGS='...' (passed on to the command)"

test: .venv/with-dev ## lint, format, types, then all tests but those that need PyTorch
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(ONE_THREAD) $(RUN) pytest -n 2 -m "not peers" $(ARGS)

reproduce: .venv/with-lab ## the quick version of every report: table, figures and results.json in results/
	$(RUN) chainrule reproduce --quick --out results $(ARGS)

reproduce-all: .venv/with-lab ## the whole of every report, all seeds: table, figures and results.json in results/
	$(RUN) chainrule reproduce --out results $(ARGS)

test-peers: .venv/with-peers ## the comparison with PyTorch (installs it: large)
	$(ONE_THREAD) $(RUN) pytest -n 2 -m peers $(ARGS)

bench: .venv/with-bench ## how fast it is, beside PyTorch, JAX and scikit-learn (installs them: large); table in results/
	@mkdir -p results
	$(RUN) chainrule bench --json results/bench.json --picture results/bench.png --page results/bench.md $(ARGS)

format: .venv/with-dev ## put the code into the house's form
	$(RUN) ruff check --fix --exit-zero --quiet
	$(RUN) ruff format

clean: ## remove .venv and the caches; results/ stays
	rm -rf .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# Two test processes with a thread pool each would fight for the cores.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

# ---- set-up: one file in .venv says that a step is done -------------------------------------------------------------

# A copied or moved checkout would run the old one's code, and an upgraded Python leaves a dead link: make it anew.
ifneq ($(shell $(PY) -c 'print(open(".venv/made").read().strip())' 2>/dev/null),$(CURDIR))
.PHONY: .venv/made
endif

.venv/made: pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { echo "There is no '$(PYTHON)' here. Install Python 3.11 or later," \
		"or name yours: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "chainrule needs Python 3.11 or" \
		"later; '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1). Install a newer one, or name it:" \
		"make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { echo "'$(PYTHON)' lacks the standard modules venv and" \
		"ensurepip. On Debian and Ubuntu: apt install python3-venv; elsewhere: your system's package" \
		"that has them." >&2; exit 1; }
	@echo "Making a Python environment in .venv (once)."
	@rm -rf .venv
	@"$(PYTHON)" -m venv .venv
	@$(PIP) hatchling || { $(NOT_DONE); }
	@echo "$(CURDIR)" > $@

.venv/with-lab: .venv/made
	@echo "Installing chainrule and what its reports need into .venv (once, about half a minute)."
	@$(PIP) --no-build-isolation --editable ".[lab,fast]" || { $(NOT_DONE); }
	@touch $@

.venv/with-dev: .venv/made
	@echo "Installing chainrule, what its reports need and the test tools into .venv (once, about a minute)."
	@$(PIP) --no-build-isolation --editable ".[lab,fast,dev]" || { $(NOT_DONE); }
	@touch .venv/with-lab $@

.venv/with-peers: .venv/with-dev
	@echo "Installing PyTorch 2.13.0 into .venv (once; on Linux it may bring several gigabytes for GPUs)."
	@$(PIP) "torch==2.13.0" || { $(NOT_DONE); }
	@touch $@

.venv/with-bench: .venv/made
	@echo "Installing chainrule, Numba, PyTorch, JAX and scikit-learn into .venv (once; on Linux PyTorch may bring" \
		"several gigabytes for GPUs)."
	@$(PIP) --no-build-isolation --editable ".[lab,fast,peers]" || { $(NOT_DONE); }
	@touch .venv/with-lab $@

NOT_DONE = echo "The set-up did not finish: pip says why above. The same command tries again." >&2; exit 1
