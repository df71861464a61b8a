#!/usr/bin/env python3
"""Measures posts per second of tokenising, of our path from text to probabilities stage by stage, of plain scikit-learn and of fastText.

Everything is measured in one process, one thread and one run; see benchmarks/README.md.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated, Any

# Set before NumPy starts its threads. The packages are in the parent folder of this script's folder.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import spacy
import typer
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer

from benchmarks.libraries import PEERS, Peer
from models import Classifier, text, words
from models.config import ROOT
from models.errors import InputError
from models.storage import RELEASED
from models.text import normalise
from pipeline import terminal
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus
from pipeline.records import Row as Record
from pipeline.records import read_rows

BATCH = 2048
LENGTHS = (80, 250)  # words a post, besides the original posts
STAGES = ("read", "features", "network", "calibrate", "predict")
BARS = {"b/a": 0.5, "b/c": 5.0}
TITLES = {
    "a": "bare spaCy tokenizer",
    "b": "text to probabilities, ours",
    "c": "the same, plain scikit-learn",
    "d": "as (c), but tokenised once",
    "e": "fastText",
}
FAST = ROOT / "configs" / "experiments" / "fast.yaml"
FASTTEXT = {"lr": 0.2, "epoch": 25, "minn": 0, "maxn": 0}  # which benchmarks/peers.py chose on metoo2017

Stages = dict[str, Callable[[Any], Any]]  # each takes what the one before it returns, and the first takes posts
Row = dict[str, Any]


def distinct_posts(texts: Sequence[str], count: int, seed: int) -> list[str]:
    """Make distinct posts: the texts, then splices of the first half of one text and the second half of another.

    Parameters
    ----------
    texts : sequence of str
        Texts to start from.
    count : int
        Number of posts to make.
    seed : int
        Random seed of the choice of pairs.

    Raises
    ------
    InputError
        If there are too few texts to make that many posts.
    """
    posts = dict.fromkeys(texts)
    words = [text.split() for text in posts]
    rng = np.random.default_rng(seed)
    for left, right in rng.integers(len(words), size=(20 * count, 2)).tolist():
        if len(posts) >= count:
            break
        posts[" ".join(words[left][: len(words[left]) // 2] + words[right][len(words[right]) // 2 :])] = None
    if len(posts) < count:
        raise InputError(f"{len(words)} distinct texts make only {len(posts)} distinct posts, not {count}; lower --posts or add texts")
    return list(posts)[:count]


def of_length(posts: Sequence[str], words: int) -> list[str]:
    """Join posts, one after another, and cut them into posts of a number of words; only the last may have fewer."""
    joined = " ".join(posts).split()
    return [" ".join(joined[start : start + words]) for start in range(0, len(joined), words)]


def train_on(folder: Path, *overlays: Path) -> Classifier:
    """Train the default model, or that of a config, on ``train.jsonl`` of a folder."""
    config = load_config(overlays, sources=[f"train={folder / 'train.jsonl'}"])
    corpus = load_corpus(config.data, config.labels, seed=config.seed)
    model = Classifier.from_config(config.of_model())
    return model.fit_tokens(corpus.to_learn_from().tokenised(model.tokenizer))


def train_fasttext(folder: Path) -> Peer | None:
    """Train fastText on ``train.jsonl`` of a folder, or return None if it is not installed."""
    if find_spec("fasttext") is None:
        return None
    config = load_config(sources=[f"train={folder / 'train.jsonl'}"])
    corpus = load_corpus(config.data, config.labels, seed=config.seed)
    peer = PEERS["fasttext"](corpus.labels, config.seed, **FASTTEXT)
    peer.fit(peer.encode(list(corpus.splits["train"]["text"])), corpus.targets("train", corpus.labels), corpus.groups("train"))
    return peer


def plain_pipeline(model: Classifier, *, tokenise_once: bool) -> Pipeline:
    """Build the same model from scikit-learn's own vectorisers, with our vocabularies, idf, weights and calibration.

    Parameters
    ----------
    model : Classifier
        A fitted model without a network.
    tokenise_once : bool
        Whether a first step normalises and tokenises a batch, as our model does. Otherwise each vectoriser does so for every
        post, which is how scikit-learn uses a tokenizer.
    """

    def tokens(texts: Sequence[str]) -> list[str]:
        return [" ".join(post) for post in model.tokenizer([normalise(text) for text in texts]).to_lists()]

    def probabilities(X: Any) -> NDArray[np.float64]:
        return model.calibrator_.predict_proba(model.scorers_.linear.decision_function(X).astype(np.float64))

    wanted, features = model.config.features, model.scorers_.features
    shared: dict[str, Any] = {
        "preprocessor": None if tokenise_once else lambda text: tokens([text])[0],
        "lowercase": False,
        "sublinear_tf": True,
    }
    words = TfidfVectorizer(
        tokenizer=str.split, token_pattern=None, ngram_range=(1, wanted.word_ngrams), vocabulary=features.words_, **shared
    )
    words.idf_ = features.idf_[: len(features.words_)]
    blocks = [("words", words)]
    if wanted.char_ngrams:
        characters = TfidfVectorizer(analyzer="char_wb", ngram_range=tuple(wanted.char_ngrams), vocabulary=features.characters_, **shared)
        characters.idf_ = features.idf_[len(features.words_) :]
        blocks.append(("characters", characters))
    first = [("tokens", FunctionTransformer(tokens))] if tokenise_once else []
    return Pipeline([*first, ("ngrams", FeatureUnion(blocks)), ("probabilities", FunctionTransformer(probabilities))])


def _batches(posts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (posts[start : start + BATCH] for start in range(0, len(posts), BATCH))


def rate(step: Callable[[Sequence[str]], Any], posts: Sequence[str]) -> float:
    """Measure posts per second of a step.

    Parameters
    ----------
    step : callable
        Called with each batch of posts.
    posts : sequence of str
    """
    start = perf_counter()
    deque((step(batch) for batch in _batches(posts)), maxlen=0)
    return len(posts) / (perf_counter() - start)


def bare_tokenizer() -> Callable[[Sequence[str]], Any]:
    """Return a step that only runs spaCy's tokenizer, newly loaded."""
    tokenizer: Any = spacy.blank("en").tokenizer
    return lambda texts: deque(tokenizer.pipe(texts), maxlen=0)


