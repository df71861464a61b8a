"""README, documentation, data cards, Makefile and --help agree with what the code does."""

import csv
import json
import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from benchmarks import peers
from models import Classifier
from models.config import LabelSet, ModelConfig
from pipeline import terminal
from pipeline.commands import annotations, card, disclosure, evaluate, score, serve, teach, train
from pipeline.config import Config, Data
from pipeline.config_files import DEFAULT, load_config, read_yaml
from pipeline.corpora import load_corpus
from pipeline.evaluation import Results
from pipeline.evaluation.behaviour import load_cases, run_cases
from pipeline.metrics import compute_baselines, compute_metrics
from pipeline.predictions import prediction_schema
from pipeline.routing.resources import Confirmed, Line, load_directory
from pipeline.routing.rules import Queue, Routing, Rule, load_routing
from pipeline.scoring import Options, Summary
from pipeline.sweep import Sweep
from pipeline.terminal import command_line

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
FOLDERS = ("data", "benchmarks", "docs", "models")
PAGES = [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in ROOT.glob(f"{folder}/**/*.md") if "_build" not in page.parts)]
NOTEBOOKS = sorted(DOCS.glob("tutorials/*.ipynb"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = {"train.py": train.main, "evaluate.py": evaluate.main, "score.py": score.main}
MODULES = {"card": card.main, "teach": teach.main, "serve": serve.main}
OTHERS = {f"-m pipeline.commands.{name}": main for name, main in MODULES.items()} | {"benchmarks/peers.py": peers.main}


def read(name: str) -> str:
    """Return the text of a page of the documentation."""
    return (DOCS / name).read_text(encoding="utf-8")


def prose(path: Path) -> str:
    """Return the prose of a page; that of a notebook is in its Markdown cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")


def options(script: str) -> set[str]:
    return options_of((COMMANDS | OTHERS)[script])


def options_of(main: Any) -> set[str]:
    if isinstance(main, dict):
        return set().union(*map(options_of, main.values()))
    shown = CliRunner().invoke(command_line(main), ["--help"], terminal_width=200).stdout
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", shown)) - {"--help"}


# ---- README ----


def test_readme_is_short():
    assert len(README.split()) < 1300


@pytest.mark.parametrize("script", COMMANDS)
def test_readme_uses_each_command(script):
    assert f"python {script}" in README


def test_readme_lists_the_default_labels_in_order():
    listed = re.findall(r"^\| `(\w+)` \|", README.split("## Two commands")[0], re.MULTILINE)
    assert listed == load_config().labels.names


@pytest.fixture(scope="module")
def released() -> Classifier:
    return Classifier.released()


def test_readme_shows_what_the_model_says_of_invented_posts(released):
    posts = [json.loads(line) for line in (ROOT / "data/starter/test.jsonl").read_text("utf-8").splitlines()]
    truth = {post["text"]: [name for name in released.labels if name in post["labels"]] for post in posts}
    table = README.split("| post | labels given | right? |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| (.+) \| (.*?) ?\| (yes|no)\b.* \|$", table, re.MULTILINE)
    assert len(rows) >= 5
    for text, given, right in rows:
        assert text in truth, "a post of the starter corpus, which is invented"
        assert ", ".join(f"`{name}`" for name in released.classes_[released.predict([text])[0] == 1]) == given
        assert (re.findall(r"\w+", given) == truth[text]) == (right == "yes")


def test_readme_says_how_many_posts_of_the_starter_it_gets_right(released):
    posts = [json.loads(line) for line in (ROOT / "data/starter/test.jsonl").read_text("utf-8").splitlines()]
    truth = [[name in post["labels"] for name in released.labels] for post in posts]
    right = (released.predict([post["text"] for post in posts]) == truth).all(axis=1).sum()
    assert f"{right} of the {len(posts)} posts" in README


def test_readme_shows_what_one_sentence_prints():
    command, shown = re.search(r"^\$ \.venv/bin/disclosure (score --text .*)\n((?:.+\n)+?)```", README, re.MULTILINE).groups()
    printed = CliRunner().invoke(command_line(disclosure.COMMANDS), shlex.split(command)).stdout
    assert [line.rstrip() for line in printed.splitlines()] == shown.splitlines()


def test_readme_s_python_prints_what_it_says(capsys):
    code, shown = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL).groups()
    assert len([line for line in code.splitlines() if line]) == 5
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102  # ours
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == shown.splitlines()


_WRONG = re.compile(r"^\| ([^|`]+?) \| (workplace|street|assault|solidarity)[a-z ]*, (0\.\d\d)", re.MULTILINE)


@pytest.mark.parametrize(("text", "label", "said"), _WRONG.findall(read("explanation/scores.md")))
def test_what_scores_get_wrong_is_what_the_model_says(released, text, label, said):
    (name,) = [name for name in released.labels if name.startswith(label)]
    assert f"{released.predict_proba([text])[0, released.labels.index(name)]:.2f}" == said


def card_table(heading: str) -> list[list[str]]:
    """Return the cells of the first table after a heading of the released model's card, without the two lines of its head."""
    section = (ROOT / "models/released/README.md").read_text("utf-8").split(f"### {heading}\n")[1]
    lines = [line for line in section.split("\n### ")[0].splitlines() if line.startswith("| ")]
    return [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in lines
        if not line.startswith(("| tested", "| swapped", "| posts"))
    ]


def percent(cell: str) -> float:
    return float(cell.split(maxsplit=1)[0])


def test_page_on_scores_says_how_many_ordinary_posts_are_marked():
    rows = {row[0]: row for row in card_table("What does it do with ordinary posts?") if row[2] == "balanced"}
    page = read("explanation/scores.md")
    for kind, start in (
        ("ordinary tweets", "2,000 ordinary tweets"),
        ("personal talk and distress", "1,916 passages of personal talk and distress"),
        ("tweets that contain trigger words", "127 tweets that contain trigger words"),
    ):
        posts, *_, solidarity, disclosure = rows[kind][1:]
        assert start.startswith(posts)
        for said, true in zip(
            re.search(rf"^\| {start} \| (.+) \| (.+) \|$", page, re.MULTILINE).groups(), (disclosure, solidarity), strict=True
        ):
            shares = {"none": 0.0, "three": 100 * 3 / int(posts.replace(",", ""))}
            assert (shares[said] if said in shares else percent(said)) == pytest.approx(percent(true), abs=0.05)


def test_pages_name_the_worst_functionality_and_the_largest_shift_by_swaps():
    name, passed, _ = card_table("Does it do what a person would expect?")[0]
    promoting = read("how_to/compare_and_promote.md")
    assert f"It does worst on `{name.replace(' ', '_')}`, with {passed} cases." in promoting
    swaps = card_table("Do irrelevant words matter?")
    shift, changed = max(abs(float(row[3])) for row in swaps), max(percent(row[4]) for row in swaps)
    assert f"the released model has {shift:.3f} and {changed / 100:.3f}." in promoting
    report = re.findall(r"^│ (job|name) +│ +(\S+) │ (.+): (\w+) +│", read("how_to/read_a_report.md"), re.MULTILINE)
    assert [list(row) for row in report] == [
        [kind, mean, group, label.replace(" ", "_")] for kind, group, label, mean, *_ in swaps if kind in {"job", "name"}
    ]


def test_page_on_thresholds_says_what_the_operating_points_of_the_released_model_cost(released):
    page = read("how_to/choose_thresholds.md")
    found = re.findall(r"^\| `(\w+)` \|" + r" ([\d.]+: \d+, \d+) \|" * 4 + r" ([\d.]+) % \|$", page, re.MULTILINE)
    rows = {name: tuple(costs) for name, *costs in found}
    points = released.description_["operating_points"]
    assert rows.keys() == points.keys()
    for name, point in points.items():
        costs = [(point["thresholds"][label], point["labels"][label]) for label in released.labels]
        said = [f"{threshold:.2f}: {cost['recall'] * 100:.0f}, {cost['precision'] * 100:.0f}" for threshold, cost in costs]
        assert rows[name] == (*said, f"{point['false_alarms'] * 100:.1f}")
        assert f"{point['ordinary']:,} ordinary posts" in page
    assert f"on the model's {released.description_['training_data']['posts']:,} training posts" in page


def test_page_on_scoring_shows_what_is_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    page = read("how_to/score_files.md")
    (shown,) = re.findall(r"^model .*\n(?:.+\n)+?scores .*\n", page, re.MULTILINE)
    given, options = re.search(r"`score\.py (.*) --out runs/night (.*?)`", page).groups()
    arguments = ["score", *shlex.split(f"{given} {options}"), "--workers", "1", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(command_line(disclosure.COMMANDS), arguments)
    assert done.exit_code == 0
    assert shown.startswith(done.stderr.splitlines(keepends=True)[0])
    counts = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    assert counts == [line for line in shown.splitlines() if line.startswith("  ")]


# ---- command lines ----


def commands_shown() -> Iterator[tuple[str, str, set[str]]]:
    """Yield the page, command and options of each command line that a page shows."""
    starts = {
        **{f"python {script}": main for script, main in COMMANDS.items()},
        **{f"python {name}": main for name, main in OTHERS.items()},
    }
    starts |= {f"disclosure {name}": main for name, main in disclosure.COMMANDS.items()}
    starts |= {f"annotations {name}": main for name, main in annotations.COMMANDS.items()}
    for page in [*PAGES, *NOTEBOOKS]:
        for line in prose(page).replace("\\\n", " ").splitlines():
            for start, main in starts.items():
                if re.search(rf"{re.escape(start)}\b", line) and re.match(r"\s*(\$ |zcat|\.venv|\.bench|python)", line):
                    shown = line.split(start, 1)[1].split(" # ")[0]
                    yield f"{page.relative_to(ROOT)}: {start}", start, set(re.findall(r" (--[a-z-]+)", shown)) - options_of(main)


def test_pages_use_only_options_that_exist():
    found = list(commands_shown())
    assert {start for _, start, _ in found} >= {"python train.py", "python evaluate.py", "python score.py", "disclosure score"}
    assert {place: wrong for place, _, wrong in found if wrong} == {}


@pytest.mark.parametrize("name", disclosure.COMMANDS)
def test_reference_names_every_option_and_no_other(name):
    section = read("reference/command_lines.md").split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(--[a-z-]+)", section, re.MULTILINE)) == options_of(disclosure.COMMANDS[name])


def test_reference_names_every_command():
    table = read("reference/command_lines.md").split("| `disclosure …` |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)) == set(disclosure.COMMANDS)
    assert {script for script in COMMANDS if f"`{script}`" not in table} == set()


@pytest.mark.parametrize("page", ["reference/exit_codes.md", "how_to/troubleshooting.md"])
def test_every_exit_code_is_explained(page):
    codes = {
        0,
        terminal.USAGE_ERROR,
        terminal.TOO_MANY_REJECTS,
        terminal.INCOMPLETE,
        terminal.STOPPED,
        terminal.TERMINATED,
        terminal.NOT_PROMOTED,
        terminal.DRIFTED,
    }
    codes |= {terminal.NO_POSTS, terminal.LOCKED}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", read(page), re.MULTILINE)} == codes


TARGETS = ["released", "released-public", "teacher", "peers"]


def recipe_of(target: str, *variables: str) -> str:
    command = ["make", "-n", target, "ARGS=", *variables]  # and not the ARGS of the make that runs the tests
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.replace("\\\n", "")


@pytest.mark.parametrize("target", TARGETS)
def test_paths_in_recipes_exist(target):
    corpora = ROOT.parent / "shared/data"
    named = set(
        re.findall(r"(?<![\w./])(?:CORPORA|configs|data|pipeline|benchmarks|models)/[\w./-]+", recipe_of(target, "CORPORA=CORPORA"))
    )
    assert "data/invented/train-09.jsonl" in named or target == "released-public"
    there = {name: corpora / name.removeprefix("CORPORA/") if name.startswith("CORPORA/") else ROOT / name for name in named}
    assert [name for name, path in there.items() if not path.exists() and (corpora.exists() or ROOT in path.parents)] == []


@pytest.mark.parametrize("target", TARGETS)
def test_makefile_uses_only_options_that_exist(target):
    recipe = recipe_of(target)
    used = {
        script: set(re.findall(r" (--[a-z-]+)", line)) for line in recipe.splitlines() for script in COMMANDS | OTHERS if script in line
    }
    assert used, "the recipe starts commands of ours"
    assert set(re.findall(r"-m (?:models|pipeline)[\w.]*", recipe)) <= set(OTHERS)
    assert {script: flags - options(script) for script, flags in used.items() if flags - options(script)} == {}


def test_docs_name_only_targets_that_make_has():
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {name for page in [*PAGES, *NOTEBOOKS] for name in re.findall(r"(?:`|\$ )make ([a-z-]+)", prose(page))}
    assert {"install", "released", "docs"} <= named <= known


# ---- configuration ----


def sections_of(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the sections of a config that occur in a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from sections_of(part)


def keys_of(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys of a config with their types; an optional section is yielded, too."""
    for name, field in schema.model_fields.items():
        nested = [each for each in sections_of(field.annotation) if get_origin(field.annotation) not in (list, dict)]
        if field.annotation is LabelSet or not nested:
            yield prefix + name, field.annotation
            continue
        if field.annotation is not nested[0]:
            yield prefix + name, field.annotation
        yield from keys_of(nested[0], f"{prefix}{name}.")


def choices_of(annotation: Any) -> set[str]:
    """Return the values that a type allows, if it lists them."""
    found = {str(value) for value in get_args(annotation)} if get_origin(annotation) is Literal else set()
    return found.union(*(choices_of(part) for part in get_args(annotation) if get_origin(annotation) is not Literal))


def rows_of(*titles: str) -> dict[str, tuple[str, str, str]]:
    """Return the type, default and meaning of each key in the sections of the reference with these titles."""
    page = read("reference/configuration.md")
    text = "".join(page.split(f"\n## {title}\n")[1].split("\n## ")[0] for title in titles)
    rows = re.findall(r"^\| `([\w.]+)` \| (.+?) \| (.+?) \| (.+) \|$", text, re.MULTILINE)
    assert len(rows) == len({key for key, *_ in rows}), "a key stands twice"
    return {key: (kind, default, meaning) for key, kind, default, meaning in rows}


CONFIG = rows_of(
    "Top level", "data", "text", "features", "model", "calibration", "thresholds", "evaluation", "promotion", "watch", "tracking"
)
KEYS = dict(keys_of(Config))


def test_every_config_key_is_in_the_reference_and_no_other():
    assert set(CONFIG) == set(KEYS)


def test_every_config_key_is_in_the_default_config_with_a_comment_before_its_section():
    optional = ("model.network.", "evaluation.natural.")  # null there
    shipped = {"labels", *(key for key, _ in _leaves(yaml.safe_load(DEFAULT.read_text("utf-8"))))}
    assert {key for key in KEYS if not key.startswith(optional)} <= shipped | {"promotion.behaviour_floors"}


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@pytest.mark.parametrize("key", CONFIG)
def test_reference_has_the_default_of(key):
    tree: Any = yaml.safe_load(DEFAULT.read_text("utf-8"))
    shown = CONFIG[key][1]
    for part in key.split("."):
        if tree is None:  # this section is null by default, so the schema says which keys it has
            (section,) = dict(_optional_sections())[key.rpartition(".")[0]]
            field = section.model_fields[part]
            assert shown == ("required" if field.is_required() else f"`{field.default}`")
            return
        tree = tree[part]
    assert yaml.safe_load(shown.strip("`")) == tree


def _optional_sections() -> Iterator[tuple[str, list[type[BaseModel]]]]:
    for key, annotation in KEYS.items():
        if annotation is not LabelSet and (found := list(sections_of(annotation))):
            yield key, found


@pytest.mark.parametrize("key", CONFIG)
def test_reference_lists_the_choices_of(key):
    if KEYS[key] is not LabelSet:
        assert [choice for choice in choices_of(KEYS[key]) if f"`{choice}`" not in CONFIG[key][0]] == []


def test_keys_are_parameters_by_their_last_word_but_for_two():
    of_model = {key for key, _ in keys_of(ModelConfig) if not key.startswith("model.network.")}
    named = {key.split(".")[-1] for key in of_model - {"labels", "calibration.method"}} | {"label_set", "calibration"}
    assert named == set(Classifier().get_params())
    assert "`labels` is `label_set`, and `calibration.method` is `calibration`" in read("reference/configuration.md")


def test_reference_names_every_label_set():
    section = read("reference/configuration.md").split("\n## Label sets\n")[1].split("\n## ")[0]
    assert [path.name for path in (ROOT / "configs/labels").glob("*.yaml") if f"`{path.name}`" not in section] == []


def test_reference_has_the_keys_of_label_sets_and_sweeps():
    assert set(rows_of("Label sets")) == {f"labels.{name}" for name in LabelSet.model_fields}
    assert set(rows_of("Sweeps")) == set(Sweep.model_fields)
    kind, default, _ = rows_of("Sweeps")["metric"]
    assert choices_of(Sweep.model_fields["metric"].annotation) == set(re.findall(r"`(\w+)`", kind))
    assert default == f"`{Sweep.model_fields['metric'].default}`"
    assert set(rows_of("Queues")) == {*Routing.model_fields, *(f"queues.{name}" for name in Queue.model_fields)} | {
        f"rules.{name}" for name in Rule.model_fields
    }
    assert set(rows_of("Directory of helplines")) == {f"lines.{name}" for name in Line.model_fields} | {
        f"lines.confirmed.{name}" for name in Confirmed.model_fields
    }
    assert rows_of("Sweeps")["trials"][1] == f"`{Sweep.model_fields['trials'].default}`"


def test_yaml_in_the_pages_is_config_that_loads(tmp_path):
    found = 0
    for page in PAGES:
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
            (tmp_path / "shown.yaml").write_text(block, encoding="utf-8")
            if "space" in read_yaml(tmp_path / "shown.yaml"):
                Sweep.model_validate(read_yaml(tmp_path / "shown.yaml"))
            elif "rules" in read_yaml(tmp_path / "shown.yaml"):
                load_routing(tmp_path / "shown.yaml")
            elif "lines" in read_yaml(tmp_path / "shown.yaml"):
                load_directory(tmp_path / "shown.yaml")
            elif "apiVersion" in read_yaml(tmp_path / "shown.yaml"):
                continue  # for Kubernetes; see test_containers.py
            else:
                load_config([tmp_path / "shown.yaml"])
            found += 1
    assert found >= 4


def test_settings_in_the_page_on_training_do_the_same_as_its_file(tmp_path):
    page = read("how_to/train.md")
    (tmp_path / "my.yaml").write_text(re.search(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE).group(1), encoding="utf-8")
    (command,) = re.findall(r"^\$ python train.py .*--set data.columns.*", page, re.MULTILINE)
    assert load_config(settings=re.findall(r"--set (\S+)", command)) == load_config([tmp_path / "my.yaml"])


def test_config_keys_named_in_the_pages_exist():
    sections = "|".join(sorted({key.split(".")[0] for key in KEYS if "." in key}))
    known = {".".join(parts[: n + 1]) for key in KEYS for parts in [key.split(".")] for n in range(len(parts))}
    named = {
        (str(page.relative_to(ROOT)), key)
        for page in [*PAGES, *NOTEBOOKS]
        if page.name != "CHANGELOG.md"
        for key in re.findall(rf"(?:`|--set )((?:{sections})\.[a-z_.C]+)(?=[`=:])", prose(page))
    }
    files = {".py", ".md", ".json", ".html", ".yaml", ".csv", ".safetensors"}
    assert sorted((page, key) for page, key in named if key not in known and Path(key).suffix not in files) == []


def test_pages_list_every_experiment():
    page = read("how_to/train.md")
    listed = re.findall(r"^\| `(\w+)` \|", page.split("| experiment |")[1].split("\n\n")[0], re.MULTILINE)
    assert sorted(listed) == sorted(path.stem for path in (ROOT / "configs" / "experiments").glob("*.yaml"))


# ---- outputs ----


def test_reference_names_every_metric():
    Y = np.array([[0], [1]], np.int8)
    metrics = compute_metrics(Y, np.array([[0.1], [0.9]], np.float32), Y == 1, ["a"], [0.5])
    table = read("reference/metrics_json.md").split("| in `metrics.json` |")[1].split("\n\n")[0]
    of_label = type(metrics.labels["a"]).model_fields
    names = [*(key for key in type(metrics).model_fields if key != "labels"), *of_label]
    names += [*type(compute_baselines(Y, np.array([0.5]), ["a"])).model_fields]
    assert [name for name in names if f"`{name}`" not in table] == []


def test_reference_names_every_key_of_an_evaluation():
    table = read("reference/metrics_json.md").split("| in `metrics.json` |")[1].split("\n\n")[0]
    assert [name for name, field in Results.model_fields.items() if not field.exclude and f"`{name}" not in table] == []


def test_reference_names_every_column_and_key_of_scores():
    page = read("reference/score_output.md")
    rows = set(re.findall(r"^\| (.+?) \|", page.split("## Rows")[1].split("## The other")[0], re.MULTILINE))
    columns = prediction_schema(["<label>"], review=True, explanation=True, queue=True).names
    assert {f"`{name}`" for name in columns} <= rows
    table = page.split("## manifest.json")[1]
    manifest = json.loads(Summary.of("digest", {"a": 0.5}, Options()).to_json())
    assert [key for key in [*manifest, *manifest["options"]] if f"`{key}`" not in table] == []


# ---- links ----


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes from a page's headings."""
    text, seen = re.sub(r"^```.*?^```", "", prose(page), flags=re.DOTALL | re.MULTILINE), Counter[str]()
    found = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", text, re.MULTILINE):
        shown = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading)
        slug = re.sub(r"[^\w -]", "", shown.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def test_anchors_are_github_s(tmp_path):
    (tmp_path / "page.md").write_text(
        "# Who's `a_b`, and why?\n## A – b\n### [A link](b.md)\n```\n# no heading\n```\n## a link\nno # heading\n"
    )
    assert anchors(tmp_path / "page.md") == {"whos-a_b-and-why", "a--b", "a-link", "a-link-1"}


def test_links_lead_somewhere():
    dead = []
    for page in [*PAGES, *NOTEBOOKS]:
        for name, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^):]*))?\)", prose(page)):
            target = page.parent / name if name else page
            if not target.exists() or (anchor and target.suffix in {".md", ".ipynb"} and anchor not in anchors(target)):
                dead.append(f"{page.relative_to(ROOT)}: {name}{anchor and '#'}{anchor}")
    assert dead == []


def test_every_page_can_be_found_from_the_index():
    index = read("index.md")
    listed = {(DOCS / name).resolve() for name in re.findall(r"\]\(([^)#:]+)", index)}
    assert {page for page in [*DOCS.rglob("*.md"), *NOTEBOOKS] if "_build" not in page.parts} - listed == {DOCS / "index.md"}
    entries = re.findall(r"^[\w./ <>]+$", index.split("```{toctree}", 1)[1], re.MULTILINE)
    tree = {(DOCS / re.sub(r".*<(.*)>", r"\1", line)) for line in entries}
    in_tree = {path.resolve() for stem in tree for path in stem.parent.glob(f"{stem.name}.*")}
    assert listed - in_tree == set()


def test_links_of_old_still_lead_somewhere():
    assert {"thresholds", "what-each-part-gives", "the-test-split"} <= anchors(DOCS / "modelling.md")


def test_files_that_pages_name_exist():
    where = re.compile(r"`((?:models|pipeline|configs|tests|benchmarks|docs|data)/[\w/.-]+\.(?:py|yaml|csv|md|json|safetensors|j2))`")
    gone = {(str(page.relative_to(ROOT)), name) for page in PAGES if page.name != "CHANGELOG.md" for name in where.findall(prose(page))}
    assert sorted((page, name) for page, name in gone if not (ROOT / name).exists()) == []


def test_architecture_names_files_that_exist():
    page = read("architecture.md")
    here = {path.name for folder in ("models", "pipeline") for path in (ROOT / folder).rglob("*")} | set(COMMANDS)
    assert set(re.findall(r"`(?:[\w.]+/)*([\w.]+\.(?:py|j2))`", page)) - here - {"test_docs.py"} == set()
    assert [name for name in ("metrics.py", "result_base.py", "report/tables.py") if f"`pipeline/{name}`" not in page] == []


def test_no_page_waits_for_a_table():
    assert [str(page.relative_to(ROOT)) for page in PAGES if "TABLE" in page.read_text("utf-8").splitlines()] == []


# ---- data cards ----


def test_data_card_counts_are_the_files():
    card = (ROOT / "data/starter/README.md").read_text(encoding="utf-8")
    labels = load_config([ROOT / "configs/experiments/extended.yaml"]).labels.names
    for split in ("train", "validation", "test"):
        records = [json.loads(line) for line in (ROOT / f"data/starter/{split}.jsonl").read_text("utf-8").splitlines()]
        counts = [len(records), *(sum(label in record["labels"] for record in records) for label in labels)]
        counts += [sum(not record["labels"] for record in records), sum(len(record["labels"]) > 1 for record in records)]
        assert f"| `{split}.jsonl` | {' | '.join(f'{count:,}' for count in counts)} |" in card


def test_number_of_behavioural_cases_is_the_file_s():
    with (ROOT / "data/behaviour/cases.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    said = f"{len(rows)} invented posts of {len({row['functionality'] for row in rows})} functionalities"
    assert said in (ROOT / "data/behaviour/README.md").read_text(encoding="utf-8")
    assert f"{len(rows)} [behavioural cases]" in read("how_to/read_a_report.md")
    assert f"{len(rows)} invented behavioural cases" in README


def test_plain_sentences_are_as_many_as_their_card_says():
    def words(text: str) -> str:
        return " ".join(re.findall(r"\w+", text.lower()))

    with (ROOT / "data/plain/sentences.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    page = (ROOT / "data/plain/README.md").read_text(encoding="utf-8")
    assert f"holds {len(rows)} short sentences" in page
    assert [row["writer"] for row in rows[:20]] == ["first"] * 20
    assert Counter(row["writer"] for row in rows[20:]) == {"a": 35, "b": 35, "c": 35}
    assert len({words(row["text"]) for row in rows}) == len(rows)
    lines = "".join(file.read_text("utf-8") for file in (ROOT / "data/invented").glob("*.jsonl")).rstrip("\n").split("\n")
    trained = {words(json.loads(line)["text"]) for line in lines}
    assert sum(words(row["text"]) in trained for row in rows) == 4
    assert f"four of the {len(rows)} are also posts" in page
    load_corpus(Data(sources=["data/plain/sentences.csv"]), load_config().labels, seed=0, cut=False)  # it has labels that we know


def test_pages_say_which_behavioural_case_is_not_counted():
    config = load_config()
    cases = load_cases("data/behaviour/cases.csv", config.labels)
    nothing = np.zeros((len(cases), len(config.labels.names)), np.float32)
    found = run_cases(cases, config.labels.names, nothing, nothing > 0)
    (left_out,) = [case for case in cases if case.test != "same" and not {*case.must, *case.must_not} & set(config.labels.names)]
    said = f"`{left_out.case_id}`, which is about `{left_out.must_not[0]}` alone, so {found.cases} cases count"
    assert said in (ROOT / "data/behaviour/README.md").read_text(encoding="utf-8")
    assert f"of {found.cases} behavioural cases (the {len(cases)}rd is" in README


def test_no_committed_file_names_a_registry():
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    hosts = re.compile(
        "|".join(["pypi" + r"\.org", "files" + r"\.pythonhosted", "registry" + r"\.npmjs", "deb" + r"\.debian", "--index" + "-url"])
    )
    named = [name for name in files if name and (ROOT / name).is_file() and hosts.search((ROOT / name).read_text("utf-8", "ignore"))]
    assert named == []
