"""A local web page that shows what a trained segmentor sees; its server is in ``server``."""

from importlib.util import find_spec

from .. import require_stack  # noqa: F401
from ..errors import UserError


def require_nicegui() -> None:
    """Look for the library of the page.

    Raises:
        UserError: It is not installed.
    """
    if find_spec("nicegui") is None:
        raise UserError(
            "the explorer needs NiceGUI, which is not installed; "
            "pip install 'mmseg_deepvit[explore]'"
        )
