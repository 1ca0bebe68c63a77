# make run: set up and start everything on this machine.   make test: set up and run the checks.
.PHONY: run test test-all lint bench bpf docs clean
SHELL := /bin/sh

run:
	@scripts/setup.sh run
	@exec .venv/bin/shieldwall run

test: lint
	.venv/bin/python -m pytest

test-all: lint
	.venv/bin/python -m pytest -m "" --timeout=600

lint:
	@scripts/setup.sh dev
	@scripts/test_tools.sh
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

bench:
	@scripts/setup.sh dev
	.venv/bin/python -m benchmarks

bpf:
	scripts/build_bpf.sh

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache build
