"""Checkpoints that are whole or not there, and a clean stop that saves one."""
