"""Imported first by each room that needs MMSegmentation: says in one line what to install."""

from .stack import find_stack

find_stack()
