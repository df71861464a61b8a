"""Each example in a docstring is run, and gives the output that it shows."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import models
import pipeline

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
EXTRAS = {"torch", "transformers", "pyspark"}  # packages that some modules need, but that not everybody installs


MUST = [  # what people call first
    *("models.classifier", "models.explanation", "models.targets", "models.text"),
    *("pipeline.config_files", "pipeline.corpora.loading", "pipeline.metrics"),
    *("pipeline.scoring.job", "pipeline.scoring.options", "pipeline.scoring.tables"),
]


def modules() -> list[str]:
    """Return all our modules."""
    return sorted(found.name for package in (models, pipeline) for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."))


def examples(name: str) -> list[doctest.DocTest]:
    """Return the docstrings of a module that contain examples."""
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        pytest.skip(f"needs {error.name}")
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("name", modules())
def test_examples_give_what_they_say(name, monkeypatch):
    if not (tests := examples(name)):
        pytest.skip("has no example")
    monkeypatch.chdir(ROOT)
    runner, said = doctest.DocTestRunner(optionflags=OPTIONS), list[str]()
    for test in tests:
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("name", MUST)
def test_what_people_call_first_has_examples(name):
    assert examples(name)
