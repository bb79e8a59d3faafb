# Everything runs in .venv, which is made at the first call and again when the lock changes.
#   make demo    phantom scans -> patches -> k-fold training -> report, about 5 minutes
#   make test    the tests
#   make test-all    those, too, that take long: every model on every backend
#   make notebooks    executes the notebooks into build/notebooks, some minutes
#   make check   format, lint, types, import layers
#   make lock    resolve the lock files anew (needs uv)

# The first Python that is there and new enough; override with make PYTHON=...
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# TensorFlow's start-up lines say nothing to a user.
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: demo test test-all notebooks check format lock clean

demo: $(STAMP)
	$(BIN)/python -m pipelines.luna16 --config configs/demo.yaml

test: $(STAMP)
	$(BIN)/pytest -n 2 --dist loadgroup

test-all: $(STAMP)
	$(BIN)/pytest -n 2 --dist loadgroup -m ""

notebooks: $(STAMP)
	$(BIN)/python notebooks/execute.py

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(STAMP): pyproject.toml $(wildcard locks/*.txt)
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found; install one or give PYTHON=..."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -r locks/py$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt
	$(BIN)/python -m pip install --no-build-isolation --no-deps -e .
	@touch $(STAMP)

# CUDA's packages are left out of the locks: which of them are needed depends on the torch build.
lock:
	for v in 3.11 3.12 3.13; do \
	  $(UV) pip compile pyproject.toml --all-extras --universal --python-version $$v --no-annotate \
	    --no-header --no-emit-index-url --no-emit-find-links --upgrade -q -o locks/py$$v.txt && \
	  sed -i -E '/^(nvidia-|cuda-|triton)/d' locks/py$$v.txt || exit 1; \
	done

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
