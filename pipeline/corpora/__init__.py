"""Labelled posts from files, folders, saved and hub data sets, as one checked corpus with disjoint splits."""

from pipeline.corpora.corpus import SPLITS, Corpus, Overlap, Record
from pipeline.corpora.loading import load_corpus, load_training_corpus

__all__ = ["SPLITS", "Corpus", "Overlap", "Record", "load_corpus", "load_training_corpus"]
