"""The model card: all its numbers come from the evaluation, it quotes no post, and the committed card describes the committed model."""

import json
import re
import sys
from itertools import dropwhile, takewhile
from pathlib import Path

import numpy as np
import pytest
from conftest import invent, model_config, training
from few_swaps import FEW
from huggingface_hub import ModelCard

from models import Classifier
from models.explanation import strongest_features
from models.storage import RELEASED, read_description
from models.text import normalise
from pipeline import evaluating, terminal
from pipeline.commands.card import main
from pipeline.config import Data, Evaluation
from pipeline.corpora import load_corpus
from pipeline.evaluation import Results, evaluate_split, write_evaluation
from pipeline.evaluation.analysis import analyse
from pipeline.evaluation.behaviour import Case
from pipeline.evaluation.plain import answer_sentences
from pipeline.evaluation.results import MeasuredSliceLabel, Slice, SliceIntervals, SmallSliceLabel
from pipeline.evaluation.swaps import measure_swaps
from pipeline.report import card, page
from pipeline.result_base import Interval
from pipeline.scoring import Options, score_files

LABELS = ["alpha", "solidarity_support"]
HOSTILE = "<b>a|b</b> [x](y) `z`"  # a source, as a column of the data may hold it
SECRET = "secretword"  # in every post
CASES = [
    Case("telling_words", "telling-1", "", "zaxa ba lu", "labels", ("alpha",), ("alpha",), ()),
    Case("impossible", "impossible-1", "", "zaxa de fi", "labels", (), (LABELS[1],), ("alpha",)),
]
# Sentences, and the labels that they deserve: more than the card shows, some right and some wrong.
PLAIN = [("zaxa #zaxa", "alpha"), ("ba|de", ""), ("zaxa fi", "gamma"), *[("ba de", "")] * 18, ("ba lu", "alpha"), ("fi", "")]


def corpus(folder: Path):
    posts = invent(160, 80, seed=3)
    rows = [
        {"id": f"id-{k}", "text": f"{text} {SECRET}", "author": f"author-{author}", "source": HOSTILE if k % 4 else "else"}
        | {"labels": [label for label, has in zip(LABELS, y, strict=True) if has]}
        for k, (text, y, author) in enumerate(zip(posts.texts, posts.Y, posts.groups.tolist(), strict=True))
    ]
    folder.mkdir()
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    labels = model_config().labels.model_copy(update={"labels": config().labels.labels})
    return load_corpus(Data(sources=[str(folder)]), labels, seed=0)


def config():
    changed = model_config().model_dump()
    changed["labels"]["labels"][1]["name"] = LABELS[1]
    return type(model_config()).model_validate(changed)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A model, its evaluation, its scores of posts without labels, and the same scores by another model."""
    folder = tmp_path_factory.mktemp("card")
    posts = invent(200)
    model = Classifier.from_config(config())
    model.fit_tokens(training(model.tokenizer([normalise(text) for text in posts.texts]), posts.Y, posts.groups))
    model.save(folder / "model", {"training_data": {"posts": 1234, "sha256": "c0ffee" * 10 + "1234"}})
    model.save(folder / "other", {"training_data": {"posts": 1234, "sha256": "d" * 64}})
    model.save(folder / "bare")
    model = Classifier.load(folder / "model")
    data = corpus(folder / "data")
    evaluation = evaluate_split(model, data, "test")
    results = Results(
        **dict(evaluation.metrics),
        **dict(analyse(evaluation, data, "test", model, Evaluation(rounds=100, min_positives=3), 0)),
        model=model.digest_,
        evaluated=evaluation.title,
        behaviour=evaluating._behaviour(model, CASES),
        swaps=measure_swaps(FEW, model.labels, model.predict_proba, model.decide),
        data=evaluating._data(model, data, data, "test", evaluation),
        features={label: strongest_features(model, label) for label in model.labels},
    )
    write_evaluation(evaluation, model, results, "a report", folder / "evaluation")
    assert card.read_results(folder / "evaluation", model.digest_) == results
    texts = ["zaxa zaxa", "zaxa zaxo", "wiku wiku", *["ba de"] * 37]
    (folder / "ordinary.jsonl").write_text("".join(json.dumps({"id": k, "text": text}) + "\n" for k, text in enumerate(texts)))
    (folder / "plain.csv").write_text("text,labels,writer\n" + "".join(f"{text},{labels},a\n" for text, labels in PLAIN))
    for name in ("model", "other"):
        score_files([folder / "ordinary.jsonl"], folder / name, folder / f"scores-{name}")
    return folder


@pytest.fixture
def write(made, tmp_path, monkeypatch, capsys):
    """``write(ordinary="x=folder")`` runs the command and returns its exit code, its output and the card."""

    def call(**changes: object) -> tuple[int, str, str, Path]:
        given = {"model": made / "model", "evaluation": f"test posts={made / 'evaluation'}", "plain": made / "plain.csv"}
        given |= {"ordinary": f"ordinary posts={made / 'scores-model'}", "out": tmp_path / "card.md", **changes}
        repeated = {name: value if isinstance(value, list) else [value] for name, value in given.items()}
        options = [str(part) for name, values in repeated.items() for value in values for part in (f"--{name}", value)]
        monkeypatch.setattr(sys, "argv", ["card", *options])
        with pytest.raises(SystemExit) as caught:
            terminal.run(main)
        printed = capsys.readouterr()
        return caught.value.code or 0, printed.out, printed.err, Path(str(given["out"]))

    return call


def rows(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table after a heading, without its header."""
    below = dropwhile(lambda line: not line.startswith("|"), text.split(f"{heading}\n", 1)[1].splitlines())
    table = takewhile(lambda line: line.startswith("|"), below)
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]
    assert {len(row) for row in cells} == {len(cells[0])}
    return cells[2:]


