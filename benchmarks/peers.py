#!/usr/bin/env python3
"""Compares our models with peers in quality, calibration, behaviour, training time, speed and size, on the same posts.

See benchmarks/README.md; the peers are in benchmarks/libraries/.
"""

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property, partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated, Any, Protocol

# Set before libraries are imported, so that none asks a hub or draws progress bars. The packages are in the folder above.
os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error"}
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.libraries import PEERS, Peer
from benchmarks.peers_shown import markdown, plot, table, table_rows
from models import Classifier
from models.arrays import Decisions, Labels, Probabilities
from models.calibration import Sigmoid, decide, tune_threshold
from models.config import ROOT, Thresholds
from models.errors import InputError
from models.fitting import TrainingTokens
from models.folds import make_folds
from models.text import normalise
from pipeline import terminal
from pipeline.config import Config
from pipeline.config_files import load_config
from pipeline.corpora import Corpus, load_corpus
from pipeline.evaluation.behaviour import Case, load_cases, run_cases
from pipeline.evaluation.bootstrap import intervals, metrics_by_round, resample
from pipeline.metrics import compute_metrics
from pipeline.records import Row, read_rows

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

BATCH = 2048
TURNS = 3
TOKENIZER_POSTS = 7000
WARM_UP = 200
RESULTS = Path("benchmarks/peers.json")
OURS = {"ours_default": None, "ours_fast": ROOT / "configs" / "experiments" / "fast.yaml"}
TITLES = {"ours_default": "ours, default config", "ours_fast": "ours, fast.yaml"}


class Ready(Protocol):
    """A model that can be measured: a `Tuned` peer, or one of our models."""

    thresholds_: Floats
    prior_: Floats

    @property
    def digest_(self) -> str:
        """The SHA-256 of one of our models."""

    @property
    def labels(self) -> list[str]:
        """Names of the labels, in the order of all outputs."""

    def predict_proba(self, texts: Sequence[str]) -> Probabilities:
        """Return the probabilities of posts, shape (n_posts, n_labels)."""

    def decide(self, probabilities: Probabilities) -> Decisions:
        """Return which labels are given, shape (n_posts, n_labels)."""


