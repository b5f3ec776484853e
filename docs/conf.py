"""How Sphinx builds these pages: ``sphinx-build -W docs BUILT``, with the extra ``[docs]``."""

import c4ai_clients

project = "c4ai_clients"
author = "the c4ai_clients authors"
copyright = author  # noqa: A001  (Sphinx's own name)
release = version = c4ai_clients.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "pictures/*.py"]
html_theme = "furo"
html_title = project

# Links to headings, as they work on GitHub too.
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# A class's fields stand in its docstring; they are not objects of their own.
napoleon_use_ivar = True

# A reference that leads nowhere is a warning, but for types in signatures that
# are not ours, or not public.
nitpicky = True
nitpick_ignore_regex = [
    ("py:class", r"(collections|concurrent|email|os|pathlib|ssl|threading)\..*"),
    ("py:class", r"(Chat|FileLike|Messages|RetryLike|TimeoutLike)"),
    ("py:class", r"c4ai_clients\.(providers|emulator|stream\.Turn).*|c4ai_clients\..*\._\w+"),
    ("py:class", r".*\[.*"),
    ("py:exc", "ModelFailedError"),
]
