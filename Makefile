# Every target sets up its own virtual environment first; nothing outside this folder is touched.
PYTHON ?= python3
VENV := .venv
UV := $(VENV)/bin/uv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test simulate chaos check s3-ceph bench bench-pairs bench-greedy bench-zoo clean

help:  ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# uv installs ten times faster than pip; bytecode is compiled because Ray starts a process per worker.
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(UV) || $(BIN)/python -m pip install --quiet uv
	VIRTUAL_ENV=$(abspath $(VENV)) $(UV) pip install --quiet --compile-bytecode \
		--constraint constraints.txt --group dev --editable .
	touch $@

demo: $(VENV)/.installed  ## launch sweeps/digits.yaml, analyze it and write its reports
	$(BIN)/overlap sweep launch sweeps/digits.yaml
	$(BIN)/overlap analyze sweeps/digits.yaml
	$(BIN)/overlap analyze features sweeps/digits.yaml --partners 1
	$(BIN)/overlap analyze shift sweeps/digits.yaml --dataset fonts
	$(BIN)/overlap analyze downstream sweeps/digits.yaml --dataset fonts --partners 1
	@echo "report: $$($(BIN)/overlap report sweeps/digits.yaml)"
	@echo "report: $$($(BIN)/overlap report sweeps/digits.yaml --dataset fonts)"

test: $(VENV)/.installed  ## run all tests
	$(BIN)/pytest -q --doctest-modules

simulate: $(VENV)/.installed  ## print the simulated history of one seed: make simulate SEED=7
	$(BIN)/python tests/faults/simulation.py $(SEED)

# About half a minute a kill on two cores.
N ?= 100
SEED ?= 1
chaos: $(VENV)/.installed  ## kill -9 parts of running sweeps N times, rewrite the table of docs/reliability.md
	$(BIN)/python tests/faults/chaos.py --kills $(N) --seed $(SEED) --out docs/reliability.md

check: $(VENV)/.installed  ## everything CI asks: format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

# Wants Debian's ceph-mon, ceph-osd and radosgw; everything it starts is private and ends with it.
s3-ceph: $(VENV)/.installed  ## run the tests of object stores against a real Ceph gateway
	OVERLAP_TEST_S3=ceph $(BIN)/pytest -q -m s3 tests/contract tests/servers

# Minutes, on a machine with nothing else to do. Nothing is asserted.
bench: $(VENV)/.installed  ## measure what the engine costs, beside Ray Tune
	$(BIN)/python tests/benchmarks/engine_overhead.py

bench-pairs: $(VENV)/.installed  ## measure joint outcomes and two-model ensembles of all pairs, beside their peers
	$(BIN)/python tests/benchmarks/pair_counts.py
	$(BIN)/python tests/benchmarks/pair_ensembles.py

bench-greedy: $(VENV)/.installed  ## measure greedy selection, beside AutoGluon's and NumPy's
	$(BIN)/python tests/benchmarks/greedy.py

bench-zoo: $(VENV)/.installed  ## measure twenty timm models over 2,000 JPEGs, beside timm's own loop: half an hour
	$(BIN)/python tests/benchmarks/zoo.py

clean:  ## remove the environment and what runs made
	rm -rf $(VENV) runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
