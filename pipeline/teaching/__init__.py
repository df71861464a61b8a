"""Slow teachers for the fast model: fine-tuned encoders and their answers. Needs the extra ``encoder``."""
