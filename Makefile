# Every target sets up its own environment when it is missing and says what it does.
PYTHON ?= python3
ARGS ?=
VENV := .venv
RUN := $(VENV)/bin/

.PHONY: help demo test test-slow check bench bench-models docs setup clean

help:            ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(VENV)/ready ## the whole loop on real data: import, train, judge, publish, serve, click (ARGS=--exit ends after it)
	@$(RUN)tastemaker demo $(ARGS)

test: $(VENV)/test-ready ## every test, against real stores and a real browser
	@echo "── tests"
	@$(RUN)python -m pytest -q -n 2 --dist worksteal $(ARGS); code=$$?; echo $$code > $(VENV)/test-exit; exit $$code

test-slow: $(VENV)/test-ready ## the tests that take minutes: experiments and off-policy estimates in simulated worlds
	@$(RUN)python -m pytest -q -m nightly -n 2 --dist worksteal $(ARGS)

check: $(VENV)/test-ready ## style, types, layers
	@echo "── style"; $(RUN)ruff format --check . && $(RUN)ruff check .
	@echo "── types"; $(RUN)mypy
	@echo "── layers"; $(RUN)lint-imports --no-cache

bench: $(VENV)/test-ready ## every benchmark; writes the tables of benchmarks/README.md
	@$(RUN)python -m benchmarks $(ARGS)

bench-models: $(VENV)/bench-ready ## quality and cost of the models beside implicit and irspack; writes benchmarks/report/models.html
	@$(RUN)python -m benchmarks.models $(ARGS)

docs: $(VENV)/test-ready ## the reference pages, from the code
	@$(RUN)python docs/generate.py
	@$(RUN)python docs/blocks.py

setup: $(VENV)/test-ready ## the environment alone

clean:           ## removes the environment and what the demo made
	rm -rf $(VENV) .tastemaker

$(VENV)/bin/python:
	@echo "── making the environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit("tastemaker needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/ready: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "── installing tastemaker"
	@$(RUN)pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/test-ready: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "── installing tastemaker with what its tests need"
	@$(RUN)pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,docs]'
	@$(RUN)python tests/servers.py
	@touch $@ $(VENV)/ready

$(VENV)/bench-ready: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "── installing tastemaker with the libraries that models are measured beside"
	@$(RUN)pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@ $(VENV)/ready
