"""spaCy's text categoriser, trained by the loop of ``spacy train`` with its defaults.

It uses Adam, dropout of 0.1 and batches that grow from 100 to 1,000 words, and keeps the checkpoint with the best macro AUC on posts by
authors held out of train.
"""

import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.libraries.peer import Floats, Groups, Labels, Peer, held_out


class _TextCategoriser(Peer):
    """``textcat_multilabel`` on a blank English pipeline."""

    packages = ("spacy",)
    patience = 1600  # steps without improvement, the default of spacy train

    def architecture(self) -> dict[str, Any]:
        """Return the component's config, which is merged into its default."""
        raise NotImplementedError

    def _write(self, path: Path, encoded: Any, Y: Labels) -> None:
        import spacy
        from spacy.tokens import DocBin

        nlp, docs = spacy.blank("en"), DocBin(store_user_data=False)
        for text, row in zip(encoded, Y.tolist(), strict=True):
            doc = nlp.make_doc(text)
            doc.cats = dict(zip(self.labels, map(float, row), strict=True))
            docs.add(doc)
        docs.to_disk(path)

    def _config(self, scratch: Path) -> Any:
        import spacy

        nlp = spacy.blank("en")
        nlp.add_pipe("textcat_multilabel", config=self.architecture())
        config = nlp.config.copy()
        config["paths"] |= {"train": str(scratch / "train.spacy"), "dev": str(scratch / "dev.spacy")}
        config["system"]["seed"] = self.seed
        config["training"]["score_weights"] = {"cats_score": 1.0}
        config["training"]["patience"] = self.patience
        return config

    def fit(self, encoded: Any, Y: Labels, groups: Groups) -> None:
        """See `Peer`."""
        import spacy
        from spacy.training.initialize import init_nlp
        from spacy.training.loop import train

        with TemporaryDirectory() as folder:
            scratch = Path(folder)
            for name, chosen in zip(("train", "dev"), held_out(groups, self.seed), strict=True):
                self._write(scratch / f"{name}.spacy", encoded[chosen], Y[chosen])
            nlp = init_nlp(self._config(scratch))
            (scratch / "out").mkdir()
            train(nlp, scratch / "out", stdout=io.StringIO(), stderr=io.StringIO())
            self.model = spacy.load(scratch / "out" / "model-best")

    def probabilities(self, encoded: Any) -> Floats:
        """See `Peer`."""
        docs = self.model.pipe(encoded, batch_size=1000)
        return np.array([[doc.cats[name] for name in self.labels] for doc in docs]).reshape(len(encoded), len(self.labels))

    def save(self, folder: Path) -> None:
        """See `Peer`."""
        self.model.to_disk(folder)


class BagOfWords(_TextCategoriser):
    """A bag of words, which spaCy's quickstart chooses for efficiency. Word pairs took three times as long and did worse on folds."""

    title = "spaCy textcat, bag"
    buckets = 262_144

    def architecture(self) -> dict[str, Any]:
        """See `_TextCategoriser`."""
        fixed = {"exclusive_classes": False, "length": self.buckets, "ngram_size": 1, "no_output_layer": False}
        return {"model": {"@architectures": "spacy.TextCatBOW.v3", **fixed}}


class Ensemble(_TextCategoriser):
    """The component's default: a bag of words alongside a convolution over hashed embeddings with attention."""

    title = "spaCy textcat, ensemble"
    per_turn = 2000

    def architecture(self) -> dict[str, Any]:
        """See `_TextCategoriser`; the default is unchanged."""
        return {}
