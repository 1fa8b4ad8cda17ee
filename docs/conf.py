"""How Sphinx builds the site: ``tox -e docs``. What is special to it is in ``_sphinx``."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).resolve().parent
PACKAGE = tomllib.loads((DOCS.parent / "pyproject.toml").read_text("utf-8"))["project"]
sys.path.append(str(DOCS / "_sphinx"))

project = "lambda_secrets"
release = version = PACKAGE["version"]
extensions = [
    *("myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"),
    *("site_links", "site_llms", "site_types"),
]
llms_summary = PACKAGE["description"]

default_role = "py:obj"  # a name in backticks in a docstring is a link, which has to lead somewhere
nitpicky = True
nitpick_ignore = [("py:class", "os.PathLike"), ("py:obj", "repr")]
myst_heading_anchors = 4

autodoc_class_signature = "mixed"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_numpy_docstring = False
napoleon_use_ivar = True

copybutton_prompt_text = "$ "  # of a console session, the commands alone

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
if url := os.environ.get("PROJECT_URL"):
    html_theme_options = {"footer_icons": [{"name": "Source", "url": url, "html": "Source"}]}
html_title = f"lambda_secrets {release}"
html_show_copyright = False
html_show_sphinx = False
