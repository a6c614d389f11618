"""Sphinx's settings; `docs.build` adds the folders that it has staged."""

from dlkit import __version__

project = "dlkit"
copyright = "The dlkit authors"
author = "The dlkit authors"
release = version = __version__
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docs.docstrings",
    "docs.mathml",
]
root_doc = "index"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the outputs are those that are committed
nb_merge_streams = True
html_math_renderer = "mathml"

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
maximum_signature_line_length = 80
napoleon_use_ivar = True
default_role = "py:obj"  # a word in single backquotes: a link where it names something, else code

# "`costs`" may be an attribute of one class and a module: the first is linked.
suppress_warnings = ["ref.python"]

html_theme = "furo"
html_title = f"dlkit {__version__}"
html_css_files = ["site.css", "stages.css"]
html_copy_source = False
html_show_sphinx = False
html_show_search_summary = False  # it would fetch each page found, which a browser forbids on disk
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072B2", "color-brand-content": "#0072B2"},
    "dark_css_variables": {"color-brand-primary": "#56B4E9", "color-brand-content": "#56B4E9"},
    "top_of_page_buttons": [],
}
pygments_style = "friendly"
pygments_dark_style = "monokai"