def read(made: Path) -> Results:
    return Results.model_validate_json((made / "evaluation" / "metrics.json").read_bytes())


def render(made: Path, results: Results | None = None, **changes: object) -> str:
    """The card without scores of ordinary posts; ``changes`` are of ``model.json``."""
    digest, description = read_description(made / "model")
    plain = answer_sentences(str(made / "plain.csv"), Classifier.load(made / "model"))
    return card.render_card(digest, description | changes, 1, card.Measured({"posts": results or read(made)}, [], plain))


def test_card_opens_with_plain_sentences_and_what_the_model_says_of_them(made, write):
    text, model = write()[3].read_text(), Classifier.load(made / "model")
    assert text.index("\n## ") == text.index("\n## What it says about plain sentences\n")
    first, wrong = text.split("## What its labels mean")[0].split("such sentences](")
    deserved = [[label for label in LABELS if label in labels] for _, labels in PLAIN]
    probabilities = model.predict_proba([sentence for sentence, _ in PLAIN])
    given = [[label for label, yes in zip(LABELS, row, strict=True) if yes] for row in model.decide(probabilities)]
    expected = []
    for (sentence, _), deserves, says, row in zip(PLAIN, deserved, given, probabilities, strict=True):
        shown = [f"**{p:.2f}**" if label in says else f"{p:.2f}" for label, p in zip(LABELS, row, strict=True)]
        verdict = "right" if says == deserves else "wrong"
        expected.append([sentence.replace("|", r"\|"), ", ".join(deserves).replace("_", " ") or "none", *shown, verdict])
    assert rows(first, "## What it says about plain sentences") == expected[:20]
    assert {row[-1] for row in expected[:20]} == {"right", "wrong"}
    assert rows(f"## Wrong\n{wrong}", "## Wrong") == [row for row in expected[20:] if row[-1] == "wrong"] != []
    right = sum(row[-1] == "right" for row in expected)
    assert f"labels to {right} of [{len(PLAIN)} " in first
    assert "giving no label at all is right for 21)" in wrong


def test_evaluations_are_told_in_a_row_each_and_the_first_in_full(made, write):
    results = read(made)
    without = results.intervals.model_copy(update={"macro_f1": None})
    few = results.model_copy(update={"posts": 4321, "macro_f1": 0.4567, "intervals": without})
    (made / "few").mkdir(exist_ok=True)
    (made / "few" / "metrics.json").write_text(few.model_dump_json())
    text = write(evaluation=[f"test|posts={made / 'evaluation'}", f"few posts={made / 'few'}"])[3].read_text()
    first, second = rows(text, "## How well it works")
    low, high = results.intervals.macro_f1
    assert first[:4] == [r"test\|posts", "160", str(results.sample.authors), f"{results.macro_f1:.3f} [{low:.3f}–{high:.3f}]"]
    assert second[:4] == ["few posts", "4,321", str(results.sample.authors), "0.457"]
    assert [row[5].split(" [")[0] for row in (first, second)] == [f"{results.labels['alpha'].f1:.3f}"] * 2
    worst = max(values.ece for values in results.labels.values())
    assert first[-1].startswith(f"{worst:.3f} [")
    assert "4321" not in text.split("### Label by label")[1]
    assert r"the first row, test\|posts." in text
    assert [found.dataset_name for found in ModelCard(text).data.eval_results] == ["test|posts"] * 2 + ["few posts"] * 2


