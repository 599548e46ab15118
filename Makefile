# What a newcomer types:  make run  serves, make test  tests.  make help  lists the rest.
#
# Everything is installed into .venv, from locks with hashes, and built in build/.
# Nothing else is written but the caches of the tools.  Choose the interpreter with
# PYTHON=/path/to/python; by default it is the first on the path that will do.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.NOTPARALLEL:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV
export PIP_DISABLE_PIP_VERSION_CHECK := 1

CONFIG ?= etc/config.toml
TESTS ?= tests
ROWS ?=
SLOW ?= 1000
CANCELS ?= 1000
SOAK_S ?= 300
BENCH ?=
CHECK ?=

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --no-deps --only-binary :all: --require-hashes

# The real interpreter behind a shim or an active environment, for .venv is rebuilt from it.
fits := import sys, venv, ensurepip; sys.version_info >= (3, 11) or sys.exit(1)
find_python := for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c '$(fits); print(sys._base_executable)' 2>/dev/null && break; done
PYTHON ?= $(shell $(find_python))

.PHONY: run test check bench bench-peers check-bench faults fuzz-api gates gate-slow gate-cancel gate-soak gate-restart gate-starts lock wheel clean help
.DEFAULT_GOAL := help

run: $(VENV)/installed ## Serve CONFIG (etc/config.toml) on the built-in mock backend
	@echo "Serving $(CONFIG); Ctrl-C stops."
	@exec $(BIN)/twistd --nodaemon --pidfile= --umask=0077 lmgateway --config $(CONFIG)

test: $(VENV)/installed $(VENV)/test-tools build/programs ## Run the tests (TESTS=tests.wire for some)
	@mkdir -p build
	@$(BIN)/python -b -m tests $(TESTS)

check: $(VENV)/check-tools wheel ## Formatting, lint, types, floors, documentation, wheel
	@failed=; \
	judge() { echo "== $$*"; $(BIN)/"$$@" || failed="$$failed $$1"; }; \
	judge ruff format --check .; \
	judge ruff check .; \
	judge mypy; \
	judge lint-imports --no-logo; \
	judge pydoctor --html-output=build/docs; \
	if test -n "$$failed"; then echo "Failed:$$failed"; exit 1; fi; \
	echo "All checks passed."

bench: $(VENV)/installed ## Measure against nginx (BENCH="--quick" for a short look)
	@$(BIN)/python -m benchmarks.run $(BENCH)

bench-peers: $(VENV)/installed ## The same for litellm and Portkey, which it installs here
	@$(BIN)/python -m benchmarks.peers $(BENCH)

check-bench: $(VENV)/installed ## Count calls per request against budgets (CHECK="--record" anew)
	@$(BIN)/python -m benchmarks.check $(CHECK)

faults: $(VENV)/installed $(VENV)/test-tools ## Run the fault matrix three times (ROWS="7 8" for some)
	@mkdir -p build
	@$(BIN)/python -m tests.faults $(ROWS)

gates: $(VENV)/installed $(VENV)/test-tools ## Run all the gates below, with a summary
	@$(BIN)/python -m tests.gates all --clients $(SLOW) --cancels $(CANCELS) --seconds $(SOAK_S)

gate-slow: $(VENV)/installed $(VENV)/test-tools ## SLOW=1000 clients dawdle: all shut, others unhurt
	@$(BIN)/python -m tests.gates slow --clients $(SLOW)

gate-cancel: $(VENV)/installed $(VENV)/test-tools ## CANCELS=1000 clients leave: backends are left at once
	@$(BIN)/python -m tests.gates cancel --cancels $(CANCELS)

gate-soak: $(VENV)/installed $(VENV)/test-tools ## SOAK_S=300 seconds of load and faults: nothing may grow
	@$(BIN)/python -m tests.gates soak --seconds $(SOAK_S)

gate-restart: $(VENV)/installed $(VENV)/test-tools ## Restart and reload under load: nothing may fail
	@$(BIN)/python -m tests.gates restart

fuzz-api: $(VENV)/installed $(VENV)/fuzz-tools ## Call both ports as their OpenAPI documents say, and not so
	@$(BIN)/python -m tests.gates api

gate-starts: $(VENV)/installed $(VENV)/test-tools ## Start what cannot start: it must say so, and soon
	@$(BIN)/python -m tests.gates starts

wheel: build/wheel/built ## Build the wheel into build/wheel/

clean: ## Remove all that was installed and built here
	rm -rf $(VENV) build dist _trial_temp* .mypy_cache .ruff_cache .import_linter_cache
	rm -rf .hypothesis *.egg-info benchmarks/build twisted/plugins/dropin.cache
	find lmgateway tests benchmarks twisted -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 22

# What is installed -----------------------------------------------------------

