# All commands for people and CI. `make help` lists them. Needs only make and Python 3.11 or newer.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PYTHONS := $(PYTHON) python3.13 python3.12 python3.11 python3
# The stamp names the folder it was made in, so a copied or moved checkout is set up again.
STAMP := $(VENV)/.installed-$(firstword $(shell pwd | cksum))
MODELS := local/smollm2-135m local/gemma-3-270m local/qwen2.5-coder-0.5b
SPACE ?= search_spaces/support_triage.yaml
# A file is run by one process, in order, so that what its tests share is made once.
PYTEST_ARGS ?= -n auto --dist loadfile --no-loadscope-reorder

.PHONY: help install models optimize story quick test lint types peers docs lock schema clean

help: ## Show this list.
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

install: $(STAMP) ## Set up .venv with the pinned packages and this project.

$(STAMP): requirements.lock pyproject.toml tools/make-venv
	@tools/make-venv $(VENV) $(PYTHONS)
	@echo "Installing $$(grep -c '==' requirements.lock) pinned packages into $(VENV) (a minute or two) ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.installed-*
	@touch $@
	@echo "Ready: $(BIN)/offramp --help"

models: install ## Fetch the embedded models, once, and check their sha256.
	$(BIN)/offramp models pull $(MODELS)

optimize: models ## Run the example job: SPACE=search_spaces/support_triage.yaml.
	$(BIN)/offramp optimize $(SPACE)

story: models ## Promote, retire, migrate, promote again, roll back: the full story on real models.
	@OFFRAMP=$(abspath $(BIN)/offramp) PYTHON=$(abspath $(BIN)/python) scripts/story.sh

quick: install ## Run the tests that take no model, browser or database server and little time, and the linter.
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -m "not (slow or local_model or browser or postgres)" $(PYTEST_ARGS)

test: lint types peers ## Lint, check types, then run all tests. PYTEST_ARGS replaces how pytest is run.
	$(BIN)/python -m pytest $(PYTEST_ARGS)

peers: install ## Install MLflow, Langfuse, W&B, promptfoo and axe-core into build/peers, to test with; once.
	@tools/make-peers build/peers $(PYTHONS)

docs: ## Build the pages of docs/ as a site, build/site/index.html.
	@tools/make-venv build/site-venv $(PYTHONS)
	@build/site-venv/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r tools/site/requirements.lock
	@NO_MKDOCS_2_WARNING=1 build/site-venv/bin/mkdocs build --strict --quiet
	@echo "Ready: build/site/index.html"

lint: install ## Check style and format.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install ## Check types strictly.
	$(BIN)/mypy

lock: pyproject.toml tools/make-venv ## Update requirements.lock to the newest versions that fit pyproject.toml.
	@tools/make-venv build/lock-venv $(PYTHONS)
	@build/lock-venv/bin/python -m pip install -qq --disable-pip-version-check uv
	@tools/write-lock build/lock-venv/bin/uv requirements.lock
	@build/lock-venv/bin/uv --no-config pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --upgrade \
		--output-file tools/peers/requirements.lock tools/peers/requirements.in
	@build/lock-venv/bin/uv --no-config pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --upgrade \
		--output-file tools/site/requirements.lock tools/site/requirements.in

schema: install ## Write the JSON schemas of space, lifecycle and promotion files, for editors.
	@mkdir -p schemas
	$(BIN)/offramp space schema > schemas/.new && mv schemas/.new schemas/space.schema.json
	$(BIN)/python -c 'from offramp.models.retirement.notices import schema_text; print(schema_text(), end="")' > schemas/.new && mv schemas/.new schemas/lifecycle.schema.json
	$(BIN)/python -m offramp.promote.promotion_schema > schemas/.new && mv schemas/.new schemas/promotion.schema.json

clean: ## Remove build output; keep results, models and studies.
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
