"""fastText: hashed words, subwords and word pairs, one-vs-all loss.

It uses the settings and preprocessing of its tutorial on multi-label classification (loss ``ova``, 25 epochs, learning rate 0.5, word
pairs, dimension 50), and alternatives chosen on folds. Its autotune stops by the clock, so its results could not be repeated.
"""

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.libraries.peer import Floats, Groups, Labels, Peer

_NONE = "none"  # fastText skips lines without a label
_PREFIX = "__label__"
_PUNCTUATION = re.compile(r"([.!?,'/()\":;])")


class FastText(Peer):
    """fastText in one thread, so that results are reproducible; learning rate, epochs and length of subwords are chosen on folds."""

    title = "fastText"
    packages = ("fasttext",)
    settings = tuple(
        {"lr": lr, "epoch": epoch, "minn": minn, "maxn": maxn}
        for (lr, epoch), (minn, maxn) in product(((0.2, 25), (0.5, 25), (0.5, 50), (1.0, 25)), ((0, 0), (2, 5)))
    )

    def encode(self, texts: Sequence[str]) -> Any:
        """Return posts in lower case on one line each, with punctuation set apart by spaces."""
        return np.array([" ".join(_PUNCTUATION.sub(r" \1 ", text.lower()).split()) for text in texts], object)

    def fit(self, encoded: Any, Y: Labels, groups: Groups) -> None:  # noqa: ARG002 - the signature of `Peer`
        """See `Peer`."""
        import fasttext

        lines = [
            " ".join([*(_PREFIX + name for name in names or [_NONE]), text]) for names, text in zip(self.names(Y), encoded, strict=True)
        ]
        with TemporaryDirectory() as scratch:
            path = Path(scratch) / "train.txt"
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            fixed = {"loss": "ova", "wordNgrams": 2, "bucket": 500_000, "dim": 50, "thread": 1, "seed": self.seed, "verbose": 0}
            self.model = fasttext.train_supervised(str(path), **fixed, **self.setting)

    def probabilities(self, encoded: Any) -> Floats:
        """See `Peer`."""
        column = {_PREFIX + name: k for k, name in enumerate(self.labels)}
        found = np.zeros((len(encoded), len(self.labels)))
        for row, names, values in zip(found, *self.model.predict(list(encoded), k=-1), strict=True):
            for name, value in zip(names, values, strict=True):
                if name in column:
                    row[column[name]] = min(value, 1)  # the library's rounding can exceed 1 slightly
        return found

    def save(self, folder: Path) -> None:
        """See `Peer`."""
        self.model.save_model(str(folder / "model.bin"))