def test_every_number_is_the_evaluation_s(made, write):
    code, out, err, path = write()
    assert (code, out, err) == (0, f"card     {path}\n", "")
    text, results = path.read_text(), read(made)
    for row, (label, values) in zip(rows(text, "### Label by label"), results.labels.items(), strict=True):
        bounds = results.intervals.labels[label]
        pairs = [(values.precision, bounds.precision), (values.recall, bounds.recall), (values.f1, bounds.f1)]
        shown = [f"{value:.3f} [{low:.3f}–{high:.3f}]" for value, (low, high) in pairs]
        assert row[:5] == [label.replace("_", " "), str(values.support), *shown]
        assert row[6].startswith(f"{values.ece:.3f} [")
        assert row[7] == f"{values.threshold:.2f}"
    assert f"Every label is right for {page.percent(results.exact_match)} of the posts" in text
    assert "1,234 posts (SHA-256 `c0ffeec0ffee`)" in text
    weakest, strongest = rows(text, "### Does it do what a person would expect?")
    assert (weakest[:2], strongest[:2]) == (["impossible", "0 of 1"], ["telling words", "1 of 1"])


def test_swaps_are_the_evaluation_s(made, write):
    text, swaps = write()[3].read_text(), read(made).swaps
    for row, (kind, found) in zip(rows(text, "### Do irrelevant words matter?"), swaps.kinds.items(), strict=True):
        group, worst = found.worst
        assert row[:5] == [kind, group, worst.label.replace("_", " "), f"{worst.shift:+.3f}", page.percent(found.changed)]
        assert (row[5] == "–") == (found.control is None)
    assert f"marks {len(swaps.jobs.marked)} of {swaps.jobs.posts} harmless posts in which" in text
    assert "irrelevant" not in render(made, read(made).model_copy(update={"swaps": None}))


def test_parts_are_shown_once_with_what_was_measured_and_as_text_only(made, write):
    text = write()[3].read_text()
    slices = read(made).slices
    found = {row[0]: row for row in rows(text, "### Parts of the posts")}
    source = next(part for part in slices if part.value == HOSTILE)
    row = found[r"source: \<b\>a\|b\</b\> \[x\](y) \`z\`"]
    assert row[1] == str(source.posts)
    assert row[2].startswith(f"{source.labels['alpha'].f1:.3f} [")
    assert row[2].endswith(f" of {source.labels['alpha'].support}")
    assert "160" not in {row[1] for row in found.values()}  # all posts are no part of them
    assert 160 in {part.posts for part in slices}
    assert card._worth_showing([source, source.model_copy(update={"column": "again"})], 160) == [source]


def test_uncalibrated_parts_are_named_worst_first():
    def part(value: str, found: MeasuredSliceLabel | SmallSliceLabel) -> Slice:
        return Slice(column="source", value=value, posts=9, labels={"alpha": found}, macro_f1=None, exact_match=0.5)

    def measured(ece: Interval | None) -> MeasuredSliceLabel:
        bounds = SliceIntervals(precision=(0, 1), recall=(0, 1), f1=(0, 1), average_precision=(0, 1), ece=ece)
        return MeasuredSliceLabel(support=5, precision=0.5, recall=0.5, f1=0.5, average_precision=0.5, ece=0.3, intervals=bounds)

    small = SmallSliceLabel(support=5, false_positives=0)
    found = {"fine": measured((0.05, 0.5)), "bad": measured((0.06, 0.5)), "few": small, "unsure": measured(None)}
    found |= {"worst": measured((0.2, 0.5))}
    told = card._uncalibrated([part(*each) for each in found.items()], 0.05)
    assert [(each.value, each.label, each.ece, each.interval) for each in told] == [
        ("worst", "alpha", 0.3, (0.2, 0.5)),
        ("bad", "alpha", 0.3, (0.06, 0.5)),
    ]


def test_false_alarms_are_the_decisions_of_score(made, write):
    found = rows(write()[3].read_text(), "### What does it do with ordinary posts?")
    assert [row[:3] for row in found] == [["ordinary posts", "40", point] for point in ("balanced", "cautious", "sensitive")]
    for row in found:
        options = Options(operating_point=row[2])
        counted = score_files([made / "ordinary.jsonl"], made / "model", made / f"again-{row[2]}", options).labels
        shares = [float(re.match(r"[\d.]+", cell)[0]) for cell in row[3:]]
        assert shares == [100 * counted[label] / 40 for label in [*LABELS, "alpha"]]
    assert found[0][3] != found[2][3]


