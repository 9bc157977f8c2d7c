# Everything that this project is worked with. On a bare machine, `make demo` and `make test` need
# Python >= 3.11 and make; they set up .venv by themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
INSTALLED := $(VENV)/installed
READY := $(VENV)/ready
ART := build/art
DEMO := build/demo
LANCET ?= build/lancet-model
SIBLINGS ?= build/siblings
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

.PHONY: demo test test-all soak fuzz check fix bench calibrate docs art lancet lancet-smoke clean

demo: $(INSTALLED) ## the three questions at a glance, asked of the embedded model
	@$(BIN)/clerestory study run at-a-glance --out $(DEMO)

test: $(READY) ## the tests, on up to four cores
	@$(PYTEST) -m "not exhaustive"

test-all: $(READY) ## every test: also notebooks, pages in a browser, long runs
	@$(PYTEST)

soak: $(READY) ## kill the recorder 500 times, also between data and marker, damage files, and resume
	@CLERESTORY_KILLS=500 $(BIN)/python -m pytest tests/recordings/test_killed.py

fuzz: $(READY) ## thousands of damaged files of every kind that people hand over
	@CLERESTORY_FUZZ=3000 $(BIN)/python -m pytest tests/hostile

check: $(READY) ## format, lint, types, documents
	@$(BIN)/ruff format --check src tests bench tools docs
	@$(BIN)/ruff check src tests bench tools docs
	@$(BIN)/mypy
	@MYPYPATH=src:tests:bench $(BIN)/mypy tools/*.py bench/*.py
	@$(BIN)/lint-imports
	@$(BIN)/python tools/generate_docs.py --check
	@$(SITE)

fix: $(READY) ## format, and mend what ruff can mend
	@$(BIN)/ruff format src tests bench tools docs
	@$(BIN)/ruff check --fix src tests bench tools docs

bench: $(READY) ## speed, as ratios measured side by side
	@$(PIP) -c constraints.txt --group bench
	@$(BIN)/python bench/run.py

calibrate: $(READY) ## how often tests find nothing and intervals cover; a second call resumes
	@$(BIN)/python tools/calibrate.py
	@$(BIN)/python tools/calibration_page.py

docs: $(READY) ## write the generated pages of docs, and build the site into build/site
	@$(BIN)/python tools/generate_docs.py
	@$(SITE)

art: $(READY) ## fetch the emoji art that Lancet's world is drawn from (needs npm)
	@$(BIN)/clerestory lancet art --out $(ART)

lancet: art ## from art to weights; a second call goes on where the first was stopped
	@$(BIN)/clerestory lancet train --art $(ART) --out $(LANCET)
	@$(BIN)/clerestory lancet train-siblings --art $(ART) --out $(SIBLINGS)

lancet-smoke: art ## every stage of the training, tiny, into a temporary folder
	@$(BIN)/clerestory lancet train --smoke --art $(ART) --out $$(mktemp -d)/lancet
	@$(BIN)/clerestory lancet train-siblings --smoke --art $(ART) --out $$(mktemp -d)/siblings

clean: ## remove what was built
	@rm -rf build $(VENV)

# The demo needs the library alone; tests, documents and training need the rest.
$(INSTALLED): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) …" >&2
	@$(PIP) --upgrade "pip>=25.1"
	@$(PIP) -c constraints.txt torch==2.13.0
	@$(PIP) -c constraints.txt -e .
	@touch $(INSTALLED)

$(READY): $(INSTALLED)
	@echo "Installing what tests and documents need …" >&2
	@$(PIP) -c constraints.txt -e ".[world,lora,ray,dictionaries]" --group dev
	@touch $(READY)
