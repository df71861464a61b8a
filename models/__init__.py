"""Estimators: tokenised posts in, one calibrated probability per label out; and their directory on disk."""

from models.classifier import Classifier

__all__ = ["Classifier"]
