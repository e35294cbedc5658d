# make demo       a study of real digits, from an empty machine to an exported ensemble
# make test       linters, types, import layers and the quick tests, within ten minutes
# make faults     studies under real faults: killed processes, full disks, models that crash
# make test-all   the long and rare tests, too: `slow` ones, notebooks, distributions, and the
#                 unit tests at the lowest versions that pyproject.toml allows
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-all test-slow test-lowest faults lint clean

demo: .venv/installed
	$(BIN)/python platform/demo/demo.py rayfold-demo

test: lint
	$(BIN)/python -m pytest --numprocesses 2

test-all: test
	$(MAKE) test-slow
	$(MAKE) test-lowest

test-slow: .venv/installed
	$(BIN)/python -m pytest --numprocesses 2 -m slow

faults: .venv/installed
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile tests/faults -m faults --durations=0

# Unit tests need no Ray that runs; the tools for development are those of constraints.txt.
test-lowest: .venv/installed
	$(PYTHON) -m venv --clear .venv-lowest
	$(BIN)/python .ci/lowest.py > .venv-lowest/constraints.txt
	.venv-lowest/bin/pip install --quiet --constraint .venv-lowest/constraints.txt --editable . \
	    nbmake pytest pytest-timeout pytest-xdist
	.venv-lowest/bin/python -m pytest --numprocesses 2 tests/unit tests/contracts

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Made again only when what it depends on has changed.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Rayfold needs Python 3.11 or newer; run: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt pip
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable . --group dev
	@$(BIN)/python -m compileall -qq -j 0 -x '/tests/' .venv/lib || true  # pip would use one core
	touch $@

clean:
	rm -rf .venv .venv-lowest rayfold-demo build dist *.egg-info platform/*.egg-info
