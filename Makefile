# Everything is installed into .venv, made from a plain `python3` (another one: make setup PYTHON=python3.12).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
DEMO := runs/demo

# More threads make small models slower, and on a busy machine many times slower.
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: setup demo real check test quick lint docs release bench bench-real evidence clean
.DELETE_ON_ERROR:

# Bytecode is written by the first import of a module: most of what is installed is never imported. The pip that comes
# with Python 3.11 compares each version of each package with all tags of the platform, so that a newer one comes first.
QUICKLY := -qq --no-compile

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "charter needs Python 3.11 or newer, and '$(PYTHON)' was not found."; \
	  echo "  Install it, or name another one: make setup PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "charter needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1)."; \
	  echo "  Install a newer one, or name it: make setup PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments: its venv module is missing."; \
	  echo "  On Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	@echo "Installing into $(VENV): some minutes, once."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install $(QUICKLY) pip==26.3 </dev/null
	@$(BIN)/python -m pip install $(QUICKLY) -c constraints.txt -e '.[dev]' </dev/null
	@touch $@
	@echo "Installed: $(VENV)/bin/charter"

# A finished demo is shown, an interrupted one goes on; `make clean` or `rm -r runs/demo` starts anew.
demo: setup
	@$(BIN)/charter run iteralign --out $(DEMO)

# A pretrained model. CHARTER_MODELS=DIR has folders smollm2 and qwen-coder-1.5b, CHARTER_DATA=DIR has advbench and
# self_instruct; else the hub gives them.
REAL := runs/real
ifdef CHARTER_MODELS
ORACLE := $(abspath $(CHARTER_MODELS))/qwen-coder-1.5b
MODELS := --set target.model=$(abspath $(CHARTER_MODELS))/smollm2 \
  --set oracle.model=$(ORACLE) --set oracle.in_process=false \
  --set evaluator.model=$(ORACLE) --set evaluator.in_process=false
endif
ifdef CHARTER_DATA
PROMPTS := --set 'prompts.redteam=[{name: advbench, path: $(CHARTER_DATA)/advbench, limit: 100}]' \
  --set 'prompts.helpful=[{name: self-instruct, path: $(CHARTER_DATA)/self_instruct, limit: 80}]'
endif
real: setup
	@$(BIN)/charter run smollm2 --out $(REAL) $(MODELS) $(PROMPTS)

# A file's tests share what they begin with, so that one process runs them all; the slow files come first.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# What a change is tried with while it is made: everything but the slow tests, beside the lint.
check: setup
	@began=$$(date +%s); $(MAKE) --no-print-directory -j 2 lint quick && \
	  echo "make check: green after $$(($$(date +%s) - began)) s"

quick: setup
	@$(PYTEST) -m 'not slow'

# Everything.
test: setup
	@began=$$(date +%s); $(PYTEST) && echo "make test: green after $$(($$(date +%s) - began)) s"

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# The site of the pages, in build/site: without network; a broken link fails it.
docs: setup
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "The site: build/site/index.html (open it in a browser; its search needs a server: python3 -m http.server -d build/site)"

# A version's wheel, source archive, notes and bill of materials, in dist. TAG=v0.2.0 must be the package's version.
release: setup
	@rm -rf dist && $(BIN)/python -m docs.release_notes "$(TAG)" dist/NOTES.md
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.[release]' </dev/null
	@$(BIN)/python -m build --outdir dist >/dev/null
	@$(BIN)/twine check --strict dist/*.whl dist/*.tar.gz
	@$(BIN)/cyclonedx-py environment --output-file dist/sbom.json $(BIN)/python

bench: setup
	@$(BIN)/python -m bench

bench-real: setup
	@$(BIN)/python -m bench.real_speed --data "$(DATA)"

evidence: setup
	@$(BIN)/python -m evidence

clean:
	rm -rf $(VENV) $(DEMO) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
