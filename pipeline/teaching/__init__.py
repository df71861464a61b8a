"""Slow teachers for the fast model: encoders are fine-tuned and label posts for it. They need the extra ``encoder``."""
