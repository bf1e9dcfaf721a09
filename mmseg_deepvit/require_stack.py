"""Say in one line what to install; each room that needs MMSegmentation imports this first."""

from .stack import find_stack

find_stack()
