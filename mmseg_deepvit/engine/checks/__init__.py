"""Looks at settings, data, weights and numbers that stop a run before it goes wrong."""
