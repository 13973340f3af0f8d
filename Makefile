# Everything runs in .venv, which `make install` creates; nothing else on the machine is touched.
PYTHON ?= python3
BIN := .venv/bin
DEBIAN := jq nginx-light pgbouncer prometheus sqlite3 systemd
MARKS := .venv/.installed

.PHONY: install debian demo test lint dictionary bench bench-scale torture crash clean audit

install: $(MARKS)

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

# Programs that some tests run and pip does not install; needs root. Elsewhere than in CI those tests are skipped
# without them.
debian:
	apt-get update --quiet --quiet
	DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends $(DEBIAN)

# The whole path of a message on this machine, without Bandwidth.
demo: install
	@$(BIN)/receiver demo

# All tests except the long runs below. For the rules alone, in seconds: .venv/bin/pytest tests/unit.
test: $(MARKS)-test
	$(BIN)/pytest --numprocesses 2

lint: $(MARKS)-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Writes migrations/data-dictionary.md from the comments of a migrated PostgreSQL.
dictionary: $(MARKS)-test
	$(BIN)/python -m migrations.dictionary

# Asks a service for known vulnerabilities, so it needs the network and is not part of CI. Strict, because otherwise a
# package that cannot be looked up counts as safe.
audit: $(MARKS)-audit
	@mkdir -p build
	$(BIN)/pip freeze --quiet --exclude-editable > build/installed.txt
	$(BIN)/pip-audit --strict --disable-pip --no-deps --progress-spinner off --requirement build/installed.txt

# Measures speed; not part of `make test`, because the figures are those of an idle machine. See tests/benchmarks.
bench: $(MARKS)-bench
	$(BIN)/python -m tests.benchmarks.bench
	$(BIN)/python -m tests.benchmarks.sending

bench-scale: $(MARKS)-bench
	$(BIN)/python -m tests.benchmarks.scale

# Long hostile runs, of minutes to hours; not part of `make test`. See tests/soak.
torture: $(MARKS)-test
	$(BIN)/python -m tests.soak.torture.torture

crash: $(MARKS)-test
	$(BIN)/python -m tests.soak.crash.crash

clean:
	rm -rf .venv build *.egg-info