def test_each_operating_point_is_shown_with_what_it_costs(made, write):
    points = read_description(made / "model")[1]["operating_points"]
    table = rows(write()[3].read_text(), "### What do its operating points cost?")
    assert [row[:2] for row in table] == [
        [f"`{point}`", label] for point in ("balanced", "cautious", "sensitive") for label in ("alpha", "solidarity support", "any label")
    ]
    for row in table:
        point = points[row[0].strip("`")]
        if row[1] == "any label":
            assert float(row[5].split()[0]) == pytest.approx(100 * point["false_alarms"], abs=0.06)
            continue
        label = row[1].replace(" ", "_")
        cost = point["labels"][label]
        assert row[2:5] == [f"{value:.2f}" for value in (point["thresholds"][label], cost["recall"], cost["precision"])]
        assert float(row[5].split()[0]) == pytest.approx(100 * cost["false_alarms"], abs=0.06)


def test_support_alone_is_no_disclosure():
    probabilities = np.array([[0.1, 0.9, 0.1], [0.5, 0.1, 0.1], [0.6, 0.9, 0.8], [0.1, 0.1, 0.1]], np.float32)
    found = card.false_alarms("posts", probabilities, {"alpha": 0.5, LABELS[1]: 0.5, "beta": 0.5}, {LABELS[1]})
    assert (found.posts, found.disclosure.share) == (4, 0.5)
    assert [each.share for each in found.labels.values()] == [0.5, 0.5, 0.25]
    low, high = found.disclosure.interval
    assert (round(low, 3), round(high, 3)) == (0.15, 0.85)  # the Wilson interval, as any table of it has it


def test_card_says_what_it_learned_from_as_far_as_the_model_does(made):
    noted = read_description(made / "model")[1]["training_data"]
    assert "**22,000 further captions and tweets**" in render(made, training_data=noted | {"unlabelled": 22_000})
    assert "further captions" not in render(made)


def test_card_claims_of_the_vocabulary_what_the_config_made_sure_of(made):
    description = read_description(made / "model")[1]

    def privacy(**features: object) -> str:
        config = description["config"] | {"features": {"word_min_df": 2} | features}
        return render(made, config=config).split("## Privacy")[1]

    for claims_little in (privacy(), privacy(min_authors=1, private="keep")):
        assert "as few as 2 posts: protect it like the posts" in claims_little
        assert "looks like a name" not in claims_little
    careful = privacy(min_authors=7, private="drop")
    assert "no n-gram that fewer than 7 authors used" in careful
    assert "No n-gram looks like a name" in careful
    assert "protect it like" not in careful


def test_same_inputs_same_bytes_and_nothing_of_a_post(write, tmp_path):
    first = write()[3].read_bytes()
    assert write(out=tmp_path / "again.md")[3].read_bytes() == first
    _, _, rest = first.decode().partition("## What its labels mean")  # before it are plain sentences
    for word in ("zaxa", "wiku"):
        assert word not in rest
    for word in (SECRET, "id-1", "author-1"):
        assert word not in first.decode()


def test_a_template_of_one_s_own_replaces_what_is_true_of_the_released_model_alone(write, tmp_path):
    own = tmp_path / "own.md.j2"
    own.write_text('{% extends "card.md.j2" %}{% block title %}Ours{% endblock %}{% block limits %}\n- {{ digest }}\n{% endblock %}')
    text = write(template=own)[3].read_text()
    assert "\n# Ours\n\nThis model" in text
    assert "Whose words" not in text
    assert "## How well it works" in text


def test_card_of_the_public_model_claims_no_real_post(write):
    text = write(template=Path(card.__file__).with_name("card_public.md.j2"))[3].read_text()
    assert "# The model that anybody can make\n" in text
    for word in ("make released`", "2017", "twice", "CLAff", "people who wrote them"):
        assert word not in text
    assert "\n\n\n" not in text


def test_header_is_what_model_hubs_read(made, write):
    loaded = ModelCard.load(write()[3]).data
    assert (loaded.language, loaded.license, loaded.pipeline_tag) == ("en", "apache-2.0", "text-classification")
    assert loaded.to_dict()["digest"] == read_description(made / "model")[0]
    results = read(made)
    assert [found.metric_value for found in loaded.eval_results] == [round(results.macro_f1, 4), round(results.mean_average_precision, 4)]


