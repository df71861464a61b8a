"""Decides which people read which posts: rules lead from probabilities and decisions to queues, and a queue may name helplines."""
