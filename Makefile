# Every job goes from a bare clone (Python >= 3.11, a C++ compiler, nothing installed) to done. What it needs goes into
# .venv once; a second call starts at once. PYTHON=python3.12 chooses the interpreter.
#
#   make demo         a language model gets better through AI feedback, in about a minute
#   make test         style, types, architecture and tests; CI runs this
#   make lint         the first three alone
#   make bench        the benchmarks
#   make embedded     the embedded weights again, from their recipe
#   make constraints  the pinned versions again, from a fresh resolve
#   make clean        remove what these jobs made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Versions are pinned alike for what is installed and for what builds it (the second variable is newer pip's).
PIP := PIP_CONSTRAINT='$(CURDIR)/constraints.txt' PIP_BUILD_CONSTRAINT='$(CURDIR)/constraints.txt' \
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -qq
SOURCES := pyproject.toml constraints.txt LICENSE $(wildcard csrc/* csrc/cuda/*)
# Two processes of one thread each finish the tests sooner than one process of two.
WORKERS ?= 2

.PHONY: demo test lint bench embedded constraints clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	$(BIN)/rlaif demo

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal

lint: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/installed-dev
	@for bench in benches/bench_*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

embedded: $(VENV)/installed-dev
	$(BIN)/python -m rlaif_lumen.recipe

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, {sys.version.split()[0]} was found; say make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(SOURCES) | $(VENV)/created
	@echo "Installing into $(VENV); the first time takes a minute or two"
	$(PIP) -e .
	@touch $@

$(VENV)/installed-dev: $(SOURCES) | $(VENV)/created
	@echo "Installing into $(VENV) with what the tests need; the first time takes a minute or two"
	$(PIP) -e '.[dev]'
	@touch $(VENV)/installed $@

# torch is named because the newest need not be the one that was tested; a local suffix (+cpu) is not part of the pin.
TORCH ?= torch==2.13.0
constraints:
	rm -rf $(VENV)-constraints
	$(PYTHON) -m venv $(VENV)-constraints
	$(VENV)-constraints/bin/pip install -qq '$(TORCH)' cmake ninja '.[dev]'
	@{ echo '# What `make constraints` resolved to on $(shell $(PYTHON) -V): the versions the tests ran with.'; \
	  $(VENV)-constraints/bin/pip freeze --all --exclude pip --exclude rlaif-core | sed 's/+[a-z0-9.]*$$//'; } > constraints.txt
	rm -rf $(VENV)-constraints

clean:
	rm -rf $(VENV) $(VENV)-constraints build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
