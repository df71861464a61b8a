"""Configs: those that we ship, how layers are merged, and which errors a user's mistakes cause."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from models.config import ROOT, LabelSet
from models.errors import InputError
from pipeline.config import Config, mask_password
from pipeline.config_files import DEFAULT, flatten, load_config

EXPERIMENTS = sorted((ROOT / "configs" / "experiments").glob("*.yaml"))
LABEL_SETS = sorted((ROOT / "configs" / "labels").glob("*.yaml"))
ONE_LABEL = {"name": "one", "labels": [{"name": "only", "definition": "the only one"}]}


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of all settings in the schema; a label set counts as one, because it is a file of its own."""
    for name, field in model.model_fields.items():
        section = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel) and field.annotation is not LabelSet
        yield from keys(field.annotation, f"{prefix}{name}.") if section else [prefix + name]


def sections(model: type[BaseModel]) -> Iterator[str]:
    for key in keys(model):
        yield from (".".join(key.split(".")[:depth]) for depth in range(1, key.count(".") + 2))


@pytest.fixture
def overlay(tmp_path):
    def write(content, name="overlay.yaml") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    return write


def test_shipped_configs_are_found():
    assert {"fast", "nbsvm", "extended", "safecity"} <= {path.stem for path in EXPERIMENTS}
    assert {"default", "extended", "safecity"} <= {path.stem for path in LABEL_SETS}


def test_default_loads_alone():
    assert load_config().labels.names == ["workplace_harassment", "street_harassment", "assault", "solidarity_support"]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_changes_the_default(path):
    assert load_config([path]) != load_config()


@pytest.mark.parametrize("path", LABEL_SETS, ids=lambda path: path.stem)
def test_every_label_set_loads_and_defines_its_labels(path):
    labels = load_config(settings=[f"labels={path}"]).labels
    assert labels.names == [label["name"] for label in yaml.safe_load(path.read_text())["labels"]]
    assert all(len(label.definition) > 10 for label in labels.labels)


def test_default_file_shows_every_key_of_the_schema():
    shown = [
        key.replace("behaviour_floors.help_and_resources", "behaviour_floors") for key, _ in flatten(yaml.safe_load(DEFAULT.read_text()))
    ]
    assert set(shown) == set(keys(Config))


def test_default_file_comments_every_key():
    commented = False
    for line in DEFAULT.read_text().splitlines():
        commented = bool(line.strip()) and (commented or line.lstrip().startswith("#"))
        is_leaf = ": " in line and not line.lstrip().startswith("#")
        assert commented or not is_leaf, f"no comment above {line!r}"


@pytest.mark.parametrize("column", ["id", "text", "author"])
def test_reports_slice_by_no_column_that_tells_who_wrote_what(column, refused):
    with refused("evaluation.slices", repr(column)):
        load_config(settings=[f"evaluation.slices=[source, {column}]"])
    with refused("evaluation.natural.column", repr(column)):
        load_config(settings=[f"evaluation.natural={{column: {column}, values: [a]}}"])


def test_default_file_and_schema_agree_on_defaults():
    required = {"labels": load_config().labels, "data": {"sources": load_config().data.sources}}
    assert Config.model_validate(required) == load_config()


@pytest.mark.parametrize("key", sorted(set(sections(Config))))
def test_misspelt_key_gets_the_right_one(key, refused):
    name = key.split(".")[-1]
    with refused(f"unknown key '{key}{name[-1]}'", f"did you mean {key!r}?"):
        load_config(settings=[f"{key}{name[-1]}=1"])


def test_misspelt_key_in_another_case(refused):
    with refused("unknown key 'model.c'", "did you mean 'model.C'?"):
        load_config(settings=["model.c=1"])


@pytest.mark.parametrize(
    ("setting", "meant"),
    [
        ("C=1", ["'model.C' (in a file, C under model)?"]),
        ("EPOCHS=3", ["'model.network.epochs' (in a file, epochs under model.network)?"]),
        ("confidence=0.9", ["'evaluation.confidence' (", " or 'watch.confidence' ("]),
    ],
)
def test_key_without_its_section_gets_it(setting, meant, refused):
    with refused(f"unknown key '{setting.split('=')[0]}'; did you mean ", *meant):
        load_config(settings=[setting])


