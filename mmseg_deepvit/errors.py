"""Errors that the user can correct: one line that names the thing and the remedy."""


class UserError(Exception):
    """Input that cannot be used; the tools print the message, no traceback, and exit with 2."""


class CheckpointError(UserError):
    """A checkpoint that cannot be read, or that belongs to another model."""


def reason(error: BaseException, most: int = 300) -> str:
    """What another library's error says, on one line: the system's reason, else its message.

    Args:
        error: Error; without a message its type is named.
        most: Largest number of characters.
    """
    message = error.args[0] if isinstance(error, KeyError) and error.args else error
    said = getattr(error, "strerror", None) or message
    return " ".join(str(said).split())[:most] or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of another library's error, where advice for programmers follows."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
