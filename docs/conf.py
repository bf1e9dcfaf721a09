"""Settings of the documentation site: `make docs`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from mmseg_deepvit.version import __version__  # noqa: E402

project = "mmseg_deepvit"
copyright = "the authors of mmseg_deepvit, Apache-2.0"
release = version = __version__

extensions = [
    "generated_pages",
    "mathml",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
nitpicky = False  # classes of PyTorch and mmengine are named, not linked

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"  # a notebook runs again when its code changes
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 900  # seconds a cell, on a busy machine
nb_output_stderr = "remove"

suppress_warnings = ["myst.header"]  # studies' pages begin below their tables

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes of named tuples are documented once

html_math_renderer = "mathml"
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_title = "mmseg_deepvit"
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp"