@dataclass(frozen=True)
class Posts:
    """The posts on which all models are trained and measured.

    Attributes
    ----------
    labels : list of str
    texts, Y, groups
        Raw posts, labels and authors of train.
    auxiliary : ndarray of 0 and 1, shape (n_posts, n_auxiliary)
        Auxiliary labels of train, from which only our models learn.
    folds : list of (ndarray, ndarray)
        Author-disjoint folds of train as (train, held-out) indices.
    test_texts, test_Y, test_groups
        Raw posts, labels and authors of test.
    off_domain, stream : list of str
        Ordinary posts, and distinct posts to measure speed.
    cases : list of Case
        Behavioural cases.
    config : Config
    """

    labels: list[str]
    texts: list[str]
    Y: Labels
    groups: Indices
    auxiliary: Labels
    folds: list[tuple[Indices, Indices]]
    test_texts: list[str]
    test_Y: Labels
    test_groups: Indices
    off_domain: list[str]
    stream: list[str]
    cases: list[Case]
    config: Config

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that quality depends on."""
        labels = [self.Y.tolist(), self.test_Y.tolist(), self.groups.tolist(), self.auxiliary.tolist()]
        parts = [self.labels, self.texts, self.test_texts, self.off_domain, [case.text for case in self.cases], labels]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _texts(path: Path) -> list[str]:
    return [row.fields["text"] for row in read_rows(path, ["text"]) if isinstance(row, Row)]


def _stand_in(corpus: Corpus, sample: int, seed: int) -> tuple[Indices, Indices]:
    """Draw train posts at random; those by a fifth of their authors are used as test posts."""
    from sklearn.model_selection import GroupShuffleSplit

    groups = corpus.groups("train")
    drawn = np.sort(np.random.default_rng(seed).permutation(len(groups))[:sample])
    train, test = next(GroupShuffleSplit(1, test_size=0.2, random_state=seed).split(drawn, groups=groups[drawn]))
    return drawn[train], drawn[test]


def load_posts(sources: Sequence[str], off_domain: Path, stream: Path, sample: int | None = None) -> Posts:
    """Read the data and split train into folds.

    Parameters
    ----------
    sources : sequence of str
        As for ``train.py --data``; there must be a train and a test split.
    off_domain, stream : Path
        Files with ordinary posts, and with unlabelled posts.
    sample : int, optional
        For trials: draw this many train posts, and use those by a fifth of the authors instead of the test split.

    Raises
    ------
    InputError
        If the data cannot be used.
    """
    config = load_config([], ["calibration.folds=3"], sources)
    corpus = load_corpus(config.data, config.labels, seed=config.seed)
    if missing := {"train", "test"} - set(corpus.splits):
        raise InputError(
            f"{', '.join(sources)}: no {min(missing)} posts found; give --data a folder with train and test, and more posts as train=FILE"
        )
    split, train = "test", np.arange(corpus.splits["train"].num_rows)
    test = np.arange(corpus.splits["test"].num_rows)
    if sample:
        split, (train, test) = "train", _stand_in(corpus, sample, config.seed)
    texts = {name: np.array(corpus.splits[name]["text"], object) for name in {"train", split}}
    Y, groups = corpus.targets("train", corpus.labels)[train], corpus.groups("train")[train]
    return Posts(
        labels=corpus.labels,
        texts=texts["train"][train].tolist(),
        Y=Y,
        groups=groups,
        auxiliary=corpus.targets("train", corpus.auxiliary)[train],
        folds=make_folds(Y, groups, corpus.labels, config.calibration.folds, config.seed),
        test_texts=texts[split][test].tolist(),
        test_Y=corpus.targets(split, corpus.labels)[test],
        test_groups=corpus.groups(split)[test],
        off_domain=_texts(off_domain),
        stream=list(dict.fromkeys(_texts(stream))),
        cases=load_cases("data/behaviour/cases.csv", config.labels),
        config=config,
    )


def log_odds(probabilities: Floats) -> Floats:
    """Return log odds, clipped so that they are finite even for 0 and 1."""
    clipped = np.clip(probabilities, 1e-7, 1 - 1e-7)
    return np.asarray(np.log(clipped / (1 - clipped)))


class Tuned:
    """A fitted peer with calibration and thresholds learned on held-out folds of train.

    Parameters
    ----------
    peer : Peer
        A fitted peer.
    held_out : ndarray of float, shape (n_train_posts, n_labels)
        Probabilities of the train posts, by peers that did not see their authors.
    Y : ndarray of 0 and 1, shape (n_train_posts, n_labels)
    wanted : Thresholds
        What to tune thresholds for.

    Attributes
    ----------
    labels, thresholds_, prior_, digest_
        See `models.Classifier`.
    """

    digest_ = ""

    def __init__(self, peer: Peer, held_out: Floats, Y: Labels, wanted: Thresholds) -> None:
        self.peer, self.labels, self.prior_ = peer, peer.labels, Y.mean(axis=0)
        self.thresholds_ = np.full(len(self.labels), 0.5)
        if peer.tuned:
            self.calibrator = Sigmoid().fit(log_odds(held_out), Y)
            calibrated = self.calibrator.predict_proba(log_odds(held_out)).astype(np.float32)
            columns = zip(Y.T, calibrated.T, self.labels, strict=True)
            self.thresholds_ = np.array([tune_threshold(y, p, wanted, name) for y, p, name in columns])

    def predict_proba(self, texts: Sequence[str]) -> Probabilities:
        """Return the probabilities of raw posts, shape (n_posts, n_labels)."""
        found = self.peer.predict_proba(texts)
        return (self.calibrator.predict_proba(log_odds(found)) if self.peer.tuned else found).astype(np.float32)

    def decide(self, probabilities: Probabilities) -> Decisions:
        """Return whether each label is given, shape (n_posts, n_labels)."""
        return decide(probabilities, self.thresholds_)


def _cross_validated(kind: type[Peer], setting: Mapping[str, Any], encoded: Any, posts: Posts) -> Floats:
    found = np.zeros(posts.Y.shape)
    for train, held_out in posts.folds:
        peer = kind(posts.labels, posts.config.seed, **setting)
        peer.fit(encoded[train], posts.Y[train], posts.groups[train])
        found[held_out] = peer.probabilities(encoded[held_out])
    return found


def choose_setting(kind: type[Peer], encoded: Any, posts: Posts, progress: Callable[[str], None]) -> tuple[Mapping[str, Any], Floats]:
    """Return the setting with the best mean average precision on held-out folds of train, and its probabilities there."""
    from sklearn.metrics import average_precision_score

    best: tuple[float, Mapping[str, Any], Floats] | None = None
    for number, setting in enumerate(kind.settings, 1):
        progress(f"{kind.title}: folds, setting {number} of {len(kind.settings)}")
        found = _cross_validated(kind, setting, encoded, posts)
        quality = float(average_precision_score(posts.Y, found, average="macro"))
        if best is None or quality > best[0]:
            best = quality, setting, found
    assert best is not None
    return best[1], best[2]


@dataclass(frozen=True)
class Trained:
    """A model to measure; `seconds` is the time to fit it on all of train, `size` is in bytes."""

    title: str
    model: Ready
    size: int
    seconds: float | None
    setting: Mapping[str, Any]
    packages: Sequence[str] = ()
    per_turn: int = 7000
    all_cores: bool = False


def _size(save: Callable[[Path], Any]) -> int:
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        save(folder)
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def train_peer(kind: type[Peer], posts: Posts, progress: Callable[[str], None]) -> Trained:
    """Choose a peer's setting, fit it on all of train, calibrate it and tune its thresholds."""
    progress(f"{kind.title}: encoding")
    start = perf_counter()
    encoded = kind(posts.labels, posts.config.seed, **kind.settings[0]).encode(posts.texts)
    seconds = perf_counter() - start
    setting, held_out = choose_setting(kind, encoded, posts, progress)
    progress(f"{kind.title}: all of train")
    start = perf_counter()
    peer = kind(posts.labels, posts.config.seed, **setting)
    peer.fit(encoded, posts.Y, posts.groups)
    seconds += perf_counter() - start
    tuned = Tuned(peer, held_out, posts.Y, posts.config.thresholds)
    return Trained(kind.title, tuned, _size(peer.save), seconds, setting, kind.packages, kind.per_turn, kind.all_cores)


