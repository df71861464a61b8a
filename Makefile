# Needs Python 3.11 or later, git and make; everything else goes into .venv. `make help` lists the targets.

PYTHON ?= python3
ARGS ?=
PORT ?= 5001
BENCHMARK ?= throughput

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# A lock is installed again only when it is newer than its stamp. The dev lock holds all of the default one.
MADE := $(VENV)/.made
DEFAULT := $(VENV)/.default
DEV := $(VENV)/.dev
LOCK = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-header $(ARGS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help train test ui serve benchmark chaos format lock clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

train: $(DEFAULT) ## Train on the bundled corpus; ARGS="--data FOLDER" and the like are passed on.
	$(BIN)/python train.py $(ARGS)

test: $(DEV) ## Run everything that CI runs: ruff, mypy, pytest with branch coverage.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest --cov --numprocesses=auto --dist=loadfile $(ARGS)

ui: $(DEFAULT) ## Open MLflow's UI on the runs so far.
	$(BIN)/mlflow ui --backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db} --host 127.0.0.1 $(ARGS)

serve: $(DEFAULT) ## Serve the champion, or else the newest model, over HTTP; PORT=5001, and ARGS="--name NAME" and the like are passed on.
	$(BIN)/python -m pipeline.tracking --port $(PORT) $(ARGS)

benchmark: $(DEFAULT) ## Measure (see benchmarks/README.md); BENCHMARK=scoring measures whole jobs.
	$(BIN)/python benchmarks/$(BENCHMARK).py $(ARGS)

chaos: $(DEV) ## Kill a job over 300,000 posts at 20 random moments; it must end as if undisturbed.
	CHAOS_POSTS=300000 CHAOS_KILLS=20 $(BIN)/pytest tests/test_chaos.py $(ARGS)

format: $(DEV) ## Format the code and mend what ruff can.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: $(MADE) ## Bring the locks up to date with pyproject.toml; ARGS=--upgrade takes newer releases too.
	$(PIP) install uv
	$(LOCK) --output-file requirements/default.txt
	$(LOCK) --extra spark --constraint requirements/default.txt --output-file requirements/spark.txt
	$(LOCK) --extra dev --constraint requirements/default.txt --output-file requirements/dev.txt

clean: ## Remove .venv, caches and coverage data; runs, scores and the MLflow store stay.
	rm -rf $(VENV) .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "error: Python 3.11 or later is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1); name another: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(DEFAULT): requirements/default.txt | $(MADE)
	@echo "installing $< into $(VENV): some minutes the first time"
	@$(PIP) install --require-hashes -r $<
	@touch $@

$(DEV): requirements/dev.txt | $(MADE)
	@echo "installing $< into $(VENV): some minutes the first time"
	@$(PIP) install --require-hashes -r $<
	@touch $(DEFAULT) $@
