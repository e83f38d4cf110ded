# SPDX-License-Identifier: Apache-2.0
# make help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LISTEN ?= 127.0.0.1:10917
RENDER ?= auto
# Markers of tests that have a target of their own.
ELSEWHERE := kernel or host or packaging or dashboards or soak

.PHONY: help run demo dashboards test coverage lint soak deb test-dashboards test-host test-packaging \
  test-kernel bench bench-quick clean

help:
	@echo "make run          serve the simulator on $(LISTEN) (LISTEN=HOST:PORT for another)"
	@echo "make demo         four simulated machines, a real Prometheus, and the dashboards"
	@echo "make dashboards   write dashboards/json/ anew, and check it"
	@echo "make test         every test that needs no root and no browser"
	@echo "make coverage     the same, in twice the time, with branch coverage"
	@echo "make lint         ruff, mypy --strict, import rules, clang over the BPF program (needs clang)"
	@echo "make soak         two minutes of load and hostile clients, 100,000 bad inputs"
	@echo "make test-dashboards  queries on a real Prometheus, pictures in Chromium (some minutes)"
	@echo "make test-host    huge pages of this machine, put back as they were (needs root)"
	@echo "make deb          the Debian package, in dist/ (needs debhelper and dh-python)"
	@echo "make test-packaging  that package under a systemd in a container (needs root)"
	@echo "make bench        measure everything, write BENCHMARKS.md (20 minutes, needs root)"
	@echo "make bench-quick  measure a little, and fail where a ratio got twice as bad (3 minutes)"
	@echo "make test-kernel  boot real kernels in QEMU and count there (needs root)"

run: $(VENV)/.run
	@echo "Serving a simulated kernel: http://$(LISTEN)/  (Ctrl-C ends it)"
	@$(BIN)/hvoscope serve --backend sim --web.listen-address $(LISTEN)

demo: $(VENV)/.dev
	@$(BIN)/python -m dashboards.demo --render $(RENDER)

dashboards: $(VENV)/.dev
	$(BIN)/python -m dashboards
	$(BIN)/python -m dashboards.lint

test: $(VENV)/.dev
	$(BIN)/pytest -q -n auto --timeout 300 -m "not ($(ELSEWHERE))"

coverage: $(VENV)/.dev
	$(BIN)/pytest -q -n auto --timeout 300 -m "not ($(ELSEWHERE))" --cov --cov-report=term

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

test-packaging: $(VENV)/.dev
	$(BIN)/pytest -v --timeout 600 -m packaging tests/packaging

test-kernel: $(VENV)/.dev
	$(BIN)/pytest -v -n 2 --dist loadfile --durations 20 -m kernel tests/kernel

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench $(foreach name,$(ONLY),--only $(name))

bench-quick: $(VENV)/.dev
	$(BIN)/python -m tests.bench --quick $(foreach name,$(ONLY),--only $(name))

clean:
	rm -rf $(VENV) build dist *.egg-info

# Debian ships venv apart from Python; say so, or as root put it right.
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