def train_ours(name: str, posts: Posts, progress: Callable[[str], None]) -> Trained:
    """Train a model by one of our configs on the same posts and folds; it calibrates and tunes itself."""
    progress(f"{TITLES[name]}: folds and all of train")
    overlay = OURS[name]
    config = load_config([overlay] if overlay else [], ["calibration.folds=3"], posts.config.data.sources)
    start = perf_counter()
    model = Classifier.from_config(config.of_model())
    tokens = model.tokenizer([normalise(text) for text in posts.texts])
    tokenised = perf_counter() - start
    steps: list[float] = []  # when each step began; the last one is the fit on all of train
    model.fit_tokens(
        TrainingTokens(tokens, posts.Y, posts.groups, posts.auxiliary, np.ones(len(posts.Y), np.float32)),
        lambda _: steps.append(perf_counter()),
    )
    seconds = tokenised + perf_counter() - steps[-1]
    with TemporaryDirectory() as scratch:  # a newly loaded model has not cached the words of train
        folder = Path(scratch) / "model"
        model.save(folder)
        return replace(load_ours(folder), title=TITLES[name], seconds=seconds)


def load_ours(folder: Path) -> Trained:
    """Load one of our models from its directory."""
    return Trained(f"ours, {folder.name}", Classifier.load(folder), sum(path.stat().st_size for path in folder.iterdir()), None, {})


@contextmanager
def one_core() -> Iterator[None]:
    """Keep all threads of this process on one core, and keep libraries from starting more."""
    from threadpoolctl import threadpool_limits

    torch: Any = sys.modules.get("torch")
    allowed, threads = os.sched_getaffinity(0), torch.get_num_threads() if torch else 1

    def pin(cores: set[int]) -> None:
        for task in Path("/proc/self/task").iterdir():
            os.sched_setaffinity(int(task.name), cores)

    pin({max(allowed)})
    try:
        if torch:
            torch.set_num_threads(1)
        with threadpool_limits(1):
            yield
    finally:
        if torch:
            torch.set_num_threads(threads)
        pin(allowed)


def rate(step: Callable[[Sequence[str]], Any], posts: Sequence[str], warm_up: Sequence[str]) -> float:
    """Measure posts per second of a step, batch by batch, after a warm-up."""
    step(warm_up)
    start = perf_counter()
    for at in range(0, len(posts), BATCH):
        step(posts[at : at + BATCH])
    return len(posts) / (perf_counter() - start)


