# Everything runs in .venv, which is made at the first call and again when the lock changes.
#   make demo    phantom scans -> patches -> k-fold training -> report, about 5 minutes
#   make test    the tests
#   make test-all    those, too, that take long: every model on every backend
#   make notebooks    executes the notebooks into build/notebooks, some minutes
#   make check   format, lint, types, import layers, dead code, links, licences
#   make docs    the documentation site, into build/site, with the executed notebooks
#   make package wheel and sdist, installed in a fresh environment outside, and tried there
#   make lock    resolve the lock files anew (needs uv)

# The first Python that is there and new enough; override with make PYTHON=...
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
UV ?= uv
# Where pip finds builds of torch without CUDA, as PyTorch's own instructions name it; on Linux the
# default build brings gigabytes of GPU libraries: make demo TORCH_INDEX=...
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# What the lock of this Python names, into the environment of the given interpreter.
define install
	$(if $(TORCH_INDEX),$(1) -m pip install --index-url $(TORCH_INDEX) torch==2.13.0)
	$(1) -m pip install -r locks/py$$($(1) -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt
endef
# TensorFlow's start-up lines say nothing to a user.
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: demo test test-all notebooks check docs format package lock clean

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
	$(BIN)/vulture
	$(BIN)/md-dead-link-check
	$(BIN)/pip-licenses > /dev/null

# An environment of its own, the wheel, and a folder that is not the repository.
package: $(STAMP)
	rm -rf build/package
	$(BIN)/python -m build --outdir build/package
	$(PYTHON) -m venv build/package/venv
	$(call install,build/package/venv/bin/python)
	build/package/venv/bin/python -m pip install --no-deps build/package/*.whl
	cd $$(mktemp -d) && $(CURDIR)/build/package/venv/bin/nodulenet demo --quick && \
	  $(CURDIR)/build/package/venv/bin/nodulenet doctor

# Read it from the folder: build/site/index.html. It asks for nothing from a network.
docs: $(STAMP)
	@ls build/notebooks/*.ipynb >/dev/null 2>&1 || $(MAKE) notebooks
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(STAMP): pyproject.toml $(wildcard locks/*.txt)
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found; install one or give PYTHON=..."; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(call install,$(BIN)/python)
	$(BIN)/python -m pip install --no-build-isolation --no-deps -e .
	@touch $(STAMP)

# CUDA's packages are left out of the locks: which of them are needed depends on the torch build.
lock:
	for v in 3.11 3.12 3.13; do \
	  $(UV) pip compile pyproject.toml --all-extras --universal --python-version $$v --no-annotate \
	    --no-header --no-emit-index-url --no-emit-find-links --upgrade -q -o locks/py$$v.txt && \
	  sed -i -E '/^(nvidia-|cuda-|triton)/d' locks/py$$v.txt && \
	  $(UV) pip compile --group pyproject.toml:eval --constraints locks/py$$v.txt --universal \
	    --python-version $$v --no-annotate --no-header --no-emit-index-url --no-emit-find-links \
	    --upgrade -q -o locks/eval-py$$v.txt || exit 1; \
	done

clean:
	rm -rf $(VENV) build runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