# Rewritten only when its text changes: another interpreter, or a checkout that
# was moved (scripts in .venv name their interpreter by its full path).
build/interpreter: FORCE
	@mkdir -p build
	@test -n "$(PYTHON)" || { echo >&2 "make: no Python 3.11 or later with venv was found." \
		"On Debian: apt-get install python3-venv. Or say: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c '$(fits); print(sys.version, sys._base_executable, "$(CURDIR)")' > $@.new || { \
		echo >&2 "make: $(PYTHON) is no Python 3.11 or later with venv" \
		"(on Debian: apt-get install python3-venv)"; exit 1; }
	@cmp -s $@.new $@ || { cp $@.new $@; rm -rf $(VENV); }

# setuptools, which comes along with venv before 3.12, runs code at each start of
# Python by a .pth file.  So it goes; what builds the wheel lies beside the environment.
$(VENV)/runtime: requirements/runtime.txt requirements/build.txt build/interpreter
	@echo "Creating $(VENV) ..."
	@rm -rf $(VENV)
	@$$($(PYTHON) -c 'import sys; print(sys._base_executable)') -m venv $(VENV)
	@$(BIN)/python -m pip uninstall --quiet --yes setuptools
	@echo "Installing the locked dependencies ..."
	@$(PIP_INSTALL) --requirement requirements/runtime.txt
	@$(PIP_INSTALL) --target $(VENV)/builder --requirement requirements/build.txt
	@touch $@

$(VENV)/test-tools: requirements/test.txt $(VENV)/runtime
	@echo "Installing what the tests need ..."
	@$(PIP_INSTALL) --requirement requirements/test.txt
	@touch $@

$(VENV)/fuzz-tools: requirements/fuzz.txt $(VENV)/runtime
	@echo "Installing what the fuzzing of the API needs ..."
	@$(PIP_INSTALL) --requirement requirements/fuzz.txt
	@touch $@

$(VENV)/check-tools: requirements/check.txt $(VENV)/runtime
	@echo "Installing what the checks need ..."
	@$(PIP_INSTALL) --requirement requirements/check.txt
	@touch $@

# The plugin cache is filled here, so that no start of the gateway has to write it.
$(VENV)/installed: build/wheel/built $(VENV)/runtime
	@$(BIN)/python -m pip install --quiet --no-deps --no-index --force-reinstall build/wheel/*.whl
	@$(BIN)/python -I -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))'
	@touch $@

# Programs of Debian's that some tests drive: a browser.  Where they are missing and cannot be
# installed, those tests are skipped, and say so.
PROGRAMS := chromium chromium-driver

build/programs: Makefile
	@mkdir -p build
	@command -v chromium chromedriver >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null && echo "Installing $(PROGRAMS) ..." && \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes \
			--no-install-recommends $(PROGRAMS) >/dev/null; } || \
		echo "Not installed: $(PROGRAMS); the tests that need them are skipped."
	@touch $@

# What is built ---------------------------------------------------------------

# The names of all sources: a file that was removed must leave the wheel, too.
build/sources: FORCE
	@mkdir -p build
	@find lmgateway twisted -name __pycache__ -prune -o -name dropin.cache -o -type f -print \
		| LC_ALL=C sort > $@.new
	@cmp -s $@.new $@ || cp $@.new $@

SOURCES := $(shell find lmgateway twisted -name __pycache__ -prune -o -name dropin.cache -o -type f -print)
PROJECT := setup.cfg pyproject.toml LICENSE $(wildcard README.md)

# From a copy: setuptools would leave things in the checkout, and find them again.
build/wheel/built: $(SOURCES) $(PROJECT) build/sources $(VENV)/runtime
	@echo "Building lmgateway ..."
	@rm -rf build/stage build/wheel
	@mkdir -p build/stage build/wheel
	@cp $(PROJECT) build/stage/
	@tar -cf - -T build/sources | tar -xf - -C build/stage
	@PYTHONPATH=$(CURDIR)/$(VENV)/builder $(BIN)/python -m pip wheel --quiet --no-deps --no-index \
		--no-build-isolation --wheel-dir build/wheel ./build/stage
	@touch $@

# What is locked --------------------------------------------------------------

COMPILE = build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-annotate --custom-compile-command 'make lock' $(UPGRADE)

lock: build/interpreter ## Resolve requirements/*.in again (UPGRADE=--upgrade for newer ones)
	@test -x build/lock/bin/uv || { $(PYTHON) -m venv build/lock && \
		build/lock/bin/pip install --quiet --only-binary :all: uv; }
	$(COMPILE) -o requirements/build.txt requirements/build.in
	$(COMPILE) -o requirements/runtime.txt requirements/runtime.in
	$(COMPILE) -o requirements/test.txt -c requirements/runtime.txt requirements/test.in
	$(COMPILE) -o requirements/fuzz.txt -c requirements/test.txt requirements/fuzz.in
	$(COMPILE) -o requirements/check.txt -c requirements/test.txt requirements/check.in

FORCE:
