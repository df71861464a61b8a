"""Queues: rules are read with care, capacities are kept exactly whatever happens, and every engine finds the same queues."""

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from models.config import ROOT
from pipeline.commands import again, score
from pipeline.config_files import load_config
from pipeline.files import OutputError
from pipeline.predictions import named, numbered, prediction_table, prediction_writer
from pipeline.routing.contest import Contest, seat, seat_all, winners
from pipeline.routing.resources import load_directory
from pipeline.routing.rules import Routing, load_routing
from pipeline.routing.serving import ServedQueues
from pipeline.scoring import Options, score_files, shards
from pipeline.scoring.capacity import keep_capacities
from pipeline.scoring.completion import Completion
from pipeline.scoring.finished import count_queues, part_table, with_queues
from pipeline.scoring.output import Output
from pipeline.scoring.parts import ModelFolder
from pipeline.scoring.redecide import redecide
from pipeline.scoring.summary import Summary
from pipeline.scoring.tables import score_table
from pipeline.tracking.serve import _queues_of

LABELS = ["alpha", "beta"]
SHIPPED = ROOT / "configs" / "routing.yaml"
TREE: dict[str, Any] = {
    "queues": {
        "first": {"task": "read", "capacity": 7},
        "second": {"task": "read", "capacity": 5},
        "open": {"task": "look", "capacity": None},
        "last": {"task": "look", "capacity": 4},
    },
    "rules": [
        {"when": {"alpha": 0.6}, "queue": "first"},
        {"when": {"beta": "given", "alpha": [0.0, 0.8]}, "queue": "second"},
        {"when": {"beta": 0.9}, "queue": "first"},
        {"when": {"alpha": [0.5, 0.5]}, "queue": "open"},
        {"when": {"alpha": 0.2}, "queue": "last"},
    ],
}


def changed(key: str, value: object) -> dict[str, Any]:
    """Return the rules with another value under a dotted key."""
    tree = json.loads(json.dumps(TREE))
    *path, last = key.split(".")
    inner = tree
    for part in path:
        inner = inner[int(part) if part.isdigit() else part]
    inner[last] = value
    return tree


@pytest.fixture
def routing() -> Routing:
    return Routing.model_validate(TREE)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("routing") / "m"
    model.save(folder)
    return folder


def in_file(folder: Path, tree: dict[str, Any], name: str = "routing.yaml") -> Path:
    (folder / name).write_text(yaml.safe_dump(tree, sort_keys=False))
    return folder / name


# ---- files ----


def test_shipped_rules_suit_the_released_labels_and_no_shipped_line_counts_as_confirmed():
    routing, lines = load_routing(SHIPPED), load_directory(ROOT / "configs" / "resources.yaml")
    routing.check_labels(load_config().labels.names)
    assert all(queue.task and not queue.lines for queue in routing.queues.values())
    assert [name for name, line in lines.items() if line.confirmed or not line.source.startswith("https://")] == []
    assert lines["us_sexual_assault"].contact == "800-656-4673"


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("rule", [], "unknown key 'rule'; did you mean 'rules'?"),
        ("capacity", 5, "unknown key 'capacity'; the allowed keys are queues, rules, "),
        ("queues.first.capasity", 3, "unknown key 'queues.first.capasity'; did you mean 'queues.first.capacity'?"),
        ("rules.0.wenn", {}, "unknown key 'rules.0.wenn'; did you mean 'rules.0.when'?"),
        ("queues.first.action", "remove", "unknown key 'queues.first.action'; the allowed keys are task, capacity, lines"),
        ("rules.1.queue", "secnod", "rules.1 leads to 'secnod', which is not among the queues; did you mean 'second'?"),
        ("rules.0.when", {}, "at least 1"),
        ("rules.0.when", {"alpha": 60}, "must be a probability from 0 to 1"),
        ("rules.0.when", {"alpha": True}, "must be a probability from 0 to 1"),
        ("rules.0.when", {"alpha": [0.6, 0.3]}, "the lower one first"),
        ("rules.0.when", {"alpha": "givn"}, "the word given, but got 'givn'"),
        ("queues.first.capacity", -1, "greater than or equal to 0"),
        ("queues.first.capacity", 2.5, "valid integer"),
        ("queues.first.task", "", "at least 1 character"),
        ("queues.idle", {"task": "x"}, "no rule leads to the queue 'idle'"),
        ("queues.first.lines", ["x"], "name the file that lists them"),
    ],
)
def test_mistakes_in_rules_are_told_in_one_line(key, value, told, tmp_path, refused):
    with refused(tmp_path, told):
        load_routing(in_file(tmp_path, changed(key, value)))


def test_label_that_the_model_lacks_is_told_before_any_work(folder, tmp_path, script, refused):
    rules = in_file(tmp_path, changed("rules.0.when", {"alhpa": 0.5}))
    (tmp_path / "in.jsonl").write_text('{"id": "1", "text": "zaxa"}\n')
    done = script(score.main, tmp_path / "in.jsonl", "--model", folder, "--out", tmp_path / "out", "--route", rules)
    assert (done.code, (tmp_path / "out").exists()) == (2, False)
    assert "rules.0.when names the label 'alhpa', which the model does not have; did you mean 'alpha'?" in done.err
    with refused("did you mean 'alpha'?"):
        _queues_of(load_routing(rules), served_folder(folder, tmp_path))


def served_folder(folder: Path, tmp_path: Path) -> Path:
    (tmp_path / "served" / "data").mkdir(parents=True)
    (tmp_path / "served" / "data" / "m").symlink_to(folder)
    return tmp_path / "served"


def test_line_of_help_must_be_listed_and_confirmed(tmp_path, refused):
    line = {"name": "A line", "contact": "555-0100", "country": "US", "labels": ["alpha"], "languages": ["en"], "source": "https://x.test"}
    tree = changed("queues.first.lines", ["helo"]) | {"resources": "help.yaml"}
    for dates, told in (
        ({}, "'lines.help.checked' is missing"),
        ({"checked": "yesterday"}, "valid date"),
    ):
        in_file(tmp_path, {"lines": {"help": line | dates}}, "help.yaml")
        with refused("help.yaml", told):
            load_routing(in_file(tmp_path, tree))
    day = pd.Timestamp("2026-11-29").date()
    in_file(tmp_path, {"lines": {"help": line | {"checked": day}}}, "help.yaml")
    with refused("queue 'first' names 'helo', which is not in", "did you mean 'help'?"):
        load_routing(in_file(tmp_path, tree))
    with refused("routing.yaml, resources: ", "gone.yaml: cannot be read"):
        load_routing(in_file(tmp_path, tree | {"resources": "gone.yaml"}))
    assert load_routing(in_file(tmp_path, TREE | {"resources": "gone.yaml"})).names[0] == "first", "no queue names a line"
    named = in_file(tmp_path, changed("queues.first.lines", ["help"]) | {"resources": "help.yaml"})
    with refused("queue 'first' names 'help', which nobody has confirmed; call 555-0100"):
        load_routing(named)
    in_file(tmp_path, {"lines": {"help": line | {"checked": day, "confirmed": {"by": "Jane Roe", "day": day}}}}, "help.yaml")
    assert load_routing(named).queues["first"].lines == ["help"]


# ---- who gets a place ----


@dataclass
class Plain:
    """The queues of posts, found in the plainest way: rule by rule, sorted."""

    queues: list[str | None]
    turned_away: Counter[str]
    left_out: int


def fulfils(need: Any, probability: np.float32, given: bool) -> bool:
    low, high = need if isinstance(need, list) else (need, 1)
    return given if need == "given" else bool(np.float32(low) <= probability <= np.float32(high))


def plainly_seated(ids: Sequence[str], probabilities: np.ndarray, decided: np.ndarray, tree: dict[str, Any]) -> Plain:
    found: list[str | None] = [None] * len(ids)
    away = [set[str]() for _ in ids]
    for rule in tree["rules"]:
        columns = {LABELS.index(label): need for label, need in rule["when"].items()}
        meeting = [
            row
            for row in range(len(ids))
            if found[row] is None and all(fulfils(need, probabilities[row, n], decided[row, n]) for n, need in columns.items())
        ]
        first = next(iter(columns))
        meeting.sort(key=lambda row: (-probabilities[row, first], hashlib.sha256(ids[row].encode()).digest()[:8]))
        capacity, queue = tree["queues"][rule["queue"]]["capacity"], rule["queue"]
        room = len(ids) if capacity is None else capacity - found.count(queue)
        for row in meeting[:room]:
            found[row] = queue
        for row in meeting[room:]:
            away[row].add(queue)
    left_out = sum(queue is None and bool(full) for queue, full in zip(found, away, strict=True))
    return Plain(found, Counter(queue for full in away for queue in full), left_out)


def some_posts(seed: int, n_posts: int = 120) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return posts many of which have the same probability."""
    rng = np.random.default_rng(seed)
    probabilities = rng.integers(0, 11, (n_posts, 2)).astype(np.float32) / np.float32(10)
    return [f"{seed}-{number}" for number in range(n_posts)], probabilities, probabilities >= np.float32(0.7)


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
@pytest.mark.parametrize("ids", [["1", "2", "3"], ['"queue": "a", "model": "b"}', "a,b\r\nc", "\\"], []])
@pytest.mark.parametrize("names", [["open", "full"], ['"queue": "a", "model": "b"}', "é,\u2028ü"]])
def test_part_with_other_queues_is_as_if_it_were_written_anew(kind, ids, names):
    """Whatever stands in the other columns, and however queues are called."""

    def written(queues):
        p, column = np.array([[0.1, 0.9]] * len(ids), np.float32).reshape(-1, 2), named(names, np.array(queues[: len(ids)], np.int64))
        table = prediction_table(ids, p, p > 0.5, LABELS, "d1", kept={"lang": ids}, queue=column)
        with prediction_writer(file := io.BytesIO(), kind, table.schema) as write:
            write(table)
        return file.getvalue()

    before, after = [2, 0, 1], [0, 0, 2]
    content = written(before)
    table = part_table(content, f".{kind}", None if kind == "parquet" else ["queue"])
    found, wanted = numbered(names, table["queue"]), np.array(after[: len(ids)], np.int64)
    assert found.tolist() == before[: len(ids)]
    assert numbered(["else", names[1]], table["queue"]).tolist() == [2, -1, 1][: len(ids)]
    mended = with_queues(content, f".{kind}", table, names, wanted, found != wanted)
    if kind == "parquet":  # Arrow notes in the file that the columns were read from Parquet
        assert part_table(mended, ".parquet").equals(part_table(written(after), ".parquet"))
    else:
        assert mended == written(after)


@pytest.mark.parametrize("seed", range(4))
def test_places_are_those_of_plain_sorting_in_whatever_pieces_posts_come(routing, seed):
    ids, probabilities, decided = some_posts(seed)
    wanted = plainly_seated(ids, probabilities, decided, TREE)
    assert [wanted.queues.count(name) for name in ("first", "second", "last")] == [7, 5, 4]
    names = [*routing.names, None]
    assert [names[queue] for queue in seat_all(routing, LABELS, ids, probabilities, decided)] == wanted.queues
    met, order = routing.met(LABELS, probabilities, decided), np.random.default_rng(seed).permutation(len(ids))
    contest = Contest(routing, LABELS)
    for piece in np.array_split(order, 17):
        contest.add([ids[row] for row in piece], probabilities[piece], met[piece], piece)
    seats = seat(routing, met, winners(routing, contest.contenders()))
    assert [names[queue] for queue in seats.queue] == wanted.queues
    assert (seats.turned_away.sum(axis=0).tolist(), seats.left_out.sum()) == (
        [wanted.turned_away[name] for name in routing.names],
        wanted.left_out,
    )
    assert all(len(kept) <= 2 * (7 + 5 + 4) for kept in contest._kept.values())


def write_parts(output: Output, source: ModelFolder, options: Options, seed: int, size: int) -> list[str]:
    """Write what scoring `some_posts` in shards of some size would have written, and return the names of the shards."""
    ids, probabilities, decided = some_posts(seed)
    assert options.route
    names = []
    for number, start in enumerate(range(0, len(ids), size)):
        rows = slice(start, start + size)
        name = f"{'0' * 12}-{number:05d}"
        done = Completion("in", number, start, "", source.digest, options.digest, f"part-{name}.{options.format}")
        queued = options.queued(LABELS, probabilities[rows], decided[rows])
        assert queued is not None
        count_queues(done, options.route, queued)
        done.read = done.scored = len(queued)
        kept = {name: ['a "b", \n\u2028;', ""] * (len(queued) // 2) + [None] * (len(queued) % 2) for name in options.keep}
        table = prediction_table(ids[rows], probabilities[rows], decided[rows], LABELS, "d", kept=kept, queue=options.queue_names(queued))
        with output.part(done) as file, prediction_writer(file, options.format, table.schema) as write:
            write(table)
        names.append(name)
    return names


def rows_in(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for part in sorted(folder.glob("part-*")):
        if part.suffix == ".parquet":
            rows += pq.read_table(part).to_pylist()
        elif part.suffix == ".jsonl":
            rows += map(json.loads, part.read_text("utf-8").split("\n")[:-1])
        else:
            with part.open(encoding="utf-8", newline="") as file:
                rows += csv.DictReader(file)
    return rows


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("part-*")}


SOURCE = ModelFolder(Path(), "d", LABELS, {"balanced": [0.7, 0.7]})


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_parts_get_the_same_queues_whatever_their_size_and_wherever_the_pass_is_stopped(kind, tmp_path, routing, monkeypatch):
    options = Options(route=routing, format=kind, keep=("note",))
    wanted = plainly_seated(*some_posts(0), TREE)
    for size in (120, 50, 9):
        output, summary = Output(tmp_path / str(size)), Summary.of("d", {}, options)
        with output.locked():
            names = write_parts(output, SOURCE, options, 0, size)
            before = rows_in(output.folder)
            keep_capacities(output, names, SOURCE, options, routing, summary)
        rows = rows_in(output.folder)
        assert [row["queue"] or None for row in rows] == wanted.queues
        assert [row | {"queue": 0} for row in rows] == [row | {"queue": 0} for row in before]
        counts = sum((Counter(done.queues) for done in output.completions()), Counter())
        assert counts == Counter(queue for queue in wanted.queues if queue)
        assert (+summary.turned_away, summary.left_out) == (wanted.turned_away, wanted.left_out)

    stopped = Output(tmp_path / "stopped")
    with stopped.locked():
        names = write_parts(stopped, SOURCE, options, 0, 9)
        plain, left = Output.part, iter(range(4))

        def until_the_disk_is_full(self, done):
            if next(left, None) is None:
                raise OutputError("no space left")
            return plain(self, done)

        with monkeypatch.context() as patch, pytest.raises(OutputError):
            patch.setattr(Output, "part", until_the_disk_is_full)
            keep_capacities(stopped, names, SOURCE, options, routing, Summary.of("d", {}, options))
        assert content(stopped.folder) != content(tmp_path / "9")
        keep_capacities(stopped, names, SOURCE, options, routing, Summary.of("d", {}, options))
    assert content(stopped.folder) == content(tmp_path / "9")


def test_full_queue_gives_places_to_later_rules_and_none_at_all_to_nobody(routing):
    closed = Routing.model_validate(changed("queues.first.capacity", 0))
    ids, probabilities, decided = some_posts(1)
    wanted = plainly_seated(ids, probabilities, decided, changed("queues.first.capacity", 0))
    names = [*routing.names, None]
    assert [names[queue] for queue in seat_all(closed, LABELS, ids, probabilities, decided)] == wanted.queues
    assert "first" not in wanted.queues
    assert wanted.turned_away["first"] > 0


# ---- jobs, tables and servers ----


@pytest.fixture(scope="module")
def source(posts, tmp_path_factory) -> Path:
    """A file of posts, of which one is rejected and some repeat."""
    texts = [*posts.texts[:60], "", *posts.texts[:20]]
    path = tmp_path_factory.mktemp("posts") / "in.jsonl"
    path.write_text("".join(json.dumps({"id": str(number), "text": text}) + "\n" for number, text in enumerate(texts)))
    return path


RULES = changed("rules.4.when", {"alpha": 0.01})


def queues_of(out: Path) -> dict[str, str | None]:
    return {row["id"]: row["queue"] for row in rows_in(out)}


def test_job_keeps_capacities_and_other_rules_need_no_scoring(source, folder, tmp_path, script, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 900)
    out, rules = tmp_path / "out", in_file(tmp_path, RULES)
    given = (source, "--model", folder, "--out", out, "--workers", 1, "--route", rules)
    done = script(score.main, *given)
    summary = json.loads((out / "manifest.json").read_text())
    assert done.code == 0, done.err
    assert summary["shards"] > 4
    assert summary["queues"] == {name: list(queues_of(out).values()).count(name) for name in RULES["queues"]}
    assert summary["queues"]["last"] == 4
    assert summary["turned_away"]["last"] == summary["left_out"] > 0
    assert f"  queue last: 4; it was full for {summary['left_out']} more\n" in done.out
    assert f"  in no queue, because every queue for them was full: {summary['left_out']}\n" in done.out
    frame = score_table(pd.read_json(source, lines=True, dtype={"id": str}), _model(folder), Options(route=load_routing(rules)))
    in_table = frame[frame["error"].isna()].set_index("id")["queue"]
    assert {key: value if isinstance(value, str) else None for key, value in in_table.items()} == queues_of(out)

    first = content(out)
    in_file(tmp_path, changed("rules.4.when", {"beta": 0.01}))
    assert json.loads(script(score.main, *given, "--json").out)["kept_shards"] == summary["shards"]
    assert content(out) != first
    fresh = score_files([source], folder, tmp_path / "fresh", Options(route=load_routing(rules)))
    assert (content(out), fresh.kept_shards) == (content(tmp_path / "fresh"), 0)
    in_file(tmp_path, RULES)
    assert script(again.redecide, out, "--out", tmp_path / "again", "--model", folder, "--route", rules).code == 0
    assert content(tmp_path / "again") == first
    assert queues_of(tmp_path / "again") == queues_of_rows(first, tmp_path)
    assert redecide(tmp_path / "again", tmp_path / "same", folder).queues == summary["queues"]


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_part_in_which_no_post_could_be_scored_is_in_nobodys_way(kind, source, folder, tmp_path, routing):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "posts.jsonl").write_bytes(source.read_bytes())
    (tmp_path / "in" / "none.jsonl").write_text('{"id": "a", "text": ""}\n{"id": "b", "text": null}\n')
    summary = score_files([tmp_path / "in"], folder, tmp_path / "out", Options(format=kind, route=routing))
    assert (summary.shards, summary.files[str(tmp_path / "in" / "none.jsonl")].scored) == (2, 0)
    assert {done.route for done in Output(tmp_path / "out").completions()} == {routing.digest}
    other = Routing.model_validate(changed("rules.4.when", {"beta": 0.01}))
    again = score_files([tmp_path / "in"], folder, tmp_path / "out", Options(format=kind, route=other))
    assert (again.kept_shards, sum(again.queues.values()) > 0) == (2, True)
    assert redecide(tmp_path / "out", tmp_path / "again", folder, route=routing).queues == summary.queues


def test_table_in_which_no_post_can_be_scored_has_no_queues(folder, routing):
    frame = score_table(pd.DataFrame({"id": ["1", "2"], "text": ["", None]}), _model(folder), Options(route=routing))
    assert frame["queue"].isna().all()


def test_path_in_place_of_rules_is_refused(refused):
    with refused("route=load_routing('configs/routing.yaml')"):
        Options(route="configs/routing.yaml")


def test_server_of_a_model_that_is_not_ours_cannot_route(routing, tmp_path, refused):
    with refused("--route", "not one of this project"):
        _queues_of(routing, tmp_path)


def queues_of_rows(parts: dict[str, bytes], tmp_path: Path) -> dict[str, str | None]:
    (tmp_path / "rows").mkdir()
    for name, held in parts.items():
        (tmp_path / "rows" / name).write_bytes(held)
    return queues_of(tmp_path / "rows")


def _model(folder: Path) -> Any:
    from models import Classifier

    return Classifier.load(folder)


def test_one_sentence_gets_its_queue(folder, tmp_path, script):
    rules = in_file(tmp_path, changed("rules.4.when", {"alpha": 0}))
    done = script(score.main, "--text", "zaxa zaxo", "--model", folder, "--route", rules)
    assert re.search(r"^queue    (first|second|open|last)$", done.out, re.MULTILINE)
    told = json.loads(script(score.main, "--text", "zaxa zaxo", "--model", folder, "--route", rules, "--json").out)
    assert told["queue"] in done.out


def test_server_gives_the_queue_of_the_first_rule(routing, folder, tmp_path):
    ids, probabilities, decided = some_posts(2)
    frame = pd.DataFrame(probabilities, columns=["prob_alpha", "prob_beta"]).astype("Float32")
    frame["labels"] = [[label for label, given in zip(LABELS, row, strict=True) if given] for row in decided]
    frame.loc[3, ["prob_alpha", "prob_beta"]] = pd.NA
    frame.at[3, "labels"] = []
    told = json.loads(json.dumps(_queues_of(routing, served_folder(folder, tmp_path))))
    found = ServedQueues(**told)(frame)["queue"].tolist()
    endless = TREE | {"queues": {name: queue | {"capacity": None} for name, queue in TREE["queues"].items()}}
    wanted = plainly_seated(ids, probabilities, decided, endless).queues
    assert found == [None if row == 3 else queue for row, queue in enumerate(wanted)]
    assert len(set(found)) > 3
