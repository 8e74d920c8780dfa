# Commands for contributors; `make` lists them.

PYTHON ?= python3
MODEL ?= demo:imagenet
BIN := .venv/bin
READY := .venv/.ready
PAGE := src/camlens/studio/static/index.html
PAGE_SOURCES := $(shell find studio-ui/src studio-ui/public studio-ui/index.html studio-ui/*.json studio-ui/*.ts studio-ui/*.js \
	-type f -not -name schema.ts 2>/dev/null)
ARGS ?=
WORKERS ?= 2

# Install from the package index only, not from local wheels.
unexport PIP_FIND_LINKS
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export NO_MKDOCS_2_WARNING := 1

# Tests, demo and benchmarks never download weights.
test fuzz demo bench bench-attributions bench-studio bench-audit bench-families bench-shortcuts: export CAMLENS_OFFLINE := 1

.DEFAULT_GOAL := help
.PHONY: help setup studio studio-ui browser demo test fuzz lint format docs bench bench-attributions bench-studio bench-audit bench-families bench-shortcuts wheel pins clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) $(PAGE) ## create .venv with all extras and build the studio page

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("camlens needs Python 3.11 or newer, but $(PYTHON) is " + sys.version.split()[0] + ": run make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@echo "[1/3] environment in .venv ($$($(PYTHON) --version))"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "[2/3] installing camlens with all extras: several gigabytes, a few minutes the first time"
	@env -u PIP_FIND_LINKS $(BIN)/python -m pip install --quiet --quiet --progress-bar off \
		--constraint constraints.txt --editable '.[dev]'
	@echo "[3/3] $$($(BIN)/python -c 'import camlens, torch; print("camlens", camlens.__version__, "with torch", torch.__version__)')"
	@touch $(READY)

studio-ui: $(PAGE)

$(PAGE): $(PAGE_SOURCES)
	@command -v npm > /dev/null || { echo "building the studio page needs Node 20 or newer: install node and npm"; exit 1; }
	@echo "building the studio page"
	@cd studio-ui && npm ci --silent --no-fund --no-audit && npm run --silent build > build.log 2>&1 || { cat build.log; exit 1; }
	@touch $(PAGE)

studio: setup ## open the studio with an ImageNet model and photographs
	@$(BIN)/camlens studio --model $(MODEL) $(ARGS)

demo: setup ## explain 20 photographs, and 4 with a model that cheats, in camlens-demo/
	@$(BIN)/camlens demo --output camlens-demo

test: setup browser ## run all tests; make test ARGS="-k gradcam" runs some
	@cd studio-ui && npm run --silent test
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

fuzz: setup ## explain random models until a check fails; make fuzz ARGS="--minutes 120"
	@$(BIN)/python -m tests.fuzz $(ARGS)

browser: ## install Chromium for the browser tests, as root on Debian
	@if command -v chromium > /dev/null || command -v google-chrome > /dev/null || test -n "$$CAMLENS_CHROMIUM"; then :; \
	elif test "$$(id -u)" = 0 && command -v apt-get > /dev/null; then \
		echo "installing Chromium for the browser tests"; \
		(apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium) > browser.log 2>&1 \
			|| { cat browser.log; exit 1; }; \
	else \
		echo "warning: Chromium is not installed, so the browser tests will be skipped (apt-get install chromium)"; \
	fi

lint: setup ## check style, types, imports and documentation
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@cd studio-ui && npm run --silent check
	@$(BIN)/mkdocs build --strict --quiet --site-dir site

format: setup ## format the code and apply automatic fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: setup ## build the documentation in site/
	@$(BIN)/mkdocs build --strict --quiet --site-dir site
	@echo "site/index.html"

bench: setup ## compare time and memory with the forward pass and other libraries
	@$(BIN)/python -m benchmarks $(ARGS)

bench-attributions: setup ## compare LIME and other methods with their libraries
	@$(BIN)/python -m benchmarks attributions $(ARGS)

bench-studio: setup browser ## time the studio in a browser
	@$(BIN)/python -m benchmarks.studio $(ARGS)

bench-families: setup ## check the default layer of many architectures
	@$(BIN)/python -m benchmarks.families $(ARGS)

bench-audit: setup browser ## time audits, and the pages over 100,000 rows
	@$(BIN)/python -m benchmarks.audit $(ARGS)
	@$(BIN)/python -m benchmarks.audit_pages

bench-shortcuts: setup ## count planted shortcuts that audits find, and false alarms; ARGS=quick takes 20 minutes
	@$(BIN)/python -m benchmarks.shortcuts $(ARGS)

wheel: setup ## build wheel and sdist in dist/
	@$(BIN)/python -m build --outdir dist . > dist.log 2>&1 || { cat dist.log; exit 1; }
	@rm -f dist.log; ls -1 dist

pins: ## write constraints.txt from the packages in .venv
	@$(BIN)/python -m pip list --format freeze --exclude-editable --exclude pip \
		| grep -v -i -E '^(nvidia|cuda)-' | sed 's/+.*//' | LC_ALL=C sort -f > constraints.new
	@mv constraints.new constraints.txt; wc -l constraints.txt

clean: ## remove everything built, except .venv
	@rm -rf build dist site camlens-demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
