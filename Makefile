# The two commands of the README are `make demo` and `make test`; each does its own set-up.
.DEFAULT_GOAL := help
SHELL := /bin/sh
ARGS ?=

DEMO := .venv-demo
DEV := .venv
SOURCES := sidecar trainer tests bench

.PHONY: help demo test check bench clean

help: ## Show this help
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

demo: $(DEMO)/.ready ## See a shopper's own events re-rank a search (ARGS=--once ends by itself)
	@exec $(DEMO)/bin/sidecar demo $(ARGS)

test: $(DEV)/.ready ## Run every check and test (ARGS="-k name" selects)
	@$(MAKE) --no-print-directory check
	$(DEV)/bin/python -m pytest $(ARGS)

check: $(DEV)/.ready ## Format, lint and types
	$(DEV)/bin/ruff format --check --quiet $(SOURCES)
	$(DEV)/bin/ruff check --quiet $(SOURCES)
	$(DEV)/bin/mypy

bench: $(DEV)/.bench ## Run the benchmarks (ARGS=bench/tower.py runs one)
	@for one in $(or $(ARGS),$(wildcard bench/*.py)); do echo "== $$one"; $(DEV)/bin/python $$one || exit 1; done

# The demo's environment is the serving one, plus the embedded servers and the data: no torch.
$(DEMO)/.ready: setup.cfg pyproject.toml constraints.txt scripts/environment.sh
	@scripts/environment.sh $(DEMO) -e '.[demo]'
	@touch $@

# The other official clients stand beside it, for the tests of the proxy.
$(DEV)/.ready: setup.cfg pyproject.toml constraints.txt scripts/environment.sh
	@scripts/environment.sh $(DEV) -e '.[dev,trainer]'
	@$(DEV)/bin/python tests/search/clients/install.py
	@touch $@

# The peers that benchmarks compare with.
$(DEV)/.bench: $(DEV)/.ready
	@scripts/environment.sh $(DEV) -e '.[dev,trainer,bench]'
	@touch $@

clean: ## Remove environments and the demo's data
	rm -rf $(DEMO) $(DEV) .sidecar build *.egg-info