def test_key_is_suggested_neither_within_a_list_nor_in_another_section(refused):
    with refused("unknown key 'definition'; did you mean 'evaluation'?"):
        load_config(settings=["definition=1"])
    with refused("unknown key 'evaluation.C'", "the allowed keys are "):
        load_config(settings=["evaluation.C=1"])


def test_misspelt_key_of_a_label_is_named_rather_than_the_missing_one(overlay, refused):
    labels = {"name": "x", "labels": [{"nme": "a", "definition": "b"}]}
    with refused("unknown key 'labels.labels.0.nme'", "did you mean 'labels.labels.0.name'?"):
        load_config([overlay({"labels": labels})])


def test_key_like_no_other_gets_the_list(refused):
    with refused("unknown key 'model.zzz'", "the allowed keys are type, C"):
        load_config(settings=["model.zzz=1"])


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("model.C=much", ["model.C: got 'much'", "valid number"]),
        ("model.C=", ["model.C: got None", "valid number"]),
        ("model.C=0", ["model.C: got 0", "greater than 0"]),
        ("model.C=.inf", ["model.C: got inf", "finite"]),
        ("model.C=true", ["model.C: got True", "valid number"]),
        ("model.type=svn", ["model.type: got 'svn'", "'svm'", "'nbsvm'"]),
        ("model=svm", ["model: got 'svm'", "mapping of keys"]),
        ("seed=1.5", ["seed: got 1.5", "valid integer"]),
        ("seed=-1", ["seed: got -1"]),
        ("calibration.folds=1", ["calibration.folds: got 1", "equal to 2"]),
        ("features.char_ngrams=[5, 2]", ["features: char_ngrams must be [low, high]"]),
        ("features.char_ngrams=[2]", ["features.char_ngrams: got a list", "at least 2 items"]),
        ("data.sources=[]", ["data.sources: got a list", "at least 1 item"]),
        ("data.sources=data", ["data.sources: got 'data'", "list"]),
        ("data.split.test=0.9", ["data.split", "nothing for train"]),
        ("data.columns.labels=3", ["data.columns.labels: got 3"]),
        ("data.columns.labels={a: 3}", ["data.columns.labels.a: got 3"]),
        ("thresholds.objective=recall", ["thresholds: ", "need a target"]),
        ("thresholds.target=0.9", ["thresholds: ", "need a target"]),
        ("evaluation.recall=2", ["evaluation.recall: got 2", "less than 1"]),
        ("evaluation.recall={a: 2}", ["evaluation.recall.a: got 2", "less than 1"]),
        ("model.network={}", ["'model.network.lessons' is missing", "configs/default.yaml"]),
        ("model.network=lessons", ["model.network: got 'lessons'", "mapping of keys"]),
        ("model.network={lessons: a, width: 4}", ["model.network.width: got 4", "1, 3, 5 or 7"]),
        ("model.network={lessons: a, epochs: 0}", ["model.network.epochs: got 0", "equal to 1"]),
        ("model.network={lesson: a}", ["unknown key 'model.network.lesson'", "did you mean 'model.network.lessons'?"]),
        ("features.min_authors=0", ["features.min_authors: got 0", "equal to 1"]),
        ("calibration.method=isotonic", ["calibration.method: got 'isotonic'", "'stacked' or 'sigmoid'"]),
        ("features.private=hide", ["features.private: got 'hide'", "'keep' or 'drop'"]),
        ("labels.auxiliary=[assault]", ["labels: assault listed twice"]),
        ("labels=[a]", ["labels: got a list", "mapping of keys"]),
    ],
)
def test_bad_value_is_shown_with_what_is_allowed(setting, parts, refused):
    with refused(f"--set {setting}", *parts):
        load_config(settings=[setting])


def test_network_with_a_calibration_that_would_not_hear_it_is_refused(refused):
    settings = ["model.network={lessons: a}", "calibration.method=sigmoid"]
    with refused("model.network needs calibration.method: stacked"):
        load_config(settings=settings)
    assert load_config(settings=settings[:1]).model.network.lessons == "a"
    assert load_config(settings=[*settings, "model.network=null"]).calibration.method == "sigmoid"


def test_baseline_that_reads_no_post_takes_no_network(refused):
    settings = ["model.type=most_frequent", "model.network={lessons: a}"]
    with refused("model: type most_frequent, the baseline, cannot have a network", "network: null"):
        load_config(settings=settings)
    for setting in settings:
        load_config(settings=[setting])


