"""Synthetic dermoscopy: pictures of one skin lesion each, drawn from a random generator."""

from .picture import MIN_SIZE, render_lesion_image

__all__ = ["MIN_SIZE", "render_lesion_image"]
