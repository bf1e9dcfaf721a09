"""Checks of settings, data, weights and numbers, which stop a run before it goes wrong."""
