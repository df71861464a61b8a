"""README, data card, Makefile and --help against what the code does."""

import csv
import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import peers
from pipeline.commands import card, evaluate, score, teach, train
from pipeline.config_files import load_config
from pipeline.metrics import compute_baselines, compute_metrics
from pipeline.terminal import command_line

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *(page for folder in ("data", "benchmarks", "docs", "models") for page in ROOT.glob(f"{folder}/**/*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = {"train.py": train.main, "evaluate.py": evaluate.main, "score.py": score.main}
OTHERS = {"-m pipeline.commands.card": card.main, "-m pipeline.commands.teach": teach.main, "benchmarks/peers.py": peers.main}


def options(script: str) -> set[str]:
    shown = CliRunner().invoke(command_line((COMMANDS | OTHERS)[script]), ["--help"], terminal_width=200).stdout
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", shown)) - {"--help"}


@pytest.mark.parametrize("script", COMMANDS)
def test_readme_uses_only_options_that_exist(script):
    used = {flag for line in README.splitlines() if f"python {script}" in line for flag in re.findall(r" (--[a-z-]+)", line)}
    assert used, "the README shows the command with options"
    assert used <= options(script)


@pytest.mark.parametrize("target", ["released", "teacher", "peers"])
def test_makefile_uses_only_options_that_exist(target):
    command = ["make", "-n", target, "ARGS="]  # and not those of the make that runs the tests
    recipe = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.replace("\\\n", "")
    used = {
        script: set(re.findall(r" (--[a-z-]+)", line)) for line in recipe.splitlines() for script in COMMANDS | OTHERS if script in line
    }
    assert used, "the recipe starts commands of ours"
    assert {script: flags - options(script) for script, flags in used.items() if flags - options(script)} == {}


def test_docs_name_only_targets_that_make_has():
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"(?:`|\$ )make ([a-z]+)", page.read_text("utf-8"))}
    assert {"install", "released"} <= named <= known


@pytest.mark.parametrize("script", COMMANDS)
def test_readme_names_every_option(script):
    assert {flag for flag in options(script) if flag not in README} == set()


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings."""
    text, seen = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE), Counter[str]()
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
    for page in PAGES:
        for name, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^):]*))?\)", page.read_text("utf-8")):
            target = page.parent / name if name else page
            if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
                dead.append(f"{page.relative_to(ROOT)}: {name}{anchor and '#'}{anchor}")
    assert dead == []


def test_no_page_waits_for_a_table():
    assert [str(page.relative_to(ROOT)) for page in PAGES if "TABLE" in page.read_text("utf-8").splitlines()] == []


def test_readme_lists_every_experiment():
    listed = re.findall(r"^\| `(\w+)` \|", README.split("| experiment |")[1].split("\n\n")[0], re.MULTILINE)
    assert sorted(listed) == sorted(path.stem for path in (ROOT / "configs" / "experiments").glob("*.yaml"))


def test_readme_lists_the_default_labels_in_order():
    listed = re.findall(r"^\| `(\w+)` \|", README.split("## Two commands")[0], re.MULTILINE)
    assert listed == load_config().labels.names


def test_readme_names_every_metric():
    Y = np.array([[0], [1]], np.int8)
    metrics = compute_metrics(Y, np.array([[0.1], [0.9]], np.float32), Y == 1, ["a"], [0.5])
    table = README.split("| in `metrics.json` |")[1].split("\n\n")[0]
    names = [*(key for key in metrics if key != "labels"), *metrics["labels"]["a"], *compute_baselines(Y, np.array([0.5]), ["a"])]
    assert [name for name in names if f"`{name}`" not in table] == []


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
    assert f"{len(rows)} [behavioural cases]" in README


def test_no_committed_file_names_a_registry():
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    hosts = re.compile(
        "|".join(["pypi" + r"\.org", "files" + r"\.pythonhosted", "registry" + r"\.npmjs", "deb" + r"\.debian", "--index" + "-url"])
    )
    named = [name for name in files if name and (ROOT / name).is_file() and hosts.search((ROOT / name).read_text("utf-8", "ignore"))]
    assert named == []
