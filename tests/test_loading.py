"""What a model directory says is checked before it is used: anybody can make one, with right digests."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from models import Classifier
from models.storage import read_description, read_model, write_model


@pytest.fixture
def parts(model, tmp_path):
    """The parts of a saved model, which `written` writes again with right digests."""
    model.save(tmp_path / "model")
    _, description, weights, vocabulary = read_model(tmp_path / "model")
    del description["files"], description["format_version"]
    return description, weights, vocabulary


def written(folder: Path, description, weights, vocabulary) -> Path:
    write_model(folder, description, weights, vocabulary)
    return folder


@pytest.mark.parametrize("name", ["weights.safetensors", "vocabulary.json"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_files_without_end_are_not_read(model, tmp_path, refused, name, kind):
    model.save(tmp_path / "model")
    (path := tmp_path / "model" / name).unlink()
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    with refused(f"{name}: cannot be read (is not a file)"):
        Classifier.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("coef", lambda array: array[:-1]),
        ("coef", lambda array: array[:, :-1]),
        ("coef", lambda array: array.T),
        ("coef", lambda array: array[None]),
        ("idf", lambda array: array[:5]),
        ("intercept", lambda array: array[:1]),
        ("intercept", lambda array: np.float32(0)),
        ("authors", lambda array: array[:-1]),
        ("authors", lambda array: array.astype(np.float32)),
        ("idf", lambda array: array.astype(np.int64)),
        ("coef", lambda array: np.where(array == array.max(), np.nan, array)),
        ("intercept", lambda array: array + np.float32(np.inf)),
        ("calibration.coef", lambda array: array[:-1]),
        ("calibration.coef", lambda array: array[:, :1]),
        ("calibration.low", lambda array: np.append(array, 0.0)),
        ("calibration.scale", lambda array: array * 0),
        ("calibration.predict_proba", lambda array: np.zeros(1)),
        ("calibration.mean", None),
        ("network.coef", lambda array: np.zeros((2, 2), np.float32)),
    ],
)
def test_weights_of_another_shape_type_or_value_are_refused_at_loading(parts, tmp_path, refused, name, change):
    description, weights, vocabulary = parts
    changed = {key: array for key, array in weights.items() if key != name}
    if change:
        changed[name] = np.asarray(change(weights.get(name)))
    with refused(tmp_path / "other", name, "train the model again"):
        Classifier.load(written(tmp_path / "other", description, changed, vocabulary))


def single(words: list[str]) -> str:
    """Return the last term that is a single word."""
    return next(word for word in reversed(words) if " " not in word)


@pytest.mark.parametrize(
    "change",
    [
        lambda words, characters: {"words": words[::-1], "characters": characters},
        lambda words, characters: {"words": [words[0], *words[:-1]], "characters": characters},
        lambda words, characters: {"words": [*words[:-1], 7], "characters": characters},
        lambda words, characters: {"words": words},
        lambda words, characters: {"words": dict.fromkeys(words), "characters": characters},
        lambda words, characters: [words, characters],
        lambda words, characters: {"words": words, "characters": [*characters[:-1], "zzzzzzzz"]},
        lambda words, characters: {"words": sorted([*words[1:], "not here"]), "characters": characters},
        lambda words, characters: {"words": sorted([*words[1:], " ".join([single(words)] * 3)]), "characters": characters},
        lambda words, characters: {"words": sorted([*words[1:], f"{single(words)}  {single(words)}"]), "characters": characters},
    ],
)
def test_a_vocabulary_of_another_form_is_refused_at_loading(parts, tmp_path, refused, change):
    description, weights, vocabulary = parts
    with refused(tmp_path / "other", "vocabulary", "train the model again"):
        Classifier.load(written(tmp_path / "other", description, weights, change(vocabulary["words"], vocabulary["characters"])))


@pytest.mark.parametrize("threshold", ["0.5", "high", None, True, float("nan"), float("inf"), [0.5], {"value": 0.5}])
@pytest.mark.parametrize("where", ["thresholds", "prior", "cautious"])
def test_thresholds_and_shares_that_are_no_numbers_are_refused_at_loading(parts, tmp_path, refused, where, threshold):
    description, weights, vocabulary = json.loads(json.dumps(parts[0])), *parts[1:]
    of = description["operating_points"]["cautious"]["thresholds"] if where == "cautious" else description[where]
    of["alpha"] = threshold
    folder = written(tmp_path / "other", description, weights, vocabulary)
    for read in (Classifier.load, read_description):
        with refused(folder / "model.json", f"{'thresholds' if where == 'cautious' else where}.alpha"):
            read(folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "vocabulary.json"])
def test_a_part_that_is_no_such_file_is_one_line_even_if_its_digest_is_right(parts, tmp_path, refused, monkeypatch, name):
    folder = written(tmp_path / "other", *parts)
    (folder / name).write_bytes(b"[" * 50_000)
    digests = {"weights.safetensors": None, "vocabulary.json": None}
    description = json.loads((folder / "model.json").read_text())
    monkeypatch.setattr("models.storage.read_description", lambda of: (description["digest"], description))
    import hashlib

    for each in digests:
        description["files"][each] = hashlib.sha256((folder / each).read_bytes()).hexdigest()
    with refused(folder, "damaged", "train the model again"):
        Classifier.load(folder)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """``installed("name", pipeline=True)`` installs a package that leaves a trace when it is imported, and returns the trace."""
    site = tmp_path / "site"

    def install(name: str, *, pipeline: bool) -> Path:
        (site / f"{name}-1.0.dist-info").mkdir(parents=True)
        (site / f"{name}-1.0.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        if pipeline:
            (site / f"{name}-1.0.dist-info" / "entry_points.txt").write_text(f"[spacy_models]\n{name} = {name}\n")
        trace = tmp_path / f"{name} was imported"
        load = "def load(**of):\n    import spacy\n    return spacy.blank('en')\n"
        (site / f"{name}.py").write_text(f"import pathlib\npathlib.Path({str(trace)!r}).touch()\n{load}")
        return trace

    monkeypatch.syspath_prepend(site)
    yield install
    for name in ("harmless_tool", "en_of_a_test"):
        sys.modules.pop(name, None)


def naming(parts, pipeline: str):
    description, weights, vocabulary = parts
    config = description["config"] | {"text": {"spacy_pipeline": pipeline, "attribute": "ORTH"}}
    return description | {"config": config}, weights, vocabulary


def test_a_model_that_names_an_installed_package_does_not_import_it(parts, tmp_path, refused, installed):
    trace = installed("harmless_tool", pipeline=False)
    folder = written(tmp_path / "other", *naming(parts, "harmless_tool"))
    with refused("'harmless_tool'", "not installed as a package of spaCy", "text.spacy_pipeline: blank"):
        Classifier.load(folder)
    with refused("'harmless_tool'", "not installed as a package of spaCy"):
        Classifier(spacy_pipeline="harmless_tool").fit(["a", "b"] * 10, [["x"], []] * 10)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["numpy", "pip", "blank:en", "../pipeline", "/tmp", "", "spacy"])  # noqa: S108
def test_a_model_names_neither_other_packages_nor_folders(parts, tmp_path, refused, name):
    with refused(repr(name), "not installed as a package of spaCy"):
        Classifier.load(written(tmp_path / "other", *naming(parts, name)))


def test_a_package_of_spacy_is_loaded(parts, tmp_path, installed):
    trace = installed("en_of_a_test", pipeline=True)
    model = Classifier.load(written(tmp_path / "other", *naming(parts, "en_of_a_test")))
    assert model.predict_proba(["she walked"]).shape == (1, 2)
    assert trace.exists()
