"""What pip and mim call; everything is said in setup.cfg."""

from setuptools import setup

setup()
