"""Loads labelled posts from files, folders, and saved or Hugging Face hub data sets as one checked corpus with disjoint splits."""

from pipeline.corpora.corpus import SPLITS, Corpus, Overlap, Record
from pipeline.corpora.loading import load_corpus, load_training_corpus
from pipeline.corpora.sources import IN_MEMORY, Posts, location_of

__all__ = ["IN_MEMORY", "SPLITS", "Corpus", "Overlap", "Posts", "Record", "load_corpus", "load_training_corpus", "location_of"]