def our_stages(folder: Path) -> Stages:
    """Load a model, and return the stages of its `Classifier.predict_proba`."""
    model = Classifier.load(folder)
    features, network, linear = model.scorers_.features, model.scorers_.network, replace(model.scorers_, network=None)
    stages: Stages = {"read": model.tokenizer.read, "features": lambda tokens: (tokens, linear.decision_function(tokens))}
    if network:
        stages["network"] = lambda found: (0, np.hstack([found[1], network.decision_function(found[0], features.of_words)]))
    return {**stages, "calibrate": lambda found: model.calibrator_.predict_proba(found[1]).astype(np.float32)}


def forget() -> None:
    """Forget what was remembered about posts outside of models: what chunks become, and the words of hashtags."""
    text._chunks.clear()
    text._chunks.joining.clear()
    words._words_in.cache_clear()


def seconds(stages: Stages, posts: Sequence[str]) -> dict[str, float]:
    """Return the seconds that each stage takes for all posts, in batches."""
    spent = dict.fromkeys(stages, 0.0)
    for batch in _batches(posts):
        found: Any = batch
        for name, stage in stages.items():
            start = perf_counter()
            found = stage(found)
            spent[name] += perf_counter() - start
    return spent


def rows_of(paths: Mapping[tuple[str, str], Callable[[], Stages]], posts: Sequence[str], rounds: int) -> list[Row]:
    """Time paths in turns, so that noise from the machine affects all alike; the best time of each counts.

    Parameters
    ----------
    paths : mapping of (str, str) to callable
        By row and model; each makes new stages, which have seen no post.
    posts : sequence of str
    rounds : int
        Number of turns. In each, a path reads all posts cold and then once more.
    """
    best: dict[tuple[str, str, str], dict[str, float]] = {}
    for _ in range(rounds):
        for (key, model), make in paths.items():
            forget()
            stages = make()
            for state in ("cold", "warm"):
                spent, name = seconds(stages, posts), (state, key, model)
                best[name] = min(best.get(name, spent), spent, key=lambda times: sum(times.values()))
    length = sum(len(post.split()) for post in posts) / len(posts)
    rows: list[Row] = []
    for (state, key, model), spent in sorted(best.items(), key=lambda item: item[0][0]):
        rate = len(posts) / sum(spent.values())
        row = {"words": round(length, 1), "posts": len(posts), "state": state, "row": key, "model": model}
        micros = {stage: time / len(posts) * 1e6 for stage, time in spent.items()}
        tokenizer = len(posts) / sum(best[state, "a", ""].values())
        rows.append({**row, "microseconds": micros, "posts_per_second": rate, "times_tokenizer": rate / tokenizer})
    return rows