MISTAKES = [
    ("model", "{tmp}/nowhere", "nowhere: is not a model directory"),
    ("model", "{made}/other", "metrics.json: is about model"),
    ("model", "{made}/bare", "bare: does not say what it was trained on"),
    ("evaluation", "posts={tmp}/nowhere", "metrics.json: cannot be read"),
    ("evaluation", "posts={tmp}/text", "metrics.json: is damaged, or was not written by this release; evaluate the model again"),
    ("evaluation", "posts={tmp}/old", "metrics.json: is damaged, or was not written by this release; evaluate the model again"),
    ("evaluation", "posts={tmp}/newer", "metrics.json: is damaged, or was not written by this release; evaluate the model again"),
    (
        "evaluation",
        "posts={tmp}/validation",
        "metrics.json: holds an evaluation on validation, but a card must report on test; evaluate with --split test",
    ),
    ("evaluation", "posts={tmp}/silent", "has no behavioural cases"),
    ("evaluation", "posts={tmp}/cautious", "metrics.json: measures the operating point cautious, but a card must report on balanced; "),
    ("evaluation", "{made}/evaluation", "must be NAME=DIR, such as"),
    ("plain", "{tmp}/nowhere.csv", "nowhere.csv"),
    ("plain", "{tmp}/typo.csv", "alpah"),
    ("template", "{tmp}/nowhere.j2", "nowhere.j2: no such template"),
    ("ordinary", "{made}/scores-model", "must be NAME=DIR"),
    ("ordinary", "tweets={made}/scores-other", "scored by the model"),
    ("ordinary", "tweets={tmp}/nowhere", "nowhere"),
    ("out", "{tmp}/nowhere/card.md", "cannot be written"),
]


@pytest.mark.parametrize(("option", "value", "told"), MISTAKES)
def test_what_cannot_be_used_is_exit_code_2_with_one_line(made, write, tmp_path, option, value, told):
    results = json.loads((made / "evaluation" / "metrics.json").read_text())
    contents = {"text": "no json", "old": json.dumps({"posts": 3}), "silent": json.dumps(results | {"behaviour": None})}
    contents |= {"newer": json.dumps(results | {"unheard_of": 1}), "validation": json.dumps(results | {"evaluated": "validation"})}
    contents |= {"cautious": json.dumps(results | {"operating_point": "cautious"})}
    for name, content in contents.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(content)
    (tmp_path / "typo.csv").write_text("text,labels\nzaxa,alpah\n")
    code, out, err, path = write(**{option: value.format(made=made, tmp=tmp_path)})
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: .+\n", err)
    assert told in err
    assert not path.exists()


def test_evaluations_need_names_of_their_own(made, write):
    code, _, err, path = write(evaluation=[f"posts={made / 'evaluation'}"] * 2)
    assert (code, err) == (2, "error: --evaluation: two evaluations have the same name; rename one\n")
    assert not path.exists()


# The card that is committed


COMMITTED = RELEASED / card.CARD


def test_committed_card_is_of_the_committed_model():
    digest, description = read_description(RELEASED)
    committed = ModelCard.load(COMMITTED)
    assert committed.data.to_dict()["digest"] == digest
    assert f"Its digest is `{digest}`." in committed.text
    assert f"{description['training_data']['posts']:,} posts (SHA-256 `{description['training_data']['sha256'][:12]}`)" in committed.text
    assert [row[0] for row in rows(committed.text, "## What its labels mean")] == [
        f"`{label['name']}`" for label in description["config"]["labels"]["labels"]
    ]
    thresholds = [f"{description['thresholds'][label['name']]:.2f}" for label in description["config"]["labels"]["labels"]]
    assert [row[-1] for row in rows(committed.text, "### Label by label")] == thresholds


def test_committed_card_was_made_from_the_template_that_stands():
    template = Path(card.__file__).with_name("card.md.j2").read_text()
    always = re.sub(r"{% if .*?{% endif %}", "{}", template, flags=re.DOTALL)
    said = [line for line in always.splitlines() if line and not re.search(r"[{}]", line)]
    assert len(said) > 40
    assert [line for line in said if line not in COMMITTED.read_text().splitlines()] == []


def test_committed_card_s_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", COMMITTED.read_text())
    assert links
    assert [link for link in links if not (RELEASED / link).exists()] == []
