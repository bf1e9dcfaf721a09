"""Exact resume: training goes on from a checkpoint as if it had not been interrupted."""
