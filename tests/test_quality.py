"""How good the default model is if it is trained on the starter corpus alone, and that the documentation says so."""

import io
import re
from pathlib import Path

import pytest
from conftest import training
from rich.console import Console

from models import Classifier
from models.text import normalise
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus
from pipeline.evaluation import evaluate_split
from pipeline.report import metrics_tables

ROOT = Path(__file__).resolve().parent.parent
METOO = ROOT.parent / "shared/data/metoo2017"
CONFIG = load_config(sources=[str(ROOT / "data/starter")])


@pytest.fixture(scope="module")
def starter():
    return load_corpus(CONFIG.data, CONFIG.labels, seed=CONFIG.seed)


@pytest.fixture(scope="module")
def model(starter):
    tokens = Classifier.from_config(CONFIG.of_model()).tokenizer([normalise(text) for text in starter.splits["train"]["text"]])
    targets, auxiliary = starter.targets("train", starter.labels), starter.targets("train", starter.auxiliary)
    return Classifier.from_config(CONFIG.of_model()).fit_tokens(training(tokens, targets, starter.groups("train"), auxiliary))


def test_starter_model_beats_the_baselines_on_its_own_test_split(model, starter):
    metrics = evaluate_split(model, starter, "test").metrics
    assert metrics.macro_f1 > 0.68
    assert min(values.f1 for values in metrics.labels.values()) > 0.58
    assert metrics.exact_match > metrics.baselines.all_zero.exact_match + 0.2


@pytest.mark.skipif(not METOO.exists(), reason="../shared/data/metoo2017 is not here")
def test_starter_model_reads_real_posts(model):
    config = load_config(sources=[str(METOO)])
    corpus = load_corpus(config.data, config.labels, seed=0)
    assert evaluate_split(model, corpus, "test").metrics.macro_f1 >= 0.58


def test_docs_show_the_table_that_training_prints(model, starter):
    metrics = evaluate_split(model, starter, "validation").metrics
    console = Console(width=140, file=io.StringIO())
    console.print(*metrics_tables(metrics, ""))
    printed = re.findall(r"│ (\w+) +│ +(\d\.\d+) │ +(\d\.\d+) │ +(\d\.\d+) │", console.file.getvalue())
    shown = re.findall(r"│ (\w+) +│ +(\d\.\d+) │ +(\d\.\d+) │ +(\d\.\d+) │", (ROOT / "docs/how_to/train.md").read_text(encoding="utf-8"))
    assert len(shown) >= len(starter.labels)
    assert [row[0] for row in shown] == [row[0] for row in printed]
    for said, was in zip(shown, printed, strict=True):
        # On another processor, rounding may move one or two posts across a threshold, but not more.
        assert [float(number) for number in said[1:]] == pytest.approx([float(number) for number in was[1:]], abs=0.04)
