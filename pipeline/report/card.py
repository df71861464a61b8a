"""The card of the released model, made from its directory, its evaluation and its scores of ordinary posts.

What is said of the corpora, of uses and of limits stands in ``card.md.j2``; every number about the model is read, so that none drifts.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from models.arrays import Decisions, Probabilities
from models.errors import InputError
from models.storage import DESCRIPTION, read_model
from pipeline import __version__
from pipeline.config_files import load_config
from pipeline.evaluation import METRICS_FILE, Results
from pipeline.evaluation.prevalence import read_scores
from pipeline.evaluation.results import MeasuredSliceLabel, Slice
from pipeline.metrics import wilson_interval
from pipeline.results import Interval

CARD = "README.md"
_WEAKEST = 12  # functionalities named
_NEARLY_ALL = 0.95  # of the posts: a slice that says nothing of its own
_CONFIDENCE = 0.95  # of shares of ordinary posts, as of behavioural cases


@dataclass(frozen=True)
class Share:
    """A share of posts, and its 95 % Wilson interval."""

    share: float
    interval: Interval


@dataclass(frozen=True)
class FalseAlarms:
    """Which share of posts that deserve no label a model marks all the same.

    Attributes
    ----------
    name : str
        Of the posts.
    posts : int
    labels : dict of str to Share
    disclosure : Share
        Any label but those of support.
    """

    name: str
    posts: int
    labels: dict[str, Share]
    disclosure: Share


@dataclass(frozen=True)
class Uncalibrated:
    """A label whose calibration error on a slice is beyond the limit by more than chance."""

    column: str
    value: str
    label: str
    ece: float
    interval: Interval


def read_results(folder: Path, digest: str) -> Results:
    """Read ``metrics.json`` of what evaluate.py wrote.

    Parameters
    ----------
    folder : Path
    digest : str
        Of the model that must have been evaluated.

    Raises
    ------
    InputError
        When there is none, it is another model's, another release's or not of test, or lacks the behavioural cases.
    """
    path = folder / METRICS_FILE
    try:
        results = Results.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the --out of evaluate.py") from None
    except ValidationError:
        raise InputError(f"{path}: damaged, or no evaluation by this release; evaluate the model again") from None
    if results.model != digest:
        raise InputError(f"{path}: evaluates the model {results.model[:12]}, not {digest[:12]}; evaluate this one")
    if results.evaluated != "test":
        raise InputError(f"{path}: evaluates {results.evaluated}, and a card tells of test; evaluate with --split test")
    if not results.behaviour:
        raise InputError(f"{path}: without behavioural cases; evaluate with evaluation.behaviour, as in configs/default.yaml")
    return results


def _share(flagged: Decisions) -> Share:
    return Share(float(flagged.mean()), wilson_interval(int(flagged.sum()), len(flagged), _CONFIDENCE))


def false_alarms(name: str, probabilities: Probabilities, thresholds: Mapping[str, float], support: Collection[str]) -> FalseAlarms:
    """Count posts that deserve no label and that a model marks all the same.

    Parameters
    ----------
    name : str
        Of the posts.
    probabilities : ndarray of float32, shape (n_posts, n_labels)
    thresholds : dict of str to float
        By label, in the order of the columns.
    support : collection of str
        Labels that tell of no harm.

    Returns
    -------
    FalseAlarms
    """
    decided: Decisions = probabilities >= np.array(list(thresholds.values()), np.float32)
    told = [label not in support for label in thresholds]
    by_label = {label: _share(decided[:, k]) for k, label in enumerate(thresholds)}
    return FalseAlarms(name, len(decided), by_label, _share(decided[:, told].sum(axis=1) > 0))


def _read_ordinary(setting: str, digest: str, thresholds: Mapping[str, float], support: Collection[str]) -> FalseAlarms:
    name, _, folder = setting.partition("=")
    if not (name and folder):
        raise InputError(f"--ordinary {setting}: must be NAME=DIR, such as 'ordinary tweets=runs/tweets'")
    scores = read_scores(folder, digest, list(thresholds))
    return false_alarms(name, scores.probabilities, thresholds, support)


def _worth_showing(slices: Iterable[Slice], posts: int) -> list[Slice]:
    """Slices but those that are nearly everything, and those that another column showed already."""
    shown: list[Slice] = []
    for part in slices:
        repeats = any((part.posts, part.labels) == (other.posts, other.labels) for other in shown)
        if part.posts < _NEARLY_ALL * posts and not repeats:
            shown.append(part)
    return shown


def _measured(part: Slice) -> bool:
    return any(isinstance(values, MeasuredSliceLabel) for values in part.labels.values())


def _uncalibrated(slices: Iterable[Slice], limit: float) -> list[Uncalibrated]:
    """Labels of slices whose calibration error is beyond a limit, and not by chance; the worst first."""
    found = [
        Uncalibrated(part.column, part.value, label, values.ece, bounds)
        for part in slices
        for label, values in part.labels.items()
        if isinstance(values, MeasuredSliceLabel) and (bounds := values.intervals.ece) and bounds[0] > limit
    ]
    return sorted(found, key=lambda each: (-each.interval[0], each.column, each.value, each.label))


def _header(digest: str, results: Results) -> str:
    """What model hubs read, as YAML."""
    from huggingface_hub import EvalResult, ModelCardData

    test = partial(EvalResult, "text-classification", "metoo2017", "metoo2017", dataset_split="test")
    data = ModelCardData(
        language="en",
        license="apache-2.0",
        library_name="disclosure-pipeline",
        pipeline_tag="text-classification",
        tags=["multi-label", "sexual-harassment", "survivor-support"],
        model_name="disclosure-released",
        digest=digest,
        eval_results=[
            test("f1", round(results.macro_f1, 4), metric_name="macro-F1"),
            *(
                [test("mean_average_precision", round(results.mean_average_precision, 4), metric_name="mean average precision")]
                if results.mean_average_precision is not None
                else []
            ),
        ],
    )
    return data.to_yaml()


def _cell(text: str) -> str:
    """Text as Markdown shows it, in one line, in a table or not."""
    return re.sub(r"([|\\`*_<>\[\]])", r"\\\1", " ".join(text.split()))


def render_card(digest: str, description: Mapping[str, Any], size: int, results: Results, ordinary: Sequence[FalseAlarms]) -> str:
    """Say of a model what it is for, what not, what it learned from, how good it is and where it fails.

    Parameters
    ----------
    digest : str
        Of the model.
    description : dict
        What ``model.json`` says.
    size : int
        Of the model's files, in bytes.
    results : Results
        From `read_results`.
    ordinary : sequence of FalseAlarms
        From `false_alarms`, one for each kind of posts.

    Returns
    -------
    str
        Markdown with a YAML header. It holds no post; equal inputs make equal cards.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from pipeline.config import Promotion
    from pipeline.report import page

    environment = Environment(  # noqa: S701  # Markdown: `cell` escapes what data holds
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for fill in (page.number, page.percent, page.interval, page.percents, page.plain):
        environment.filters[fill.__name__] = fill
    environment.filters["cell"] = _cell
    slices = _worth_showing(results.slices, results.posts)
    weakest = sorted(results.behaviour.functionalities.items() if results.behaviour else [], key=lambda found: (found[1].rate, found[0]))[
        :_WEAKEST
    ]
    return environment.get_template("card.md.j2").render(
        **{"header": _header(digest, results), "digest": digest, "size": size, "version": __version__},
        **{"description": description, "results": results, "ordinary": ordinary, "weakest": weakest, "limit": Promotion().max_ece},
        slices=[part for part in slices if _measured(part)],
        small=[part for part in slices if not _measured(part)],
        uncalibrated=_uncalibrated(slices, Promotion().max_ece),
    )


def write_card(model: Path, evaluation: Path, ordinary: Sequence[str], out: Path) -> None:
    """Write a model's card.

    Parameters
    ----------
    model : Path
        The model's directory.
    evaluation : Path
        What evaluate.py wrote of it.
    ordinary : sequence of str
        ``NAME=DIR`` each: what score.py wrote, with this model, of posts that deserve no label.
    out : Path
        The card.

    Raises
    ------
    InputError
        For anything that cannot be used, or is another model's.
    """
    digest, description, _, _ = read_model(model)
    if "training_data" not in description:
        raise InputError(f"{model}: does not say what it was trained on; give one that train.py wrote")
    size = sum((model / name).stat().st_size for name in (DESCRIPTION, *description["files"]))
    results = read_results(evaluation, digest)
    labels = [label["name"] for label in description["config"]["labels"]["labels"]]
    thresholds = {label: description["thresholds"][label] for label in labels}
    support = load_config().labels.support  # models saved by earlier releases do not say
    alarms = [_read_ordinary(setting, digest, thresholds, support) for setting in ordinary]
    try:
        out.write_text(render_card(digest, description, size, results, alarms), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another --out") from None
