"""Patch tokens and attention maps, read out of any backbone while it runs."""

from .. import require_stack  # noqa: F401
