"""Sphinx over the Markdown of this repository, from its root, so that pages link to each other here as they do on GitHub."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipeline import __version__ as release  # noqa: E402

project = "disclosure-pipeline"
copyright = "the disclosure-pipeline authors"
version = release

extensions = ["myst_nb", "sphinx.ext.autodoc", "numpydoc", "sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = [
    *("*.md", "docs/**.md", "docs/**.ipynb", "data/**.md"),
    *("models/released/README.md", "benchmarks/README.md"),
]
exclude_patterns = [".*", "**/.*", "docs/_build", "runs", "scores", "mlruns", "build", "tests", "requirements"]

# Headings get the anchors that GitHub gives them; notebooks hold their outputs, which tests/test_notebooks.py compares.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "off"
highlight_language = "none"
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True

# Docstrings name the types, with shapes where there are any; types of other libraries are not linked.
autodoc_typehints = "none"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
default_role = "py:obj"
numpydoc_show_class_members = False
nitpick_ignore_regex = [("py:.*", r"(?!models\b|pipeline\b).*")]

html_theme = "furo"
html_title = f"disclosure-pipeline {release}"
html_extra_path = ["_root"]
html_static_path = ["_static"]
html_css_files = ["page.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"top_of_page_buttons": []}
