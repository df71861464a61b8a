"""Which people read which posts: rules that lead from probabilities and decisions to queues, and the lines of help that a queue names."""
