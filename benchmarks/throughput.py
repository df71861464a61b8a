#!/usr/bin/env python3
"""Measures posts per second of tokenising, of our path from text to probabilities, and of the same model in plain scikit-learn.

Everything is measured in one process, one thread and one run; see benchmarks/README.md.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
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
from rich.table import Table
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer

from models import Classifier
from models.errors import InputError
from models.text import normalise
from pipeline import terminal
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus
from pipeline.records import Row, read_rows

BATCH = 2048
BARS = {"b/a": 0.5, "b/c": 5.0}
TITLES = {
    "a": "bare spaCy tokenizer",
    "b": "text to probabilities, ours",
    "c": "the same, plain scikit-learn",
    "d": "as (c), but tokenised once",
}


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


def train_on(folder: Path) -> Classifier:
    """Train the default model on ``train.jsonl`` of a folder."""
    config = load_config(sources=[f"train={folder / 'train.jsonl'}"])
    corpus = load_corpus(config.data, config.labels, seed=config.seed)
    model = Classifier.from_config(config.of_model())
    return model.fit_tokens(corpus.to_learn_from().tokenised(model.tokenizer))


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


def measure(posts: Sequence[str], folder: Path, rounds: int) -> dict[str, Any]:
    """Time each path in turns, so that noise of the machine affects all alike; each turn starts with newly loaded models.

    Parameters
    ----------
    posts : sequence of str
        Posts to run over.
    folder : Path
        Model directory.
    rounds : int
        Number of turns; the best rate of each path counts.

    Returns
    -------
    dict
        Numbers of posts and rounds, rates in posts per second, their ratios, and the bars for the ratios. For a model with a
        network, only (a) and (b) are measured.

    Raises
    ------
    AssertionError
        If the paths differ by more than 1e-5 in any probability.
    """
    paths: dict[str, Callable[[], Callable[[Sequence[str]], Any]]] = {
        "a": bare_tokenizer,
        "b": lambda: Classifier.load(folder).predict_proba,
        "c": lambda: plain_pipeline(Classifier.load(folder), tokenise_once=False).transform,
        "d": lambda: plain_pipeline(Classifier.load(folder), tokenise_once=True).transform,
    }
    if Classifier.load(folder).scorers_.network:  # scikit-learn has no such network
        del paths["c"], paths["d"]
    some = posts[:: -(-len(posts) // BATCH)]
    for other in paths.keys() - {"a", "b"}:
        np.testing.assert_allclose(paths["b"]()(some), paths[other]()(some), rtol=0, atol=1e-5)
    best = dict.fromkeys(paths, 0.0)
    for _ in range(rounds):
        for name, path in paths.items():
            best[name] = max(best[name], rate(path(), posts))
    ratios = {f"b/{other}": best["b"] / best[other] for other in best if other != "b"}
    bars = {ratio: bar for ratio, bar in BARS.items() if ratio in ratios}
    return {"posts": len(posts), "rounds": rounds, "posts_per_second": best, "ratios": ratios, "bars": bars}


def _table(result: dict[str, Any]) -> Table:
    table = Table(title=f"{result['posts']:,} posts, best of {result['rounds']} rounds")
    table.add_column()
    for name in ("posts/s", "ratio", "bar", ""):
        table.add_column(name, justify="right")
    for key, rate in result["posts_per_second"].items():
        table.add_row(f"({key}) {TITLES[key]}", f"{rate:,.0f}")
    table.add_section()
    for key, ratio in result["ratios"].items():
        bar = BARS.get(key)
        table.add_row(key, "", f"{ratio:.2f}", *((f"≥ {bar:g}", "met" if ratio >= bar else "missed") if bar else ()))
    return table


def measure_and_print(
    corpus: Path,
    posts: int,
    seed: int,
    model: Path | None,
    measure: Callable[[list[str], Path], dict[str, Any]],
    table: Callable[[dict[str, Any]], Table] | None,
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
    texts = distinct_posts([row.fields["text"] for row in rows if isinstance(row, Row)], posts, seed)
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
    posts: Annotated[int, typer.Option(min=1, help="Number of distinct posts to run over.")] = 50_000,
    model: Annotated[Path | None, typer.Option(help="Model directory; by default, a model is trained on the corpus.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Number of turns; the best of each counts.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object instead of a table.")] = False,
) -> None:
    """Measure posts per second of spaCy's tokenizer, of our path and of plain scikit-learn, in one process and one thread."""
    measure_and_print(corpus, posts, seed, model, lambda texts, folder: measure(texts, folder, rounds), None if as_json else _table)


if __name__ == "__main__":
    terminal.run(main)
