"""The report is complete and self-contained, has the same bytes for the same results, and is accessible in a real browser."""

import copy
import itertools
import json
import re
from dataclasses import is_dataclass
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import invent, model_config, training
from few_swaps import FEW
from pydantic import ValidationError

from models import Classifier
from models.explanation import Feature, Sides, StrongestFeatures, strongest_features
from models.text import normalise
from pipeline import evaluating
from pipeline.checks.findings import Suspect
from pipeline.config import Data, Evaluation, Natural, Promotion
from pipeline.corpora import load_corpus
from pipeline.evaluation import evaluate_split
from pipeline.evaluation.analysis import analyse
from pipeline.evaluation.behaviour import Case
from pipeline.evaluation.prevalence import estimate_prevalence
from pipeline.evaluation.promotion import decide_promotion
from pipeline.evaluation.results import (
    Comparison,
    Decision,
    Failure,
    Gate,
    MeasuredSliceLabel,
    Results,
    SmallSliceLabel,
)
from pipeline.evaluation.slices import drawn_at_random
from pipeline.evaluation.swaps import measure_swaps
from pipeline.report.note import evaluation_note
from pipeline.report.page import interval, listed, number, percent, percents, render_page, signed
from pipeline.report.plots import Dot, plot_dots
from pipeline.result_base import Result

HOSTILE = "<script>alert('x')</script> & \"q\" $a$ https://example.org/x 😀"
SECRET = "secretword"  # in every post and in no behavioural case
ABOUT = {"evaluated": "test", "data": "<b>data</b>", "model SHA-256": "ab" * 32}
CASES = [
    Case("telling_words", "telling-1", "", "zaxa ba lu", "labels", ("alpha",), ("alpha",), ("beta",)),
    Case("telling_words", "telling-2", "telling-1", f"zaxa {HOSTILE}", "same", (), (), ()),
    Case("impossible", "impossible-1", "", f"zaxa {HOSTILE}", "labels", (), ("beta",), ("alpha", "gamma")),
    Case("impossible", "impossible-2", "impossible-1", "wiku zaxa", "direction", (), ("alpha",), ("beta",)),
]
LOOK = Evaluation(rounds=100, slices=["kind"], natural=Natural(column="kind", values=["random"]), min_positives=3)


def fit(folder, seed: int) -> Classifier:
    posts = invent(200, seed=seed)
    model = Classifier.from_config(model_config())
    model.fit_tokens(training(model.tokenizer([normalise(text) for text in posts.texts]), posts.Y, posts.groups, posts.auxiliary))
    model.save(folder, {"training_data": {"posts": 200}})
    return Classifier.load(folder)


