# `make check` is what continuous integration runs; bin/test sets up .venv first.

PYTHON := $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
CHECKED := zbuild tests $(wildcard chaos)
PYTEST := $(PYTHON) -m pytest

.PHONY: check format format-check lint types projects tidy unit property sim escape integration chaos nightly clean

# In order of cost: what is cheap to find out fails first. What waits for no clock runs two at a time.
check: format-check lint
	$(MAKE) --no-print-directory -j2 --output-sync=target types tidy
	$(MAKE) --no-print-directory -j2 --output-sync=target unit property escape
	$(MAKE) --no-print-directory sim integration

format:
	$(PYTHON) -m ruff format $(CHECKED)
	$(PYTHON) -m ruff check --fix $(CHECKED)

format-check:
	$(PYTHON) -m ruff format --check $(CHECKED)

lint:
	$(PYTHON) -m ruff check $(CHECKED)

types:
	$(PYTHON) -m mypy --strict $(CHECKED)

tidy:
	$(PYTEST) tests/test_tidy.py

unit:
	$(PYTEST) tests/unit

property:
	$(PYTEST) tests/property

sim:
	$(PYTEST) tests/sim

# Every known way out of a sandbox, as root and as an ordinary user, with and without one; and trees that lie.
escape:
	$(PYTEST) tests/escape tests/malicious

# A registry that cannot be reached is reported here; the tests that need it are then skipped, or fail in CI.
projects:
	-$(PYTHON) -m tests.projects

# Most of these tests wait. A file is one process's: what its tests share is made once.
integration: projects
	$(PYTEST) tests/integration -n 2 --dist loadfile

# Real farms, broken on purpose. The bound is for machines with other things to do: what was not begun is named.
chaos: projects
	$(PYTHON) -m chaos all --quick --within 240

# Hours. Ctrl-C ends either part early; each names what it has not run.
nightly: projects
	$(PYTHON) -m tests.sim --seeds 20000 --jobs 2
	$(PYTHON) -m chaos all --full --report

clean:
	rm -rf build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find zbuild tests -name __pycache__ -prune -exec rm -rf {} +
