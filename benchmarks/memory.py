#!/usr/bin/env python3
"""Measures the memory of one worker of a scoring job while every post brings new words, as in a spam wave or another language."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import typer

from models.storage import RELEASED
from pipeline import terminal
from pipeline.scoring import Options
from pipeline.scoring.parts import ModelFolder, PartWriter
from pipeline.scoring.shards import Shard

SHARD = 10_000  # posts
LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", np.uint8)


def new_words(seed: int, words_each: int) -> bytes:
    """Make JSON lines of posts whose words are drawn at random and so were never seen before."""
    rng = np.random.default_rng(seed)
    letters = LETTERS[rng.integers(26, size=(SHARD * words_each, 9))].view("S9").astype(str).reshape(SHARD, words_each)
    return "".join(f'{{"id": "{seed}-{n}", "text": "{" ".join(words)}"}}\n' for n, words in enumerate(letters.tolist())).encode()


def resident() -> tuple[int, int]:
    """Return the memory that this process takes now, and the most that it has taken, in MB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, most = [int(status[name].split()[0]) * 1024 // 10**6 for name in ("VmRSS", "VmHWM")]
    return now, most


def main(
    posts: Annotated[int, typer.Option(min=SHARD, help="Number of posts to score.")] = 2_000_000,
    every: Annotated[int, typer.Option(min=SHARD, help="Print the memory after so many posts.")] = 200_000,
    words: Annotated[int, typer.Option(min=1, help="Number of words of a post.")] = 12,
    explain: Annotated[bool, typer.Option("--explain", help="With explanations.")] = False,
) -> None:
    """Score made-up posts in this process as a worker does, and print its memory."""
    started = perf_counter()
    with TemporaryDirectory() as folder:
        Path(folder, "_shards").mkdir()
        work = PartWriter(ModelFolder.read(RELEASED), Options(explain=explain), Path(folder))
        for number in range(posts // SHARD):
            work(Shard("posts.jsonl", number, 1 + number * SHARD, "", 0, new_words(number, words)))
            done = (number + 1) * SHARD
            if number == 0 or done % every == 0:
                now, most = resident()
                print(f"{done:>9,} posts: {now:,} MB, at most {most:,} MB; {perf_counter() - started:,.0f} s", flush=True)


if __name__ == "__main__":
    terminal.run(main)
