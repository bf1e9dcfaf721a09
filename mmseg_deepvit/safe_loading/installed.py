"""Importing this installs safe loading, for ``custom_imports`` of configs, which call nothing."""

from . import install

install()
