"""Training that goes on from its own checkpoints as if there had been no interruption."""
