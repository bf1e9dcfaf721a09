"""Groups of parameters by layer, and mixed precision on a CPU."""
