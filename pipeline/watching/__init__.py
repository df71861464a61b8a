"""Watching whether the stream of posts is still the one that the model knows, and what can be expected of the model on it."""
