# Two commands for everybody: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV ?= .venv
# Where to find another build of PyTorch, for instance
#   make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
EXTRAS ?= mrml,test,dev
TEST_PROCESSES ?= 4

ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
STAMP := $(VENV)/.installed

.PHONY: demo test check benchmark evidence setup clean help

help:
	@echo "make demo       simulate a cohort, train, detect, evaluate (under demo/)"
	@echo "make test       run all tests"
	@echo "make check      ruff and mypy"
	@echo "make benchmark  speed and memory, as ratios measured in one run"
	@echo "make evidence   the studies on real images (Testing/Evidence)"

setup: $(STAMP)

# PyTorch first and pinned, so that nothing else can pull another build of it.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or later is needed')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	# Python would find an earlier installation's entry points in the root before the new ones.
	$(BIN)/python -c "import shutil; shutil.rmtree('attribseg.egg-info', ignore_errors=True)"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[$(EXTRAS)]"
	$(BIN)/python -c "open('$(STAMP)', 'w').close()"

demo: $(STAMP)
	$(BIN)/python Testing/demo.py --out demo

# One thread per process: the tests' networks are tiny. More processes than the two cores of a small
# machine, since many tests wait for commands that they have started. Files in the order of the test
# paths, those of the panels first: they have few tests, which take longest.
test: export OMP_NUM_THREADS ?= 1
test: $(STAMP)
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmark: $(STAMP)
	$(BIN)/python Testing/Benchmarks/run.py

evidence: $(STAMP)
	$(BIN)/python Testing/Evidence/run.py

clean:
	rm -rf $(VENV) demo build *.egg-info
