#!/usr/bin/env python3
"""Measures posts per second of scoring jobs, from file to file, compared with the bare tokenizer and the obvious alternative.

Everything is measured in one run on one machine; see benchmarks/README.md.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

# Set before NumPy starts its threads. The packages are in the parent folder of this script's folder.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
import spacy
import typer
from rich.table import Table
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from benchmarks.throughput import bare_tokenizer, measure_and_print, rate
from pipeline import terminal
from pipeline.config_files import load_config
from pipeline.corpora import load_corpus

SCORE = Path(__file__).resolve().parent.parent / "score.py"
# Number of #MeToo records that were collected in one day, and number of distinct ones among them.
DAY, DISTINCT = 243_400, 75_526
BARS = {"jsonl 1 / tokenizer": 0.5, "parquet 1 / tokenizer": 0.5, "jsonl 2 / 1": 1.8, "parquet 2 / 1": 1.8}
BARS |= {"jsonl 1 / lemmas": 40.0, "repeated / distinct": 2.0}


def repeated_stream(posts: Sequence[str], count: int, seed: int) -> list[str]:
    """Draw a stream in which 69 % of the records repeat another record of the same day, as in the real stream; some recur more than others.

    Parameters
    ----------
    posts : sequence of str
        Distinct posts. Each day uses new ones for 31 % of its records; the others repeat these, drawn by Zipf's law.
    count : int
        Length of the stream: days of `DAY` records, of which the last may be shorter.
    seed : int
        Random seed of the draws and of the order within a day, so that repeats are not next to each other.
    """
    rng = np.random.default_rng(seed)
    stream: list[str] = []
    used = 0
    while len(stream) < count:
        length = min(DAY, count - len(stream))
        distinct = max(length * DISTINCT // DAY, 1)
        weights = 1 / np.arange(1, distinct + 1)
        drawn = rng.choice(distinct, length - distinct, p=weights / weights.sum())
        stream += [posts[used + number] for number in rng.permutation(np.concatenate([np.arange(distinct), drawn]))]
        used += distinct
    return stream


def write_posts(posts: Sequence[str], path: Path) -> Path:
    """Write posts as JSONL or Parquet, with their numbers as ids.

    Parameters
    ----------
    posts : sequence of str
    path : Path
        File to write; its extension decides the format.

    Returns
    -------
    Path
        The file.
    """
    frame = pd.DataFrame({"id": [str(number) for number in range(len(posts))], "text": posts})
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True, force_ascii=False)
    return path


def _peak(pid: int) -> dict[str, float]:
    """Return the peak resident memory so far, in MiB, of a job and of its largest worker."""

    def of(process: int | str) -> float:
        status = Path(f"/proc/{process}/status").read_text()
        return float(status.split("VmHWM:")[1].split()[0]) / 1024 if "VmHWM:" in status else 0.0

    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {"parent": of(pid), "worker": max(map(of, children), default=0.0)}


def run_job(posts: Path, model: Path, workers: int) -> dict[str, Any]:
    """Run ``score.py`` over a file in its own process.

    Parameters
    ----------
    posts : Path
        File to score.
    model : Path
        Model directory.
    workers : int
        Number of workers.

    Returns
    -------
    dict
        Posts per second by the wall clock (with start-up) and by the worker's clock, and peak memory in MiB of the parent and of
        the largest worker.
    """
    peak = {"parent": 0.0, "worker": 0.0}
    with TemporaryDirectory() as scratch:
        options = ["--model", str(model), "--out", str(Path(scratch) / "out"), "--workers", str(workers), "--json"]
        started = time.perf_counter()
        with subprocess.Popen(  # noqa: S603
            [sys.executable, str(SCORE), str(posts), *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as job:
            while job.poll() is None:
                try:
                    peak = {name: max(peak[name], now) for name, now in _peak(job.pid).items()}
                except OSError:  # a process has just ended
                    continue
                time.sleep(0.1)
            seconds = time.perf_counter() - started
            assert job.returncode == 0
            summary = json.loads(job.stdout.read() if job.stdout else "")
    return {"wall": summary["scored"] / seconds, "worker": summary["posts_per_second"], "peak": peak, "reused": summary["reused"]}


def lemma_pipeline(name: str, corpus: Path, posts: int) -> Pipeline:
    """Fit the obvious alternative: spaCy's lemmas, TF-IDF and logistic regression.

    Parameters
    ----------
    name : str
        spaCy pipeline, without its parser and entity recogniser; ``blank`` uses the blank pipeline's norms instead of lemmas.
    corpus : Path
        Folder with ``train.jsonl``.
    posts : int
        Number of posts to fit on.
    """
    nlp = spacy.blank("en") if name == "blank" else spacy.load(name, exclude=["parser", "ner"])

    def lemmas(texts: Sequence[str]) -> list[str]:
        return [" ".join(token.lemma_ or token.norm_ for token in doc) for doc in nlp.pipe(texts)]

    config = load_config(sources=[f"train={corpus / 'train.jsonl'}"])
    loaded = load_corpus(config.data, config.labels, seed=config.seed)
    texts, targets = loaded.splits["train"]["text"][:posts], loaded.targets("train", loaded.labels)[:posts]
    steps = [("lemmas", FunctionTransformer(lemmas)), ("tfidf", TfidfVectorizer(ngram_range=(1, 2), min_df=2))]
    return Pipeline([*steps, ("model", OneVsRestClassifier(LogisticRegression()))]).fit(texts, targets)


def run_lemmas(pipeline: Pipeline, posts: Path, out: Path) -> float:
    """Measure posts per second of the pipeline that `lemma_pipeline` fits, from file to file with pandas; fitting is not included.

    Parameters
    ----------
    pipeline : Pipeline
        From `lemma_pipeline`.
    posts : Path
        JSONL file to score.
    out : Path
        Parquet file to write.
    """
    started = time.perf_counter()
    frame = pd.read_json(posts, lines=True, dtype=False)
    pd.DataFrame(pipeline.predict_proba(frame["text"])).assign(id=frame["id"]).rename(columns=str).to_parquet(out)
    return len(frame) / (time.perf_counter() - started)


def measure(posts: Sequence[str], model: Path, corpus: Path, spacy_pipeline: str, sample: int, rounds: int, seed: int) -> dict[str, Any]:
    """Time everything in turns, so that noise from the machine affects all alike; the best time of each counts.

    Parameters
    ----------
    posts : sequence of str
        Distinct posts.
    model : Path
        Model directory.
    corpus : Path
        Folder with ``train.jsonl``.
    spacy_pipeline : str
        See `lemma_pipeline`.
    sample : int
        Number of posts on which the alternative, which is slow, is fitted and measured.
    rounds : int
        Number of turns.
    seed : int
        Random seed of the stream with repeats.
    """
    tokenizer = lemmas = 0.0
    jobs: dict[str, dict[str, Any]] = {}
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = {kind: write_posts(posts, folder / f"posts.{kind}") for kind in ("jsonl", "parquet")}
        files["repeated"] = write_posts(repeated_stream(posts, len(posts), seed), folder / "repeated.jsonl")
        few = write_posts(posts[:: max(len(posts) // sample, 1)][:sample], folder / "few.jsonl")
        alternative = lemma_pipeline(spacy_pipeline, corpus, sample)
        for _ in range(rounds):
            tokenizer = max(tokenizer, rate(bare_tokenizer(), posts))
            for kind, workers in (("jsonl", 1), ("jsonl", 2), ("parquet", 1), ("parquet", 2), ("repeated", 1)):
                done = run_job(files[kind], model, workers)
                jobs[f"{kind} {workers}"] = max(jobs.get(f"{kind} {workers}", done), done, key=itemgetter("wall"))
            lemmas = max(lemmas, run_lemmas(alternative, few, folder / "few.parquet"))
    wall = {name: job["wall"] for name, job in jobs.items()}
    ratios = {f"{kind} 1 / tokenizer": wall[f"{kind} 1"] / tokenizer for kind in ("jsonl", "parquet")}
    ratios |= {f"{kind} 2 / 1": wall[f"{kind} 2"] / wall[f"{kind} 1"] for kind in ("jsonl", "parquet")}
    ratios |= {"jsonl 1 / lemmas": wall["jsonl 1"] / lemmas, "repeated / distinct": wall["repeated 1"] / wall["jsonl 1"]}
    bars = {name: bar for name, bar in BARS.items() if spacy_pipeline != "blank" or "lemmas" not in name}
    rates = {"tokenizer": tokenizer, "lemmas": lemmas, "lemmas_by": spacy_pipeline}
    return {"posts": len(posts), "rounds": rounds, **rates, "jobs": jobs, "ratios": ratios, "bars": bars}


def _table(result: dict[str, Any]) -> Table:
    table = Table(title=f"{result['posts']:,} posts, best of {result['rounds']} rounds")
    for name in ("", "posts/s", "in a worker", "MiB parent", "MiB worker", "ratio", "bar", ""):
        table.add_column(name, justify="right" if name else "left")
    table.add_row("bare spaCy tokenizer", f"{result['tokenizer']:,.0f}")
    for name, job in result["jobs"].items():
        kind, workers = name.split()
        title = f"{kind} to parquet, {workers} worker{'s' if workers > '1' else ''}"
        table.add_row(title, *(f"{value:,.0f}" for value in (job["wall"], job["worker"], job["peak"]["parent"], job["peak"]["worker"])))
    table.add_row(f"{Path(result['lemmas_by']).name}, scikit-learn, pandas", f"{result['lemmas']:,.0f}")
    table.add_section()
    for name, ratio in result["ratios"].items():
        bar = result["bars"].get(name)
        table.add_row(name, *[""] * 4, f"{ratio:.2f}", *((f"≥ {bar:g}", "met" if ratio >= bar else "missed") if bar else ()))
    return table


def measure_memory(posts: Sequence[str], model: Path, seed: int) -> dict[str, Any]:
    """Measure the peak memory of two workers over some posts and over ten times as many; each post has a word that no other post has.

    Parameters
    ----------
    posts : sequence of str
        Posts to which words are added.
    model : Path
        Model directory.
    seed : int
        Random seed of the made-up words.
    """
    rng = np.random.default_rng(seed)
    peaks = []
    with TemporaryDirectory() as scratch:
        for times in (1, 10):
            path = Path(scratch) / "posts.jsonl"
            with path.open("w", encoding="utf-8") as file:
                for number in range(len(posts) * times):
                    word = "".join(map(chr, rng.integers(97, 123, 7)))
                    file.write(json.dumps({"id": str(number), "text": f"{posts[number % len(posts)]} {word}"}) + "\n")
            peaks.append(run_job(path, model, 2)["peak"])
    return {"posts": [len(posts), 10 * len(posts)], "peaks": peaks, "ratios": {name: peaks[1][name] / peaks[0][name] for name in peaks[0]}}


def main(
    corpus: Annotated[Path, typer.Option(help="Folder with unlabeled.jsonl and train.jsonl.")],
    posts: Annotated[int, typer.Option(min=100, help="Number of distinct posts to score.")] = 1_000_000,
    model: Annotated[Path | None, typer.Option(help="Model directory; by default, a model is trained on the corpus.")] = None,
    spacy_pipeline: Annotated[str, typer.Option(help="spaCy pipeline for the alternative: a name or a path.")] = "en_core_web_sm",
    sample: Annotated[int, typer.Option(min=20, help="Number of posts for the alternative, which is slow.")] = 2000,
    rounds: Annotated[int, typer.Option(min=1, help="Number of turns; the best time of each job counts.")] = 2,
    memory: Annotated[
        bool, typer.Option("--memory", help="Measure peak memory, over --posts and over ten times as many, instead of speed.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object instead of a table.")] = False,
) -> None:
    """Measure posts per second of whole scoring jobs, from file to file."""
    if not memory and spacy_pipeline != "blank" and not (spacy.util.is_package(spacy_pipeline) or Path(spacy_pipeline).exists()):
        instead = "the blank pipeline, which has no lemmas, is measured instead; see benchmarks/README.md"
        print(f"{spacy_pipeline} is not installed: {instead}", file=sys.stderr)
        spacy_pipeline = "blank"
    if memory:
        measure_and_print(corpus, posts, seed, model, lambda texts, folder: measure_memory(texts, folder, seed), None)
        return

    def jobs(texts: list[str], folder: Path) -> dict[str, Any]:
        return measure(texts, folder, corpus, spacy_pipeline, sample, rounds, seed)

    measure_and_print(corpus, posts, seed, model, jobs, None if as_json else _table)


if __name__ == "__main__":
    terminal.run(main)
