# Two commands for a new machine (Debian 12): `make demo` and `make test`. Each installs what is missing and is
# quick the second time. The rest is for those who work on unirun; `make help` lists it.

SHELL := /bin/bash
PYTHON_BIN := .venv/bin/python
export CCACHE_BASEDIR := $(CURDIR)
export UNIRUN_BINARY := $(CURDIR)/build/dev/bin/unirun

.PHONY: help setup program build demo test test-cpp test-python test-slow test-pythons contracts bench lint format docs sanitize nightly stress busy install-check wheel-check clean

help:  ## Says what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup:  ## Installs system packages and .venv, where missing
	@scripts/setup.sh

program: setup  ## Builds the program and the Python package into build/dev, and no tests
	@cmake --preset dev -DPython_EXECUTABLE=$(CURDIR)/$(PYTHON_BIN) $(if $(VERBOSE),,>/dev/null)
	@cmake --build --preset dev --target unirun unirun-guard _core
	@echo $(CURDIR)/build/dev/python > $$(echo .venv/lib/python3*/site-packages)/unirun-build.pth
	@cp python_bindings/unirun-compat.pth $$(echo .venv/lib/python3*/site-packages)/
	@ln -sf $(CURDIR)/build/dev/bin/unirun .venv/bin/unirun

build: program  ## Builds everything into build/dev
	@cmake --build --preset dev

demo: program  ## Runs the main job on real workers, some 20 seconds
	@$(PYTHON_BIN) examples/demo/run.py

test:  ## Every test but the long ones
	@UNIRUN_SETUP_TESTS=1 $(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory test-cpp test-python install-check

test-cpp:
	@$(PYTHON_BIN) tests/check_house.py --self-test
	@$(PYTHON_BIN) tests/check_house.py
	@ctest --preset dev

test-python:
	@$(PYTHON_BIN) -m pytest -m "not slow"

test-slow: build  ## Faults and storms against the real program that take their time
	@$(PYTHON_BIN) -m pytest -m slow

test-pythons: setup  ## The Python tests, and those of Python from C++, on the other interpreters of this machine
	@scripts/test_pythons.sh $(PYTHONS)

contracts: build  ## CPython's own suites on every interpreter and side; writes docs/contracts.md
	@$(PYTHON_BIN) tests/contracts/report.py $(INTERPRETERS)

install-check:
	@tests/install/check.sh build/dev

wheel-check: setup  ## Builds the wheel and tests it in an environment of its own: a whole compilation
	@$(PYTHON_BIN) -m pytest -q tests/install

bench:  ## Measures against rivals, on this machine
	@UNIRUN_SETUP_BENCH=1 scripts/setup.sh
	@cmake --preset release -DPython_EXECUTABLE=$(CURDIR)/$(PYTHON_BIN) >/dev/null
	@cmake --build --preset release
	@UNIRUN_BINARY=$(CURDIR)/build/release/bin/unirun PYTHONPATH=$(CURDIR)/build/release/python \
	  $(PYTHON_BIN) benchmarks/run.py

sanitize: setup  ## The C++ tests and the task pools under ASan with UBSan, and under TSan
	@cmake --preset asan -DPython_EXECUTABLE=$(CURDIR)/$(PYTHON_BIN) >/dev/null && cmake --build --preset asan && ctest --preset asan $(if $(ONLY),-R "$(ONLY)")
	@cmake --preset tsan -DPython_EXECUTABLE=$(CURDIR)/$(PYTHON_BIN) >/dev/null && cmake --build --preset tsan && ctest --preset tsan $(if $(ONLY),-R "$(ONLY)")
	@$(if $(ONLY),true,scripts/stress_pools.sh)

nightly: test-slow  ## 100,000 seeds of simulation, the slow faults, a million values to Python and back, a minute of wrong bytes, a minute of stress
	@build/dev/bin/simulation --seeds 100000 --steps 200
	@build/dev/bin/python_test --no-skip --test-case="A29: nightly*"
	@UNIRUN_FUZZ_SECONDS=60 build/dev/bin/python_state_test --no-skip --test-case="A29: nightly*"
	@build/dev/bin/python_stress --seconds 60

stress: build  ## Ten minutes of everything at once for Python from C++, then ten of wrong bytes; SECONDS=60 for less
	@build/dev/bin/python_stress --seconds $(or $(SECONDS),600)
	@UNIRUN_FUZZ_SECONDS=$(or $(SECONDS),600) build/dev/bin/python_state_test --no-skip --test-case="A29: nightly*"

busy: build  ## The tests beside a neighbour who takes the CPUs away for 60 % of the time, as root; SHARE=75 for more
	@$(PYTHON_BIN) tests/busy_neighbour.py $(or $(SHARE),60) ctest --preset dev -j6
	@$(PYTHON_BIN) tests/busy_neighbour.py $(or $(SHARE),60) $(PYTHON_BIN) -m pytest -m "not slow"

lint:  ## Formatters and linters, changing nothing
	@UNIRUN_SETUP_LINT=1 scripts/setup.sh
	@scripts/lint.sh

format:  ## Formats everything
	@scripts/lint.sh --fix

docs: build  ## Renders the command line and the schema into docs/
	@$(PYTHON_BIN) scripts/render_docs.py

clean:
	@rm -rf build .venv
