"""The peers that our models are compared with: one file per library, each used as its documentation recommends."""

from benchmarks.libraries.fasttext import FastText
from benchmarks.libraries.linear import TfidfLogistic
from benchmarks.libraries.minilm import Embeddings, FineTuned
from benchmarks.libraries.model2vec import StaticEmbeddings
from benchmarks.libraries.peer import Peer
from benchmarks.libraries.rules import KeywordRules, MostFrequent
from benchmarks.libraries.spacy import BagOfWords, Ensemble

PEERS: dict[str, type[Peer]] = {
    "most_frequent": MostFrequent,
    "keywords": KeywordRules,
    "tfidf": TfidfLogistic,
    "fasttext": FastText,
    "spacy_bow": BagOfWords,
    "spacy_ensemble": Ensemble,
    "model2vec": StaticEmbeddings,
    "minilm": Embeddings,
    "minilm_tuned": FineTuned,
}

__all__ = ["PEERS", "Peer"]
