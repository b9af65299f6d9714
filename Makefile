# make demo: the first run, in an environment with live.txt alone.   make test: everything, in .venv.
# A second call is quick: environments are made anew only when the requirements change.

PYTHON ?= python3
VENV ?= .venv
DEMO_VENV ?= .venv-demo
DEMO_OUTPUT ?= out/demo

BIN := $(VENV)/bin
DEMO_BIN := $(DEMO_VENV)/bin
PIP := -m pip --disable-pip-version-check install --quiet
LIVE := requirements/live.txt
PARTS := base cpu openvino export
ALL := requirements.txt requirements/train.txt requirements/dev.txt
# A lock file, requirements/ci.lock: exactly its versions, each file by its hash. Empty: what the requirements allow.
LOCK ?=
FROM := $(if $(LOCK),--require-hashes -r $(LOCK),$(addprefix -r ,$(ALL)))
SOURCES := bodycast app engines hmr export training evaluation scripts examples tests run_webcam.py

.PHONY: help demo docs types fuzz lock soak test test-lab test-wheel test-slow lint format bench doctor clean distclean python libraries

help:
	@echo "make demo       run the embedded demo clip and write $(DEMO_OUTPUT)"
	@echo "make test       install everything and test the program"
	@echo "make test-lab   test networks, training and evaluation"
	@echo "make test-wheel build the wheel and try it in an empty environment"
	@echo "make test-slow  the tests that take minutes"
	@echo "make fuzz       ten minutes of damaged files for every reader"
	@echo "make soak       an endless film through the program: is memory flat?"
	@echo "make lock       write requirements/ci.lock anew, CI's versions and hashes"
	@echo "make lint       ruff and pyright"
	@echo "make docs       build the documentation into site/"
	@echo "make bench      time the stages on this machine"
	@echo "make doctor     say what can run here and why the rest cannot"
	@echo "make clean      remove caches and results;  make distclean: the environments too"

demo: $(DEMO_VENV)/.installed | libraries
	$(DEMO_BIN)/python -m bodycast run demo --no-window --output $(DEMO_OUTPUT) --overwrite
	@echo "the demo is in $(DEMO_OUTPUT): overlay.mp4 to look at, motion.npz to animate with, run.json about the run"

# Tests that measure time run alone, after the others.
PARALLEL ?= 2
TIMED := tests/live tests/sources tests/hygiene/test_nothing_leaves.py
LAB := tests/training tests/evaluation tests/mocap tests/networks tests/checkpoints tests/parity tests/export

test: $(VENV)/.installed | libraries
	$(BIN)/python -m pytest -n $(PARALLEL) --dist loadfile tests $(addprefix --ignore=,$(TIMED) $(LAB))
	$(BIN)/python -m pytest $(TIMED)

test-lab: $(VENV)/.installed | libraries
	$(BIN)/python -m pytest -n $(PARALLEL) --dist loadfile $(LAB)

test-wheel: | python
	$(PYTHON) scripts/wheel_check.py

test-slow: $(VENV)/.installed | libraries
	$(BIN)/python -m pytest -m "slow and not gpu and not camera and not network"

# FUZZ_S: seconds; the laboratory's tests run 60 of it.
FUZZ_S ?= 600
fuzz: $(VENV)/.installed
	$(BIN)/python -m evaluation.fuzz --seconds $(FUZZ_S)

# SOAK: how long.
SOAK ?= --frames 100000
soak: $(VENV)/.installed
	$(BIN)/python -m evaluation soak $(SOAK)

lock: $(VENV)/.installed
	$(BIN)/python scripts/lock.py

lint: $(VENV)/.installed
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	@$(MAKE) --no-print-directory types
	$(BIN)/pyright

# Links in the shape of the installed package, for tools that read the code without running it.
types:
	@mkdir -p build/types/bodycast
	@for part in app engines hmr export bodycast/__init__.py bodycast/no_telemetry.py bodycast/npz.py bodycast/plain_text.py; do ln -sfn ../../../$$part build/types/bodycast/$${part##*/}; done

docs: $(VENV)/.installed types
	$(BIN)/python $(PIP) -r requirements/docs.txt
	$(BIN)/zensical build --strict

format: $(VENV)/.installed
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: $(VENV)/.installed | libraries
	$(BIN)/python -m bodycast bench

doctor: $(DEMO_VENV)/.installed | libraries
	$(DEMO_BIN)/python -m bodycast doctor

clean:
	rm -rf out .pytest_cache .ruff_cache .hypothesis
	find $(wildcard $(SOURCES)) -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) $(DEMO_VENV)

python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not there: install Python 3.11 or newer, or name it: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "Bodycast needs Python 3.11 or newer, $(PYTHON) is %d.%d: make PYTHON=python3.11 ..." % v[:2])'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make environments. Debian, Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }

libraries:
	@scripts/system_libraries.sh

$(DEMO_VENV)/.installed: $(LIVE) $(PARTS:%=requirements/%.txt) | python
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_BIN)/python $(PIP) -r $(LIVE)
	@touch $@

$(VENV)/.installed: $(ALL) $(PARTS:%=requirements/%.txt) $(LOCK) | python
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) $(FROM)
	@touch $@
