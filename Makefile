# SPDX-License-Identifier: Apache-2.0
# make help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LISTEN ?= 127.0.0.1:10917
RENDER ?= auto
# The tool that builds the container image.
BUILDER ?= $(firstword $(foreach tool,podman docker buildah,$(if $(shell command -v $(tool)),$(tool))))
# Of `make fuzz`: minutes of each target, and where what they find is kept.
MINUTES ?= 5
CORPUS ?= $(HOME)/.cache/hvoscope/fuzz
# Markers of tests with a separate target.
SEPARATE := kernel or host or packaging or dashboards or soak

.PHONY: help run demo dashboards test coverage lint soak deb rpm image test-dashboards test-host \
  test-packaging test-kernel mutants fuzz bench bench-quick clean

help:
	@echo "make run          serve a simulated kernel on $(LISTEN) (override: LISTEN=HOST:PORT)"
	@echo "make demo         run four simulated machines, a real Prometheus, and the dashboards"
	@echo "make dashboards   generate dashboards/json/ and lint it"
	@echo "make test         run the tests that need no root and no browser"
	@echo "make coverage     run the same tests with branch coverage (takes twice as long)"
	@echo "make mutants      put faults into simulator, reducers and checks, one at a time (hours);"
	@echo "                  ONLY='sim_backend.kernel.release' for some of them"
	@echo "make fuzz         fuzz each parser of outside input for MINUTES=5, led by coverage;"
	@echo "                  ONLY='http btf' for some of them"
	@echo "make lint         run ruff, mypy --strict, import rules, clang on the BPF program (needs clang)"
	@echo "make soak         run load and hostile clients, and tens of thousands of invalid inputs (minutes)"
	@echo "make test-dashboards  test queries on a real Prometheus, rendering in Chromium (minutes)"
	@echo "make test-host    test with huge pages of this machine, then restore its pools (needs root)"
	@echo "make deb          build the Debian package in dist/ (names missing build tools)"
	@echo "make rpm          build the RPM package in dist/ (names missing build tools)"
	@echo "make image        build the container image hvoscope (needs podman, docker or buildah);"
	@echo "                  BCC=1: hvoscope-bcc, with BCC and LLVM"
	@echo "make test-packaging  test the packages under systemd in a container, and the image (needs root)"
	@echo "make bench        run all benchmarks, write BENCHMARKS.md (an hour, needs root)"
	@echo "make bench-quick  run short benchmarks, fail if a ratio of instructions doubled (3 minutes)"
	@echo "make test-kernel  test on real kernels in QEMU (needs root)"

run: $(VENV)/.run
	@echo "Serving a simulated kernel: http://$(LISTEN)/  (Ctrl-C to stop)"
	@$(BIN)/hvoscope serve --backend sim --web.listen-address $(LISTEN)

demo: $(VENV)/.dev
	@$(BIN)/python -m dashboards.demo --render $(RENDER)

dashboards: $(VENV)/.dev
	$(BIN)/python -m dashboards
	$(BIN)/python -m dashboards.lint

test: $(VENV)/.dev
	$(BIN)/pytest -q -n auto --timeout 300 -m "not ($(SEPARATE))"

coverage: $(VENV)/.dev
	$(BIN)/pytest -q -n auto --timeout 300 -m "not ($(SEPARATE))" --cov --cov-report=term

mutants: $(VENV)/.dev
	$(BIN)/python -m tests.mutants $(foreach name,$(ONLY),'$(name)')

fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz.all --minutes $(MINUTES) --corpus $(CORPUS) $(ONLY)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy packaging/*.py
	$(BIN)/lint-imports
	$(BIN)/python -m tests.probes.bpf.userspace

soak: $(VENV)/.dev
	$(BIN)/pytest -q -n 2 --timeout 600 -rP -m soak tests/soak

test-dashboards: $(VENV)/.dev
	$(BIN)/pytest -v --timeout 1200 -m dashboards tests/dashboards

test-host: $(VENV)/.dev
	$(BIN)/pytest -v --timeout 600 -m host tests/host

deb: $(VENV)/.dev
	$(BIN)/python packaging/build_deb.py

image:
	@[ -n "$(BUILDER)" ] || { echo "make image needs podman, docker or buildah: apt install buildah" >&2; exit 1; }
	$(BUILDER) build -t hvoscope$(if $(BCC),-bcc) -f packaging/container/Containerfile \
	  $(if $(BCC),--build-arg BCC=1) $(if $(BASE),--build-arg BASE=$(BASE)) .

rpm: $(VENV)/.dev
	$(BIN)/python packaging/build_rpm.py

test-packaging: $(VENV)/.dev
	$(BIN)/pytest -v --timeout 600 -m packaging tests/packaging

test-kernel: $(VENV)/.dev
	$(BIN)/pytest -v -n 2 --dist loadscope --durations 20 -m kernel tests/kernel

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench $(foreach name,$(ONLY),--only $(name))

bench-quick: $(VENV)/.dev
	$(BIN)/python -m tests.bench --quick $(foreach name,$(ONLY),--only $(name)) $(foreach name,$(BUT),--but $(name))

clean:
	rm -rf $(VENV) build dist mutants *.egg-info

# Debian packages venv separately from Python: as root install it, otherwise report the command.
$(BIN)/python:
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qqy python3-venv \
	    && $(PYTHON) -m venv $(VENV); } \
	  || { rm -rf $(VENV); echo "no usable $(PYTHON) -m venv: apt install python3-venv" >&2; exit 1; }

$(VENV)/.run: pyproject.toml | $(BIN)/python
	@echo "Installing hvoscope into $(VENV) ..."
	@$(BIN)/pip install -q --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing hvoscope and its test tools into $(VENV) ..."
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.run
