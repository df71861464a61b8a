"""Which people read which posts: rules that lead from probabilities and decisions to queues, and the helplines that a queue names."""
