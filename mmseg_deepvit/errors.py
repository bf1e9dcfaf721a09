"""Errors that the user can correct: one line that names the thing and the remedy."""


class UserError(Exception):
    """Input that cannot be used; the tools print the message, no traceback, and exit with 2."""


class CheckpointError(UserError):
    """A checkpoint that cannot be read, or that belongs to another model."""
