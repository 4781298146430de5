# Every target creates .venv on first use and reuses it afterwards.
#   make reproduce            the whole story: rungs 0 and 1, a table and runs/reproduce/report.html
#   make reproduce PERSONA=DIR   adds rung 2 on the real Persona question files
#   make test                 every test that fits six minutes on two cores, notebooks included
#   make check                lint, import contracts and the core tests, under a minute
#   make install              the command `rewardgap`, in .venv/bin
#   make figures              every figure again from stored results, no training
#   make notebooks            run all notebooks and keep their outputs
#   make bench                side-by-side measurements; make data: fetch the public data files
#   make clean                caches and build products; results under runs/ stay
# PYTHON=python3.12, VENV=somewhere/else, ARGS="--quick" change what is used and passed on.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PERSONA ?=
ARGS    ?=

.PHONY: install reproduce check test slow figures notebooks bench data clean
.DEFAULT_GOAL := reproduce

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

install: $(STAMP)

reproduce: $(STAMP)
	$(BIN)/rewardgap reproduce $(if $(PERSONA),--persona $(PERSONA)) $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -n 2 -m "not integration and not slow and not data"

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -n 2 -m "not slow" --nbmake tests notebooks

slow: $(STAMP)
	$(BIN)/python -m pytest -q -m slow

figures: $(STAMP)
	$(BIN)/rewardgap figures $(ARGS)

notebooks: $(STAMP)
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False notebooks/*.ipynb

bench: $(STAMP)
	set -e; for file in $(wildcard benchmarks/bench_*.py); do $(BIN)/python $$file; done

data: $(STAMP)
	$(BIN)/python -m llm_experiments.tasks.download $(ARGS)

clean:
	rm -rf build *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
