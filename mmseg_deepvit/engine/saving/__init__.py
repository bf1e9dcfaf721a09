"""Checkpoints that are complete or not there, and a clean stop that saves one."""
