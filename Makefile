# The commands of this project: `make lab` to learn, `make test` to check, `make help` for the rest.
# Written for GNU Make 3.81 or later and a POSIX shell, so that it runs as it is on macOS.

VENV := .venv
BIN := $(VENV)/bin
PYTHONS := >=3.11,<3.15
EXTRAS := lab,storage,test,bench,site

# What may be given: make lab PORT=8899 NO_BROWSER=1, make env TORCH=cpu PY=3.12, make test ARGS="-k shuffle"
PORT ?=
NO_BROWSER ?=
TORCH ?=
PY ?=
PYTHON ?= 3.13
JOBS ?= 2
ARGS ?=
BENCH ?= loader
CORE := $(addprefix tests/test_,collate.py device.py loader.py samplers.py workers_slots.py)
CORE_NEEDS := pytest pytest-xdist hypothesis psutil
TESTS ?= tests dlkit docs $(wildcard notebooks/*.ipynb)

.DEFAULT_GOAL := help
.PHONY: help lab env test core check notebooks site bench requirements format clean
MAKEFLAGS += --no-print-directory

help: ## this list
	@echo "Usage: make TARGET [NAME=VALUE ...]"
	@echo
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-16s%s\n", $$1, $$2 }'

lab: env ## open JupyterLab on your copies of the notebooks (PORT=8899, NO_BROWSER=1)
	@$(BIN)/dlkit lab $(if $(PORT),--port $(PORT)) $(if $(NO_BROWSER),--no-browser)

# ---- the environment -------------------------------------------------------------------------
# environment.py says whether .venv is whole: 0 yes, 1 install into it, anything else remake it.
# Installing is left to uv, which takes versions from requirements.txt. As constraints, not as
# requirements: a build of torch without CUDA then simply leaves out the CUDA packages.

ENVIRONMENT := $(BIN)/python -I -S dlkit/cli/environment.py
SETTINGS = --torch "$(TORCH)" --python "$(PY)"

# Sets $uv to a uv that runs, and fetches one into .uv/ when there is none. The system's pip may
# be locked ("externally managed") or absent, so: a private venv, then pip into a folder, then
# uv's own installer.
FIND_UV = for uv in uv .uv/bin/uv "$$HOME/.local/bin/uv" "$$HOME/.cargo/bin/uv" none; do \
	    "$$uv" --version >/dev/null 2>&1 && break; \
	  done
FETCH_UV = echo "Fetching uv into .uv/ ..."; \
	  { python3 -m venv .uv && .uv/bin/python -m pip install --quiet uv; } >/dev/null 2>&1 || \
	  python3 -m pip install --quiet --upgrade --target .uv uv >/dev/null 2>&1 || \
	  { { curl -LsSf https://astral.sh/uv/install.sh || wget -qO- https://astral.sh/uv/install.sh; } \
	    | env UV_INSTALL_DIR=.uv/bin UV_NO_MODIFY_PATH=1 sh; } >/dev/null 2>&1 || :
NO_UV = echo "make env needs uv and could not fetch it: see https://docs.astral.sh/uv to install it"

# One `make env` at a time: the lock is on file descriptor 9 and ends with the shell, however that
# ends. Where there is no flock(1), as on macOS, Python takes the same lock on the same descriptor.
LOCK = exec 9>.uv/lock; \
	  flock 9 2>/dev/null || python3 -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' 2>/dev/null || :

env: ## make or repair .venv (TORCH=cpu for the small build of torch, PY=3.12 for another Python)
	@$(ENVIRONMENT) check $(SETTINGS) >/dev/null 2>&1 && exit 0; \
	set -eu; mkdir -p .uv; $(LOCK); \
	reason=$$($(ENVIRONMENT) check $(SETTINGS) 2>/dev/null) && exit 0 || state=$$?; \
	$(FIND_UV); [ "$$uv" != none ] || { $(FETCH_UV); }; \
	$(FIND_UV); [ "$$uv" != none ] || { $(NO_UV); exit 1; }; \
	if [ "$$state" = 1 ]; then \
	  echo "Installing into $(VENV): $$reason."; torch="$(TORCH)"; \
	else \
	  echo "Making $(VENV)$${reason:+: $$reason}."; \
	  torch=$$($(ENVIRONMENT) torch $(SETTINGS) 2>/dev/null) || torch="$(TORCH)"; \
	  "$$uv" venv --quiet --clear --python "$(if $(PY),$(PY),$(PYTHONS))" $(VENV); \
	fi; \
	mend=$$($(ENVIRONMENT) begin --torch "$$torch"); \
	"$$uv" pip install --python $(VENV) --compile-bytecode -c requirements.txt $$mend -e '.[$(EXTRAS)]'; \
	$(ENVIRONMENT) finish --torch "$$torch"; \
	echo "$(VENV) is ready."

requirements: ## compile requirements.txt anew from pyproject.toml, for all systems and Pythons
	@$(FIND_UV); [ "$$uv" != none ] || { echo "make requirements needs uv"; exit 1; }; \
	"$$uv" pip compile pyproject.toml --universal --all-extras --python-version 3.11 --upgrade \
	  --no-annotate --custom-compile-command "make requirements" --quiet -o requirements.txt

# ---- checks ----------------------------------------------------------------------------------

# Tests start thousands of processes. Where a machine forbids Python to keep what it has compiled, each
# of them would compile dlkit anew.
test: env check ## everything that CI runs: lint, types, tests, doctests, notebooks (ARGS="-k name")
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --doctest-modules \
	  -p tests.notebooks.nbval_plugin --nbval --nbval-sanitize-with tests/notebooks/sanitize.cfg \
	  $(TESTS) $(ARGS)

# The core needs little, so that another Python for it is there in seconds. In a folder of its own.
core: env ## the core alone under another Python (make core PYTHON=python3.13)
	@$(FIND_UV); "$$uv" venv --quiet --clear --python "$(PYTHON)" build/core && \
	"$$uv" pip install --quiet --python build/core -c requirements.txt -e . $(CORE_NEEDS) && \
	build/core/bin/python --version && \
	PYTHONDONTWRITEBYTECODE= build/core/bin/python -m pytest -n $(JOBS) $(CORE) $(ARGS)

check: env ## lint and types alone
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy --num-workers $(JOBS)

format: env ## put the source into its format and mend what the linter can
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

notebooks: env ## run notebooks/text/*.py into notebooks/*.ipynb
	@$(BIN)/python -m dlkit.lab.build $(ARGS)

site: env ## pages, slides and lesson plans in build/site, which need no network (ARGS="--only 01")
	@$(BIN)/python -m docs.build $(ARGS)

bench: env ## measure the loader against PyTorch's (BENCH=workers, BENCH=soak)
	@$(BIN)/python -m benchmarks.$(BENCH) $(ARGS)

clean: ## remove .venv, uv's private copy and all caches; nothing that you made
	rm -rf $(VENV) .uv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