@pytest.mark.parametrize("setting", ["model.C", "=3", "model..C=2", ".=1", "model.C=[", "seed=2020-99-99"])
def test_malformed_setting_shows_itself(setting, refused):
    with refused(f"--set {setting}: "):
        load_config(settings=[setting])


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("model: [", ["line 1", "not valid YAML"]),
        ("seed: 1\nmodel: {C: 1\n", ["line 3", "not valid YAML"]),
        ("- model", ["got a list", "must be a mapping"]),
        ("", ["got nothing", "must be a mapping"]),
        ("model:\n", ["model: got None", "mapping of keys"]),
        ("1: 2", ["keys should be strings"]),
        ("seed: 2020-99-99", ["not valid YAML"]),
        ("labels: nowhere.yaml", ["nowhere.yaml: cannot be read"]),
        ("x: " + "[" * 5000, ["not valid YAML"]),
        ("data: {swaps: true}\nseed: 1\ndata: {unsure: 0.5}\n", ["line 3", "'data' occurs twice"]),
        ("model: {C: 1, type: svm, C: 2}\n", ["line 1", "'C' occurs twice"]),
        ("a: &a0 {k: 1}\n" + "".join(f"b{n}: &a{n + 1} {{<<: [{', '.join([f'*a{n}'] * 9)}]}}\n" for n in range(12)), ["too many keys"]),
    ],
)
def test_file_that_is_no_config(content, parts, overlay, refused):
    path = overlay(content)
    with refused(path.parent, *parts):
        load_config([path])


def test_file_that_is_missing_a_folder_or_no_utf8(tmp_path, refused):
    with refused(tmp_path / "none.yaml", "cannot be read"):
        load_config([tmp_path / "none.yaml"])
    with refused(tmp_path, "cannot be read"):
        load_config([tmp_path])
    (tmp_path / "latin.yaml").write_bytes(b"tracking: {experiment: caf\xe9}")
    with refused("latin.yaml", "not UTF-8"):
        load_config([tmp_path / "latin.yaml"])


def test_pipe_or_huge_file_is_no_config_and_errors_quote_little(tmp_path, overlay, refused):
    os.mkfifo(tmp_path / "pipe.yaml")
    with refused("pipe.yaml", "cannot be read (it is a folder, a pipe or a device)"):
        load_config([tmp_path / "pipe.yaml"])
    with refused("larger than 1 MiB"):
        load_config([overlay("seed: " + "1" * 2**20)])
    for settings in ([f"model.C={'x' * 50_000}"], [f"seed={'[' * 50_000}"], ["x" * 50_000], [f"{'x' * 50_000}=1"]):
        with pytest.raises(InputError) as caught:
            load_config([overlay({"model": {"C": "x" * 50_000}})], settings)
        assert len(str(caught.value)) < 1_000


def test_later_layers_win_and_leave_the_rest(overlay):
    first = overlay({"model": {"C": 1, "type": "svm"}, "seed": 1}, "first.yaml")
    second = overlay({"model": {"C": 2}}, "second.yaml")
    assert load_config([first, second]).model.model_dump() == {"type": "svm", "C": 2, "network": None, "openings": 0.0}
    config = load_config([first, second], ["model.C=3", "model.C=4", "seed=2"], ["here"], seed=3)
    assert (config.model.type, config.model.C, config.seed, config.data.sources) == ("svm", 4, 3, ["here"])
    assert config.data.columns == load_config().data.columns


def test_labels_are_replaced_whole(overlay):
    labels = load_config([overlay({"labels": ONE_LABEL})]).labels
    assert (labels.names, labels.auxiliary, labels.ignored) == (["only"], [], [])


def test_labels_file_is_found_beside_the_overlay(overlay, monkeypatch, tmp_path):
    (tmp_path / "sets").mkdir()
    overlay(ONE_LABEL, "sets/one.yaml")
    monkeypatch.chdir(ROOT)
    assert load_config([overlay({"labels": "sets/one.yaml"})]).labels.name == "one"


def test_setting_one_key_of_the_label_set_leaves_its_others():
    labels = load_config(settings=["labels.ignored=[spam]"]).labels
    assert labels.ignored == ["spam"]
    assert labels.model_copy(update={"ignored": []}) == load_config().labels