def corpus(folder, *, betas: bool):
    """Make train and test splits that share a text and an author; `betas` says whether any test post has the label beta."""
    folder.mkdir()
    for split, seed in (("train", 5), ("test", 6)):
        posts = invent(120, 60, seed)
        rows = [
            {
                **{"id": f"{split}-{k}<i>", "text": f"{text} {SECRET}" if k else f"the same {SECRET}", "author": f"{split[:k]}{author}"},
                "labels": [name for name, has in zip(("alpha", "beta"), y, strict=True) if has and (betas or name == "alpha")],
                **{"created_at": f"2017-1{k % 2}-05", "source": HOSTILE if k % 3 else "else", "kind": "random" if k % 2 else "chosen"},
            }
            for k, (text, y, author) in enumerate(zip(posts.texts, posts.Y, posts.groups.tolist(), strict=True))
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    labels = model_config().labels
    return load_corpus(Data(sources=[str(folder)], drop_overlap=False), labels, seed=0, further=LOOK.columns)


def measure(model: Classifier, other: Classifier, data) -> Results:
    """Return results such as evaluate.py computes."""
    evaluation = evaluate_split(model, data, "test")
    drawn = drawn_at_random(data, "test", LOOK.natural)
    rest = model.predict_proba(data.splits["train"]["text"])
    months = [["2017-10", "2017-11"][k % 2] for k in range(120)]
    results = Results(
        **dict(evaluation.metrics),
        **dict(analyse(evaluation, data, "test", model, LOOK, 0, other)),
        model=model.digest_,
        evaluated=evaluation.title,
        behaviour=evaluating._behaviour(model, CASES),
        swaps=measure_swaps(FEW, model.labels, model.predict_proba, model.decide),
        data=evaluating._data(model, data, data, "test", evaluation),
        features={label: strongest_features(model, label) for label in model.labels},
        prevalence=estimate_prevalence(
            evaluation.Y[drawn], evaluation.probabilities[drawn], rest, model.labels, model.thresholds_.tolist(), 0.95, 3,
            np.array(months)[drawn].tolist(), months,
        ),
    )  # fmt: skip
    return results.model_copy(update={"promotion": decide_promotion(results, Promotion())})


def written(results: Results):
    """Return the content of a metrics.json."""
    return json.loads(json.dumps(results.model_dump(mode="json"), allow_nan=False))


def relabel(tree, names: list[str]):
    """Return the same results for other labels, which have the numbers of alpha and beta by turns."""
    if isinstance(tree, list):
        return [relabel(each, names) for each in tree]
    if not isinstance(tree, dict):
        return tree
    if set(tree) >= {"alpha", "beta"}:
        old = [tree["alpha"], tree["beta"]]
        return {name: relabel(copy.deepcopy(old[k % 2]), names) for k, name in enumerate(names)}
    return {key: relabel(value, names) for key, value in tree.items()}


def relabelled(results: Results, names: list[str]) -> Results:
    return Results.model_validate(relabel(written(results), names))


@pytest.fixture(scope="module")
def all_results(tmp_path_factory) -> dict[str, Results]:
    """Four evaluations: a full one, one in which much is missing, one with ten labels, and one with a single label."""
    folder = tmp_path_factory.mktemp("results")
    model, other = fit(folder / "model", 0), fit(folder / "other", 1)
    full = measure(model, other, corpus(folder / "full", betas=True))
    bare = measure(model, other, corpus(folder / "bare", betas=False))
    absent = dict.fromkeys(("comparison", "prevalence", "promotion", "new_texts_only", "behaviour", "swaps"))
    data = bare.data.model_copy(update={"label_errors": None, "suspects": None})
    small = bare.model_copy(update=absent | {"data": data})
    ten = relabelled(full, [f"label_{k}_{'x' * 12 * (k % 2)}" for k in range(10)])
    return {"full": full, "bare": bare, "small": small, "ten": ten, "one": relabelled(full, ["alpha"])}


@pytest.fixture(scope="module")
def pages(all_results) -> dict[str, str]:
    return {name: render_page(ABOUT, results) for name, results in all_results.items()}


class Elements(HTMLParser):
    """A parser that collects start tags with their attributes, and all text."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.text += " " if tag in ("dt", "dd", "li", "th", "td", "p", "span") else ""

    def handle_data(self, data):
        self.text += data


def words(page: str) -> str:
    return " ".join(Elements(page).text.split())


NAMES = ["full", "bare", "small", "ten", "one"]


def test_same_results_make_the_same_bytes(all_results, pages):
    assert render_page(ABOUT, Results.model_validate(written(all_results["full"]))) == pages["full"]


@pytest.mark.parametrize("name", NAMES)
def test_results_read_back_from_what_was_written_are_equal(all_results, name):
    results = all_results[name]
    tree = written(results)
    assert Results.model_validate(tree) == Results.model_validate_json(json.dumps(tree)) == results
    assert written(Results.model_validate(tree)) == tree
    optional = {"new_texts_only", "comparison", "prevalence", "promotion"}
    assert optional & set(tree) == {each for each in optional if getattr(results, each) is not None}


def places(found, path=()):
    """Yield the type of every result in a tree, and the path to it."""
    if isinstance(found, Result) or is_dataclass(found):
        yield type(found), path
        found = vars(found)
    within = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for key, value in within:
        yield from places(value, (*path, key))


def test_unknown_fields_are_refused_in_every_part(all_results):
    first = {}
    for name in ("full", "bare"):
        for kind, path in places(all_results[name]):
            first.setdefault(kind, (name, path))
    assert {Results, Comparison, SmallSliceLabel, MeasuredSliceLabel, Failure, Suspect, Gate, StrongestFeatures, Sides, Feature} <= set(
        first
    )
    for name, path in first.values():
        tree = written(all_results[name])
        part = tree
        for key in path:
            part = part[key]
        part["unheard_of"] = 1
        with pytest.raises(ValidationError, match="unheard_of"):
            Results.model_validate(tree)


@pytest.mark.parametrize("name", NAMES)
def test_page_refers_to_nothing_outside(pages, name):
    elements = Elements(pages[name])
    assert not {tag for tag, _ in elements.tags} & {"script", "img", "iframe", "object", "embed", "base", "form"}
    links = [
        value for _, attrs in elements.tags for key, value in attrs.items() if key in ("src", "href", "xlink:href", "srcset", "action")
    ]
    assert len(links) > 10
    assert all(link.startswith("#") or link == "data:," for link in links)
    assert set(re.findall(r"url\((.)", pages[name])) == {"#"}
    assert "@import" not in pages[name]
    ids = [attrs["id"] for _, attrs in elements.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    wanted = {link[1:] for link in links if link.startswith("#")} | set(re.findall(r"url\(#([^)]+)\)", pages[name]))
    assert wanted <= set(ids)


def test_page_holds_cases_escaped_and_no_post(pages):
    assert HOSTILE in Elements(pages["full"]).text
    assert "<script" not in pages["full"]
    assert "<b>data" not in pages["full"]
    assert SECRET not in "".join(pages.values())


def test_headline_counts_what_is_found_and_right(pages, all_results):
    full = all_results["full"]
    values, chosen = full.labels["alpha"], full.thresholds["alpha"].chosen
    marked, found = round(chosen.share * full.posts), round(values.recall * values.support)
    said = f"finds {found} of the {values.support} posts that have it; of the {marked} that it marks, {found} are right"
    assert said in words(pages["full"])
    low, high = full.intervals.macro_f1
    assert f"{full.macro_f1:.3f} between {low:.3f} and {high:.3f} with 95\u00a0% confidence".replace("\u00a0", " ") in words(pages["full"])


def test_every_failing_case_says_what_was_asked_and_given(pages, all_results):
    failures = [case for found in all_results["full"].behaviour.functionalities.values() for case in found.failures]
    assert {"impossible-1"} <= {case.case_id for case in failures}
    page = words(pages["full"])
    assert "Expected beta, but not alpha Given alpha" in page
    for case in failures:
        assert page.count(f"Case {case.case_id}") == 1
        for label in case.failed:
            assert f"{label} {case.probabilities[label]:.2f}" in page
    assert page.index("impossible") < page.index("telling words"), "what fails most comes first"


def test_swaps_are_shown_by_kind_and_by_group_beside_their_controls(pages, all_results):
    swaps = all_results["full"].swaps
    page = words(pages["full"]).split("Words that must not matter: swaps")[1].split("Parts of the posts")[0]
    for kind, found in swaps.kinds.items():
        group, worst = found.worst
        alone = f"{signed(found.control.shift)}; {percent(found.control.changed)}" if found.control else "–"
        row = f"{kind} {group} {worst.label} {signed(worst.shift)} {percent(found.changed)} {alone}"
        assert row.replace("\u00a0", " ") in page
        for name, each in found.groups.items():
            shifts = " ".join(signed(each.shifts[label]) for label in ("alpha", "beta"))
            assert f"{name} {each.posts} {shifts} {percent(each.changed)}".replace("\u00a0", " ") in page
    assert f"Of 2 harmless posts in which the author names a job (“I’m a waitress and I love pasta.”), {len(swaps.jobs.marked)} " in page


def without_intervals(tree):
    """Return the same results without intervals, as if there were too few authors."""
    if not isinstance(tree, dict):
        return tree
    if "verdict" in tree:
        return tree | {"interval": None, "verdict": "cannot tell"}
    return {key: dict.fromkeys(value) if key == "intervals" and "f1" in value else without_intervals(value) for key, value in tree.items()}


def test_too_few_authors_are_said_instead_of_intervals_that_are_not_there(pages, all_results):
    tree = without_intervals(written(all_results["full"]))
    tree["intervals"] = dict.fromkeys(tree["intervals"]) | {"labels": {k: dict.fromkeys(v) for k, v in tree["intervals"]["labels"].items()}}
    tree["sample"]["authors"] = 8
    page = render_page(ABOUT, Results.model_validate(tree))
    said = "There are no intervals: the posts are by 8 authors, but at least 20 are needed. So the differences below are shown"
    assert said in page
    assert "none: too few authors" in page
    for wrong in ("too few positives for an interval", "(bootstrap)", "independent"):
        assert wrong not in page
        assert wrong == "too few positives for an interval" or wrong in pages["full"], "the full page says it"
    costs = [row for label in ("alpha", "beta") for row in all_results["full"].thresholds[label].cost]
    assert costs
    assert not [row for row in costs if percents(row.share_interval) in page]
    sections = [each.split('id="calibration"')[1].split('id="thresholds"')[0] for each in (page, pages["full"])]
    few, many = (section.count("<use") for section in sections)
    bins = sum(len(found) for found in all_results["full"].reliability.values())
    assert many - few == 2 * bins, "the two ends of each interval"


def test_mistakes_are_counted_and_named_by_id_without_text(pages, all_results):
    found = all_results["full"].mistakes
    page = words(pages["full"]).split("Right and wrong decisions of each label")[1]
    alpha = found.labels["alpha"]
    cells = (alpha.true_positives, alpha.false_negatives, alpha.false_positives, alpha.true_negatives)
    assert f"alpha {' '.join(map(str, cells))} beta" in page
    assert f"alpha {found.together['alpha']['alpha']} ({found.given_together['alpha']['alpha']})" in page
    for post in [*alpha.wrongly_given, *alpha.missed]:
        assert f"{post.id} {post.probability:.3f}" in page


def test_title_says_which_model_on_which_data_and_when(all_results):
    about = {"model": "runs/model", "date": "1 May 2026", "evaluated": "test", "data": "data/starter"}
    page = render_page(about, all_results["full"])
    assert "<title>runs/model · data/starter test · 1 May 2026 · evaluation</title>" in page
    assert "Evaluation of runs/model 120 posts of data/starter (test), 1 May 2026" in words(page)


def test_gates_that_failed_come_first(pages, all_results):
    gates = all_results["full"].promotion.gates
    failed = [gate.gate for gate in gates if not gate.passed]
    page = words(pages["full"])
    assert f"Not promoted. It failed {len(failed)} of the {len(gates)} gates" in page
    assert page.index("Gates that failed") < page.index("Gates that passed")
    decision = Decision(promoted=True, gates=[Gate(gate="g", passed=True, found="f")])
    promoted = all_results["full"].model_copy(update={"promotion": decision})
    assert "Promoted. It passed all 1 gates" in words(render_page(ABOUT, promoted))


def test_parts_with_too_few_positives_say_so_instead_of_a_number(pages, all_results):
    few = [part.labels["beta"] for part in all_results["bare"].slices]
    assert all(isinstance(values, SmallSliceLabel) for values in few)
    slices = words(pages["bare"]).split("Parts of the posts")[-1].split("Calibration:")[0]
    assert slices.count("0 positives, too few") == len(few)
    assert "How posts were drawn drawn posts alpha beta macro-F1 exact match at random 60" in slices


def test_label_without_positives_has_dashes_and_no_guarantee(pages, all_results):
    page = words(pages["bare"])
    assert all_results["bare"].comparison.differences.labels["beta"].average_precision.verdict == "cannot tell"
    assert "beta: no post here has this label, so nothing can be said about what the model finds" in page
    assert "beta 0 – – – – –" in page
    assert "No threshold has a guarantee: positives by 0 authors are too few" in page
    assert "Cannot tell for F1 of beta and average precision of beta: too few posts have the label" in page
    assert "0 positives among the labelled posts, too few to correct the plain count of" in page


def test_sections_without_results_are_left_out_of_page_and_navigation(pages):
    ids = {attrs.get("id") for _, attrs in Elements(pages["small"]).tags}
    links = {attrs.get("href") for tag, attrs in Elements(pages["small"]).tags if tag == "a"}
    for name in ("comparison", "behaviour", "swaps", "prevalence"):
        assert name not in ids
        assert f"#{name}" not in links
    assert {"headline", "labels", "slices", "calibration", "thresholds", "data", "features", "provenance", "reading"} <= ids


def test_intervals_that_count_posts_say_so(pages):
    page = words(pages["full"])
    assert "Vertical lines are 95 % intervals that count posts as independent." in page
    assert "; their intervals count posts as independent. The first plot" in page
    assert "(bootstrap); those of the dots of calibration, of shares and of behavioural cases count posts as independent (Wilson)" in page
    assert "by more than chance" not in page.split("Calibration:")[1].split("Thresholds and what they cost")[0]


@pytest.mark.parametrize(("marked", "said"), [(0, "none"), (1, "1 post, wrongly"), (2, "2 posts, all wrongly")])
def test_posts_marked_with_a_label_that_none_has_are_counted_in_grammar(all_results, marked, said):
    tree = written(all_results["bare"])
    tree["thresholds"]["beta"]["chosen"]["share"] = marked / tree["posts"]
    page = words(render_page(ABOUT, Results.model_validate(tree)))
    assert f"so nothing can be said about what the model finds; it marks {said}." in page


def test_shares_that_cannot_be_estimated_name_the_rarer_side(all_results):
    tree = written(all_results["full"])
    periods = [each for each in (tree["prevalence"]["total"], *tree["prevalence"]["months"].values()) if each["labelled"]]
    for period in periods:
        period["labels"]["alpha"] |= {"estimate": None, "interval": None, "too_few": True, "positives": period["labelled"] - 1}
    page = words(render_page(ABOUT, Results.model_validate(tree)))
    assert page.count("1 negative, too few") == len(periods) > 1
    assert "alpha: 1 negative among the labelled posts, too few to correct the plain count" in page


def test_note_of_a_run_compares_in_a_sentence(all_results):
    results = all_results["full"]
    verdict, model = results.comparison.differences.macro_f1.verdict, results.comparison.model[:12]
    assert f"\n\nMacro-F1 compared with the model {model}: {verdict}.\n\n" in evaluation_note("m", ["data"], results)


def test_estimated_shares_are_said_beside_the_plain_count(pages, all_results):
    found = all_results["full"].prevalence.total.labels["alpha"]
    said = f"alpha: {percent(found.estimate)} {percents(found.interval)}. The plain count, {percent(found.counted)}, is "
    assert said.replace("\u00a0", " ") in words(pages["full"])


def test_plots_show_the_same_values_as_text_and_survive_any_name():
    svg = plot_dots("p", "<title>", [Dot("$a_b$ <i> 中 " + "x" * 99, 0.5, (0.4, 0.6)), Dot("none", None, None)], "F1")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert any(text.startswith("$a_b$ &lt;i&gt; 中 xxx") and text.endswith("…") for text in texts)
    assert "none: undefined" in texts
    assert '<title id="p">&lt;title&gt;</title>' in svg
    assert not re.search("#0101", svg), "a stand-in for a colour was left"
    assert "http" not in svg


def test_differences_on_both_sides_of_zero_stay_within_the_plot():
    svg = plot_dots("p", "t", [Dot("a", -0.02, (-0.08, 0.01))], "difference", "zero")
    (whisker,) = re.findall(
        r'd="M ([\d.]+) [\d.]+ \nL ([\d.]+) [\d.]+ \n" clip-path="[^"]*" style="fill: none; stroke: var\(--first\)', svg
    )
    zero = 340 / 2
    assert 14 < float(whisker[0]) < zero < float(whisker[1]) < 326


def test_numbers_as_people_read_them():
    assert [number(0.8129), number(-0.2, 1), number(None)] == ["0.813", "−0.2", "–"]
    assert [signed(0.0131), signed(-0.0002), signed(0.0)] == ["+0.013", "−0.0002", "+0.000"]
    assert [percent(0.05), percent(0.7197), percent(0.0042), percent(0), percent(1), percent(None)] == [
        *("5\u00a0%", "72.0\u00a0%", "0.42\u00a0%", "0\u00a0%", "100\u00a0%", "–"),
    ]
    assert [interval((0.1, 0.25), 2), interval((-0.1, 0.25), 2, sign=True), interval(None)] == ["[0.10–0.25]", "[−0.10 to +0.25]", ""]
    assert [percents((0.012, 0.057)), percents(None)] == ["[1.2–5.7\u00a0%]", ""]
    assert [listed([]), listed(["a"]), listed(["a", "b", "c"])] == ["none", "a", "a, b and c"]


# In a browser.

HEADINGS = "[...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map(heading => Number(heading.tagName[1]))"
WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
SIZES = "all => all.map(plot => 12 * plot.getBoundingClientRect().width / plot.viewBox.baseVal.width)"
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def files(pages, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, page in pages.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return {name: (folder / f"{name}.html").as_uri() for name in pages}


@pytest.fixture
def visit(browser, files):
    """``visit("full", width=360, color_scheme="dark")`` opens a report.

    At the end, it fails if the page requested or logged anything.
    """
    opened, asked, said = [], [], []

    def go(name, width=1200, **context):
        page = browser.new_page(viewport={"width": width, "height": 800}, **context)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(files[name])
        opened.append((page, files[name]))
        return page

    yield go
    assert [url for url in asked if url != "data:,"] == [url for _, url in opened]
    assert said == []
    for page, _ in opened:
        page.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_fits_a_phone(visit, name):
    page = visit(name, width=360)
    scrolled, seen = page.evaluate(WIDTHS)
    assert scrolled == seen
    for box in page.locator(".scroll").all():
        assert box.get_attribute("tabindex") == "0"
    smallest = min(page.locator("svg.plot").evaluate_all(SIZES))
    assert smallest > 10, "text of plots, in pixels"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scheme"), [("full", "light"), ("full", "dark"), ("small", "light")])
def test_no_barrier_found_by_axe(visit, name, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(name, color_scheme=scheme)
    page.locator("details").evaluate_all("all => all.forEach(details => details.open = true)")
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], "resultTypes": ["violations"]}
    found = Axe().run(page, options=rules).response
    assert [(each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in found["violations"]] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["full", "small"])
def test_structure_for_those_who_do_not_see_it(visit, name):
    page = visit(name)
    levels = page.evaluate(HEADINGS)
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for table in page.locator("table").all():
        assert table.locator("caption").text_content()
        assert table.locator("thead th[scope=col]").count() == table.locator("thead th").count() >= 2
        assert table.locator("tbody tr").count() == table.locator("tbody tr > th:first-child[scope]").count() >= 1
    names = page.locator("[role=img]").evaluate_all(
        "all => all.map(image => document.getElementById(image.getAttribute('aria-labelledby')).textContent)"
    )
    assert len(names) == len(set(names)) == page.locator("svg").count() >= 8
    for landmark in ("banner", "main", "contentinfo"):
        assert page.get_by_role(landmark).count() == 1
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the findings"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


@pytest.mark.slow
def test_dark_scheme_is_dark_and_plots_follow(visit):
    colours = {}
    for scheme in ("light", "dark"):
        page = visit("full", color_scheme=scheme)
        text = page.locator("svg.plot text").first.evaluate("text => getComputedStyle(text).fill")
        colours[scheme] = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (page.evaluate(BACKGROUND), text)]
    (light, on_light), (dark, on_dark) = colours["light"], colours["dark"]
    assert min(light, on_dark) > 600
    assert max(dark, on_light) < 200


@pytest.mark.slow
def test_print_shows_what_is_folded_on_screen_on_white(visit):
    page = visit("full", color_scheme="dark")
    case = page.get_by_text("Case", exact=True).first
    folded = "element => element.checkVisibility({contentVisibilityAuto: true})"
    assert not case.evaluate(folded)
    page.emulate_media(media="print")
    assert case.evaluate(folded)
    assert page.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
    scrolled, seen = page.evaluate(WIDTHS)
    assert scrolled == seen


@pytest.mark.slow
def test_verdict_is_on_the_first_screen_of_a_phone(visit):
    page = visit("full", width=390)
    for said in (page.get_by_text("Not promoted."), page.locator(".lead")):
        box = said.bounding_box()
        assert box["y"] + box["height"] < 400, "well within the 844 pixels of a phone"


@pytest.mark.slow
def test_details_open_by_keyboard(visit):
    page = visit("full")
    summary = page.locator(".tests summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator(".cases blockquote").first.is_visible()
