"""The course as a site: `make site` copies notebooks and pages to ``build/site-source`` and builds them with this.

Nothing is executed, and no page asks another address for anything: no fonts, no script, no formulas from elsewhere.
"""

project = "Who are you?"
html_title = "Who are you? Give a language model an identity of its own"
extensions = ["myst_nb"]
exclude_patterns = ["**/.ipynb_checkpoints"]
master_doc = "index"
language = "en"

nb_execution_mode = "off"
nb_ipywidgets_js = {}  # without a kernel a widget is dead
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
nb_render_markdown_format = "myst"
myst_heading_anchors = 4
suppress_warnings = ["myst.xref_missing", "myst.header", "mystnb.unknown_mime_type", "misc.highlighting_failure"]

html_theme = "sphinx_book_theme"
html_theme_options = {"show_navbar_depth": 1, "use_download_button": True, "home_page_in_toc": True}
html_copy_source = False
html_static_path = []
myst_enable_extensions = []  # no formulas: their script would come from elsewhere
