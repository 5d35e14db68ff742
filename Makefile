# make book | pdf | slides | check-site | test | test-all | lint | perf | clean. The first of them creates .venv and installs valib into it.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m
STAMP := $(VENV)/.installed
OUT ?= _build
ROOM ?=

.DEFAULT_GOAL := help
.PHONY: help install book pdf slides check-site test test-all lint perf clean

help:  ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

install: $(STAMP)  ## Create .venv with the tested versions

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Error: valib needs Python 3.11 or later; '$(PYTHON)' is not. Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Error: this Python cannot make virtual environments. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing valib and what it needs into $(VENV) ..."
	@$(RUN) pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[book,dev]"
	@touch $(STAMP)

book: $(STAMP)  ## Render the book as HTML pages into _build
	$(RUN) valib book --out "$(OUT)"

pdf: $(STAMP)  ## Render the book as HTML pages and as PDF into _build (needs LaTeX)
	$(RUN) valib book --pdf --out "$(OUT)"

slides: book  ## Render the book, and say where the lecturer's slides are
	@echo "Slides: $(OUT)/html/slides.html"

check-site: $(STAMP)  ## Check the rendered pages in _build: links, ids, and in Chromium accessibility, console, weight, search
	$(VENV)/bin/python tests/check_site.py "$(OUT)" $(if $(BROWSER),--browser)

PYTEST := $(RUN) pytest -q -n 2 --dist loadfile --no-loadscope-reorder  # in the order of tests/conftest.py
COMPUTING := tests/records tests/sums tests/models tests/effects tests/simulation

test: $(STAMP)  ## Run the tests; ROOM=effects: those of one room; COVER=yes: print the branches of what computes they miss
ifdef COVER
	$(PYTEST) $(COMPUTING) --cov --cov-report=term
	$(PYTEST) tests $(COMPUTING:%=--ignore=%)
else
	$(PYTEST) $(if $(ROOM),tests/$(ROOM))
endif

test-all: test $(VENV)/.spark  ## Run the tests, then the long ones (faults, leaks, servers, Spark)
	$(PYTEST) -m long

lint: $(STAMP)  ## Check the code's style, format and types, and the prose
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(VENV)/bin/codespell *.md docs chapters valib
	$(VENV)/bin/python tests/prose.py

$(VENV)/.%: $(STAMP)
	@echo "Installing what valib[$*] needs ..."
	@$(RUN) pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$*]"
	@touch $@

perf: $(VENV)/.perf $(VENV)/.spark  ## Time valib beside other packages
	$(VENV)/bin/python perf/run.py

clean:  ## Remove what was made, but not .venv
	rm -rf _build .pytest_cache .ruff_cache .hypothesis .coverage
	find valib tests chapters data perf -name __pycache__ -prune -exec rm -rf {} +
