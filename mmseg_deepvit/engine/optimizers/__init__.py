"""Parts of an optimiser's step: groups of parameters, and mixed precision on a CPU."""
