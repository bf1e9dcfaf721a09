"""Patch tokens and attention maps, read from any backbone while it runs.

``patch_tokens`` reads tokens of blocks and outputs. ``attention_rows`` reads the maps P and A in
blocks of rows, ``point_rows`` the rows of a few points. ``backbone_facts`` reads attributes of a
backbone before it runs.
"""

from .. import require_stack  # noqa: F401
