"""Watches whether the posts of a stream are still like those that the model knows, and estimates how well the model does on them."""