def test_setting_a_labels_file_replaces_the_label_set():
    assert load_config(settings=[f"labels={ROOT / 'configs/labels/safecity.yaml'}"]).labels.auxiliary == []


@pytest.mark.parametrize(("text", "value"), [("1e-3", 0.001), ("1", 1), ("2.5E+1", 25), (".5", 0.5)])
def test_numbers_may_be_written_as_people_do(text, value):
    config = load_config(settings=[f"model.C={text}"])
    assert value == config.model.C


def test_setting_with_a_key_of_a_thousand_parts_is_a_user_error(refused):
    with refused("--set a.a.", "must be SECTION.KEY=VALUE"):
        load_config(settings=[".".join(["a"] * 3000) + "=1"])


def test_setting_reads_yaml():
    config = load_config(settings=["data.sources=[a, b]", "features.char_ngrams=null", "tracking.uri=sqlite:///a=b.db"])
    assert config.data.sources == ["a", "b"]
    assert config.features.char_ngrams is None
    assert config.tracking.uri == "sqlite:///a=b.db"


def test_config_of_model_round_trips_through_json():
    config = load_config().of_model()
    assert type(config).model_validate_json(config.model_dump_json()) == config
    assert "data" not in config.model_dump()


def test_flatten_gives_dotted_leaves_in_order():
    assert list(flatten({"b": {"y": 1, "x": {"z": [2]}}, "a": None})) == [("b.y", "1"), ("b.x.z", "[2]"), ("a", "None")]


@pytest.mark.parametrize(
    "settings",
    [
        ["tracking.uri=postgresql://u:secret@h/db", "model.c=1"],
        ["tracking=postgresql://u:secret@h/db"],
        ["tracking.uri=[postgresql://u:secret@h/db"],
        ["postgresql://u:secret@h/db"],
    ],
)
def test_password_in_a_setting_is_not_in_the_error(settings):
    with pytest.raises(InputError) as caught:
        load_config(settings=settings)
    assert "secret" not in str(caught.value)
    assert "u:***@h" in str(caught.value)


def test_overlays_may_be_strings_but_lists_are_needed(overlay, refused):
    path = overlay("model: {C: 3}")
    assert load_config([str(path)]).model.C == 3
    for name, given in (("overlays", str(path)), ("overlays", path), ("settings", "seed=1"), ("sources", "data/starter")):
        with refused(f"load_config: {name} must be a list", given, "brackets"):
            load_config(**{name: given})


def test_password_in_the_tracking_uri_is_not_shown():
    uri = "postgresql://u:secret@h/db"
    config = load_config(tracking={"uri": uri, "experiment": "2017"})
    assert config.tracking.uri == uri
    assert config.shown()["tracking"] == {"uri": "postgresql://u:***@h/db", "experiment": "2017"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:secret@h/db", "https://me:***@h/db"),
        ("https://:secret@h", "https://:***@h"),
        ("postgresql://me@srv:secret@127.0.0.1:1/db", "postgresql://me@srv:***@127.0.0.1:1/db"),
        ("postgresql://me:sec@ret@h/db", "postgresql://me:***@h/db"),
        ("postgresql://me:sec ret@h/db", "postgresql://me:***@h/db"),
        ("postgresql://me:sec/ret@h/db", "postgresql://me:***@h/db"),
        ("postgresql://me:sec:ret@h:1/db", "postgresql://me:***@h:1/db"),
        ("a://u:secret@h/x, b://v@w:secret@i/y", "a://u:***@h/x, b://v@w:***@i/y"),
        ("p://h/db?user=me&password=secret&x=1", "p://h/db?user=me&password=***&x=1"),
        ("p://h/db?sslpassword=secret is wrong", "p://h/db?sslpassword=*** is wrong"),
        ("p://h/db?x=1&Password=secret", "p://h/db?x=1&Password=***"),
    ],
)
def test_passwords_are_masked_wherever_a_uri_may_hold_them(text, shown):
    assert mask_password(text) == shown


@pytest.mark.parametrize("text", ["http://h:5000/x", "p://me@h:1/db: cannot be used", "see https://h/a: ask me@h", "http://[::1]:5000, me"])
def test_what_holds_no_password_stays(text):
    assert mask_password(text) == text
