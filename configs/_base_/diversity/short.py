# published.py for 1500 iterations: the losses are at full weight after a fifth of them.
_base_ = "./published.py"
diversity = dict(warmup_iters=300)
