# Everything a developer or a newcomer runs. `make demo` and `make test` set up what they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DATA := $(wildcard ../shared/data)
# A file's tests run in one process: they share what is slow to make.
PYTEST ?= -n auto --maxprocesses 4 --dist loadfile
export TILEDSEG_DATA ?= $(if $(DATA),$(abspath $(DATA)))

ORACLE ?= .venv-oracle
ORACLE_STAMP := $(ORACLE)/.installed

.PHONY: help demo test check bench simulate oracle clean

help:
	@echo "make demo    install, segment a scene and a volume, write demo-output/"
	@echo "make test    run the tests (with the data folder if TILEDSEG_DATA names it)"
	@echo "make check   formatting, types, import rules"
	@echo "make bench   measure against peers and limits"
	@echo "make oracle  ask nnU-Net itself for the labels that tests compare with"
	@echo "make simulate  a million tiles on simulated workers, thousands on real ones"
	@echo "make clean   remove what the others made"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/tiledseg demo --out demo-output

test: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m benchmarks

simulate: $(STAMP)
	$(BIN)/python -m benchmarks.simulation

$(ORACLE_STAMP): tests/oracles/constraints.txt
	$(PYTHON) -m venv $(ORACLE)
	$(ORACLE)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	grep -v '^timm' constraints.txt > $(ORACLE)/constraints.txt
	$(ORACLE)/bin/python -m pip install --quiet --disable-pip-version-check \
		-c $(ORACLE)/constraints.txt -r tests/oracles/constraints.txt
	@touch $@

oracle: $(STAMP) $(ORACLE_STAMP)
	TILEDSEG_NNUNET=$(abspath $(ORACLE))/bin/python $(BIN)/python -m pytest -m oracle $(PYTEST)

clean:
	rm -rf $(VENV) $(ORACLE) demo-output .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
