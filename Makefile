# Everything runs in .venv, which `make install` creates; nothing else on the machine is touched.
PYTHON ?= python3
BIN := .venv/bin
DEBIAN := debootstrap jq nginx-light pgbouncer podman prometheus runc sqlite3 systemd
MARKS := .venv/.installed

.PHONY: help install debian demo format lint check test outside soak torture crash dictionary settings bench bench-docs bench-scale bench-walks clean audit

# A target's help is what follows ## in its line. A list that is piped or redirected has no colours.
help:  ## Print this list of targets
	@if [ -t 1 ] && [ -z "$$NO_COLOR" ]; then name='\033[36m' end='\033[0m'; fi; \
	sed -n 's/^\([a-z][a-z-]*\):.*  ## /\1 /p' $(MAKEFILE_LIST) | while read -r target text; do \
		printf "$$name%-13s$$end%s\n" "$$target" "$$text"; \
	done

install: $(MARKS)  ## Install the program in .venv

$(MARKS): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 install")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(MARKS)-test: $(MARKS)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(MARKS)-lint: $(MARKS)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[lint]'
	@touch $@

$(MARKS)-audit: $(MARKS)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[audit]'
	@touch $@

$(MARKS)-bench: $(MARKS)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

# Programs that some tests run and pip does not install. Elsewhere than in CI those tests are skipped without them.
debian:  ## Install the programs that some tests need (Debian, as root)
	apt-get update --quiet --quiet
	DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends $(DEBIAN)

demo: install  ## Show the whole path of a message on this machine, without Bandwidth
	@$(BIN)/receiver demo

format: $(MARKS)-lint  ## Sort the imports and format the code
	$(BIN)/ruff check --quiet --select I --fix .
	$(BIN)/ruff format .

lint: $(MARKS)-lint  ## Check style, types and which package imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pre-commit validate-config

check: lint $(MARKS)-test  ## Lint, and test the rules alone (tests/unit): what to run after every change
	$(BIN)/pytest --numprocesses 2 tests/unit

# setup.cfg deselects the tests that are marked `outside` or `soak`. Tests often wait, so three processes suit two cores.
test: $(MARKS)-test  ## Run all tests but those of `make outside` and `make soak`
	$(BIN)/pytest --numprocesses 3 --dist worksteal

outside: $(MARKS)-test  ## Test with other people's programs, and as installed in an empty environment
	$(BIN)/pytest --numprocesses 2 --dist loadfile -m outside

soak: $(MARKS)-test  ## Run what takes minutes: long hostile tests, torture and crash
	$(BIN)/pytest --numprocesses 2 --dist worksteal -m soak
	@$(MAKE) --no-print-directory torture crash

torture: $(MARKS)-test  ## Break servers and databases under a stream of events: nothing is lost
	$(BIN)/python -m tests.soak.torture.torture

crash: $(MARKS)-test  ## Kill senders between any two steps: nothing is sent twice
	$(BIN)/python -m tests.soak.crash.crash

dictionary: $(MARKS)-test  ## Write migrations/data-dictionary.md from the comments of a migrated PostgreSQL
	$(BIN)/python -m migrations.dictionary

settings: $(MARKS)  ## Write docs/settings.md from config/example.env and the code
	$(BIN)/python -m docs.settings

# Speed is measured apart from the tests, because the figures are those of an idle machine. See tests/benchmarks.
bench: $(MARKS)-bench  ## Measure receiving and sending, side by side with other programs
	$(BIN)/python -m tests.benchmarks.bench
	$(BIN)/python -m tests.benchmarks.sending

bench-docs: $(MARKS)-bench  ## Measure, and write the figures into docs/speed.md (BASE=REV: beside that revision)
	$(BIN)/python -m tests.benchmarks.bench $(if $(BASE),--base $(BASE))
	$(BIN)/python -m tests.benchmarks.sending
	$(BIN)/python -m tests.benchmarks.document

bench-scale: $(MARKS)-bench  ## Measure again with millions of events in the database
	$(BIN)/python -m tests.benchmarks.scale

bench-walks: $(MARKS)-test  ## Count the files and functions that an event and a message cross
	$(BIN)/python -m tests.benchmarks.walks

# Asks a service for known vulnerabilities, so it needs the network and is not part of CI. Strict, because otherwise a
# package that cannot be looked up counts as safe.
audit: $(MARKS)-audit  ## Look up known vulnerabilities of the installed packages (needs the network)
	@mkdir -p build
	$(BIN)/pip freeze --quiet --exclude-editable > build/installed.txt
	$(BIN)/pip-audit --strict --disable-pip --no-deps --progress-spinner off --requirement build/installed.txt

clean:  ## Remove .venv and everything that was built
	rm -rf .venv build *.egg-info
