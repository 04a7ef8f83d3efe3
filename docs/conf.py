"""How Sphinx makes HTML of the documentation. Warnings are errors, and nothing is asked of the network."""

from __future__ import annotations

from configdrive import __version__
from docs.directives import FENCES

project = "configdrive-fleet"
author = "the authors of configdrive-fleet"
project_copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.graphviz",
    "sphinx.ext.napoleon",
    "docs.directives",
]
html_theme = "furo"
html_title = f"configdrive-fleet {__version__}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_js_files = ["pages.js"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False

smartquotes = False  # `--wait` stays as one types it

nitpicky = True  # a reference that leads nowhere is a warning, and so an error;
nitpick_ignore_regex = [("py:.*", ".*")]  # but the types in signatures have no pages

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
myst_fence_as_directive = FENCES

graphviz_output_format = "svg"
graphviz_dot_args = [
    "-Gbgcolor=transparent",
    "-Nfontname=sans-serif",
    "-Nfontsize=11",
    "-Efontname=sans-serif",
    "-Efontsize=10",
]

default_role = "code"  # of docstrings, which write `like this`
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_type_aliases = {"LifecycleEvent": "LifecycleEvent", "VmUuid": "VmUuid", "EventId": "EventId"}
