"""Watching whether the posts of a stream are still like those that the model knows, and what can be expected of it on them."""