def measure(posts: Sequence[str], models: Mapping[str, Path], peer: Peer | None, rounds: int) -> dict[str, Any]:
    """Time each path over the original posts, and over longer ones joined from them; plain scikit-learn only over the original ones.

    Parameters
    ----------
    posts : sequence of str
        Posts to run over.
    models : mapping of str to Path
        Model directories by name; plain scikit-learn stands for the first, unless it has a network.
    peer : Peer, optional
        A fitted fastText.
    rounds : int
        Number of turns.

    Returns
    -------
    dict
        ``rows``, one for each length, state and path; ratios of cold rates of the first model over the original posts, and their bars.

    Raises
    ------
    AssertionError
        If the stages do not give the model's probabilities, or plain scikit-learn's differ by more than 1e-5.
    """
    first = next(iter(models))
    some = posts[:: -(-len(posts) // BATCH)]
    paths: dict[tuple[str, str], Callable[[], Stages]] = {("a", ""): lambda: {"read": bare_tokenizer()}}
    for name, folder in models.items():
        paths["b", name] = partial(our_stages, folder)
        np.testing.assert_array_equal(_last(our_stages(folder), some), Classifier.load(folder).predict_proba(some))
    if peer:
        paths["e", ""] = lambda: {"read": peer.encode, "predict": peer.probabilities}
    plain: dict[tuple[str, str], Callable[[], Stages]] = {}
    if not Classifier.load(models[first]).scorers_.network:  # scikit-learn has no such network
        for key, once in (("c", False), ("d", True)):
            plain[key, first] = partial(_plain_stages, models[first], tokenise_once=once)
            np.testing.assert_allclose(_last(plain[key, first](), some), _last(paths["b", first](), some), rtol=0, atol=1e-5)
    rows = rows_of(paths | plain, posts, rounds)
    rates = {row["row"]: row["posts_per_second"] for row in rows if row["state"] == "cold" and row["model"] in {"", first}}
    ratios = {f"b/{other}": rates["b"] / rates[other] for other in rates if other != "b"}
    for words_a_post in LENGTHS:
        rows += rows_of(paths, of_length(posts, words_a_post), rounds)
    bars = {ratio: bar for ratio, bar in BARS.items() if ratio in ratios}
    return {"rounds": rounds, "rows": rows, "ratios": ratios, "bars": bars}


def _plain_stages(folder: Path, *, tokenise_once: bool) -> Stages:
    return {"predict": plain_pipeline(Classifier.load(folder), tokenise_once=tokenise_once).transform}


def _last(stages: Stages, posts: Any) -> Any:
    """Return what the last stage returns."""
    for stage in stages.values():
        posts = stage(posts)
    return posts


def _tables(result: dict[str, Any]) -> RenderableType:
    table = Table(title=f"Microseconds a post, best of {result['rounds']} rounds")
    for name in ("words", "", ""):
        table.add_column(name)
    for name in (*STAGES, "all", "posts/s", "× (a)"):
        table.add_column(name, justify="right")
    for row in result["rows"]:
        if row["row"] == "a":
            table.add_section()
        times = [f"{row['microseconds'][stage]:.1f}" if stage in row["microseconds"] else "" for stage in STAGES]
        name = f"({row['row']}) {TITLES[row['row']]}" + (f": {row['model']}" if row["row"] == "b" else "")
        whole = (f"{sum(row['microseconds'].values()):.1f}", f"{row['posts_per_second']:,.0f}", f"{row['times_tokenizer']:.2f}")
        table.add_row(f"{row['words']:g}", row["state"], name, *times, *whole)
    bars = Table()
    for name in ("", "ratio", "bar", ""):
        bars.add_column(name, justify="right")
    for key, ratio in result["ratios"].items():
        bar = BARS.get(key)
        bars.add_row(key, f"{ratio:.2f}", *((f"≥ {bar:g}", "met" if ratio >= bar else "missed") if bar else ()))
    return Group(table, bars)


def measure_and_print(
    corpus: Path,
    posts: int,
    seed: int,
    model: Path | None,
    measure: Callable[[list[str], Path], dict[str, Any]],
    table: Callable[[dict[str, Any]], RenderableType] | None,
) -> None:
    """Make posts from a corpus, train a model if none is given, then measure and print.

    Parameters
    ----------
    corpus : Path
        Folder with ``unlabeled.jsonl`` and ``train.jsonl``.
    posts, seed : int
        See `distinct_posts`.
    model : Path or None
        Model directory; None trains one on the corpus.
    measure : callable
        Takes posts and a model directory, and returns results.
    table : callable or None
        Takes results and returns a table to print; without it, results are printed as JSON.
    """
    rows = read_rows(corpus / "unlabeled.jsonl", ["text"])
    texts = distinct_posts([row.fields["text"] for row in rows if isinstance(row, Record)], posts, seed)
    with terminal.steps() as progress, TemporaryDirectory() as scratch:
        folder = model or Path(scratch) / "model"
        if model is None:
            progress("training")
            train_on(corpus).save(folder)
        progress("measuring")
        result = measure(texts, folder)
    console = terminal.output()
    if table is None:
        console.print_json(data=result)
    else:
        console.print(table(result))


def main(
    corpus: Annotated[Path, typer.Option(help="Folder with unlabeled.jsonl and train.jsonl.")],
    posts: Annotated[int, typer.Option(min=1, help="Number of distinct posts to run over.")] = 20_000,
    model: Annotated[Path | None, typer.Option(help="Model directory; by default, a model is trained on the corpus.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Number of turns; the best of each counts.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object instead of a table.")] = False,
) -> None:
    """Measure how long spaCy's tokenizer, our path, plain scikit-learn and fastText take for a post, in one process and one thread."""

    def every_path(texts: list[str], folder: Path) -> dict[str, Any]:
        models = {"default" if model is None else folder.name: folder}
        if (peer := train_fasttext(corpus)) is None:
            print("row (e) is left out: fastText is not installed; the extra bench has it", file=sys.stderr)
        with TemporaryDirectory() as scratch:
            if model is None:
                fast = Path(scratch) / "fast"
                train_on(corpus, FAST).save(fast)
                models |= {"released": RELEASED, "fast": fast}
            return measure(texts, models, peer, rounds)

    measure_and_print(corpus, posts, seed, model, every_path, None if as_json else _tables)


if __name__ == "__main__":
    terminal.run(main)