def _bare_tokenizer() -> Callable[[Sequence[str]], Any]:
    import spacy

    tokenizer: Any = spacy.blank("en").tokenizer
    return lambda texts: sum(1 for _ in tokenizer.pipe(texts))


def _turns(stream: Sequence[str], size: int) -> list[Sequence[str]]:
    """Return the posts of each turn, all distinct, because models may cache what they have seen."""
    size = min(size, len(stream) // TURNS)
    return [stream[size * turn : size * (turn + 1)] for turn in range(TURNS)]


def measure_speed(trained: Trained, stream: Sequence[str]) -> dict[str, float | None]:
    """Measure posts per second from raw text to probabilities and, in alternate turns, of the bare spaCy tokenizer.

    Speed is measured on one core after a warm-up, and the best of three turns counts; some models are also measured on all cores.
    """
    if not trained.per_turn:
        return {"posts_per_second": None, "tokenizer_posts_per_second": None}
    warm_up, stream = stream[:WARM_UP], stream[WARM_UP:]
    if len(stream) < TURNS:
        raise InputError(
            f"{len(stream) + len(warm_up)} distinct posts in --stream are too few to measure speed; give at least {WARM_UP + TURNS}"
        )
    # All turns take the same steps, so that both cache equally many words.
    steps = {"posts_per_second": trained.model.predict_proba, "tokenizer_posts_per_second": _bare_tokenizer()}
    best = dict.fromkeys(steps, 0.0)
    turns = list(zip(_turns(stream, trained.per_turn), _turns(stream, TOKENIZER_POSTS), strict=True))
    with one_core():
        for posts, others in turns:
            for (name, step), chosen in zip(steps.items(), (posts, others), strict=True):
                best[name] = max(best[name], rate(step, chosen, warm_up))
    if trained.all_cores:
        best["posts_per_second_all_cores"] = max(rate(trained.model.predict_proba, posts, warm_up) for posts, _ in turns)
    return {**best}


def measure_quality(model: Ready, posts: Posts) -> dict[str, Any]:
    """Measure metrics on test, with intervals over authors, and count behavioural cases passed and ordinary posts flagged."""
    evaluation = posts.config.evaluation
    probabilities = model.predict_proba(posts.test_texts)
    decided = model.decide(probabilities)
    metrics = compute_metrics(posts.test_Y, probabilities, decided, posts.labels, model.thresholds_.tolist())
    counts = resample(posts.test_groups, evaluation.rounds, posts.config.seed)
    by_round = metrics_by_round(posts.test_Y, probabilities, decided, counts)
    bounds = intervals(metrics, by_round, evaluation.confidence)
    of_cases = model.predict_proba([case.text for case in posts.cases])
    behaviour = run_cases(posts.cases, posts.labels, of_cases, model.decide(of_cases))
    flagged = model.decide(model.predict_proba(posts.off_domain))
    harassment = np.array([name not in posts.config.labels.support for name in posts.labels])
    return {
        "macro_f1": {"value": metrics.macro_f1, "interval": bounds.macro_f1},
        "mean_average_precision": {"value": metrics.mean_average_precision, "interval": bounds.mean_average_precision},
        "labels": {name: found.model_dump(include={"f1", "average_precision", "ece"}) for name, found in metrics.labels.items()},
        "behaviour": behaviour.model_dump(include={"cases", "passed", "rate"}),
        "off_domain": {
            "posts": len(flagged),
            "harassment": float(flagged[:, harassment].any(axis=1).mean()),
            "solidarity": float(flagged[:, ~harassment].any(axis=1).mean()),
        },
    }


def measure(trained: Trained, posts: Posts, progress: Callable[[str], None]) -> dict[str, Any]:
    """Measure everything for one row of the table."""
    progress(f"{trained.title}: measuring")
    facts = {"title": trained.title, "setting": dict(trained.setting), "versions": versions(trained.packages)}
    facts |= {"date": date.today().isoformat(), "machine": machine()}
    speed = measure_speed(trained, posts.stream)  # first, before the model caches words of other posts
    return facts | measure_quality(trained.model, posts) | {"train_seconds": trained.seconds, **speed, "bytes": trained.size}


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the distributions that modules come from, with their versions."""
    owners = metadata.packages_distributions()
    return {owner: metadata.version(owner) for name in packages for owner in owners.get(name, [])}


def machine() -> str:
    """Return the model of the processor and the number of cores."""
    described = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)", described.read_text(encoding="utf-8"), re.MULTILINE) if described.exists() else None
    return f"{found[1] if found else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def lacking(packages: Sequence[str]) -> list[str]:
    """Return the modules that are not installed."""
    return [name for name in packages if find_spec(name) is None]


def read_results(path: Path, digest: str) -> dict[str, Any]:
    """Read the results of an interrupted run, or start new ones and make their folder.

    Raises
    ------
    InputError
        If the file has results on other posts or something else, or its folder cannot be made.
    """
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}); choose another --out") from None
        return {"data": digest, "peers": {}}
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = results["data"], dict(results["peers"])
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path}: holds no results of this benchmark; choose another --out") from None
    if known[0] != digest:
        raise InputError(f"{path}: holds results on other posts; choose another --out, or delete it")
    return results


def _warn_of_other_machines(out: Path, peers: Mapping[str, Mapping[str, Any]], here: str) -> None:
    if others := sorted({found["machine"] for found in peers.values() if found.get("machine", here) != here}):
        print(
            f"warning: {out}: holds results from another machine ({others[0]}, not {here}); do not compare speeds, or choose another --out",
            file=sys.stderr,
        )


def _makers(
    wanted: Sequence[str], models: Sequence[Path], posts: Posts, progress: Callable[[str], None]
) -> Iterator[tuple[str, Callable[[], Trained]]]:
    """Yield the name and maker of each model that can be made; print to standard error why the others cannot."""
    for name in wanted:
        kind = PEERS.get(name)
        if kind and (missing := lacking(kind.packages)):
            print(
                f"{name}: needs {', '.join(missing)}, which is not installed; install the extra: pip install -e '.[bench]'", file=sys.stderr
            )
        elif kind:
            yield name, partial(train_peer, kind, posts, progress)
        else:
            yield name, partial(train_ours, name, posts, progress)
    for folder in models:
        yield f"model {folder.name}", partial(load_ours, folder)


def main(
    data: Annotated[list[str], typer.Option(help="Data, as for train.py; may be repeated.")],
    off_domain: Annotated[Path, typer.Option(help="Ordinary posts, to count false alarms.")],
    stream: Annotated[Path, typer.Option(help="Unlabelled posts, to measure speed.")],
    peer: Annotated[list[str], typer.Option(help="Peer to measure, even if it was measured before; may be repeated.")] = [],  # noqa: B006
    model: Annotated[list[Path], typer.Option(help="Directory of one of our models to measure as well; may be repeated.")] = [],  # noqa: B006
    out: Annotated[
        Path,
        typer.Option(
            help="JSON file for the results; a table (.md) and a figure (.svg) are written next to it. If the file exists, the stopped "
            "run that wrote it is continued."
        ),
    ] = RESULTS,
    sample: Annotated[int | None, typer.Option(min=1, help="For a trial: use this many train posts, a fifth of them for testing.")] = None,
) -> None:
    """Train and measure all peers and our models on the same posts, one after another; each result is saved at once."""
    known = [*PEERS, *OURS]
    if unknown := sorted(set(peer) - set(known)):
        raise InputError(f"--peer {unknown[0]}: not a peer; allowed are {', '.join(known)}")
    if sample and model:
        raise InputError(
            "--sample and --model cannot be combined: a trial tests on train posts, which a model may have seen; use one of the two"
        )
    with terminal.steps() as progress:
        progress("reading the data")
        posts = load_posts(data, off_domain, stream, sample)
        results = read_results(out, posts.digest)
        wanted = peer or [name for name in known if name not in results["peers"]]
        if wanted or model:
            _warn_of_other_machines(out, results["peers"], machine())
        for name, make in _makers(wanted, model, posts, progress):
            results["peers"][name] = measure(make(), posts, progress)
            out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    rows = table_rows(results["peers"])
    out.with_suffix(".md").write_text(markdown(rows), encoding="utf-8")
    plot(results["peers"], out.with_suffix(".svg"))
    terminal.output().print(table(rows))


if __name__ == "__main__":
    terminal.run(main)
