"""Sphinx's settings for the documentation site, which `build.py` builds."""

from autoseg.version import VERSION

project = "autoseg"
copyright = "The autoseg developers, Apache-2.0. For research; not a medical device."  # noqa: A001 - Sphinx's name
release = VERSION
extensions = ["myst_parser"]
myst_heading_anchors = 6  # as GitHub names them
suppress_warnings = ["misc.highlighting_failure"]  # examples of JSON have a "…" where something is left out
html_theme = "furo"
html_title = f"autoseg {VERSION}"
html_copy_source = False
html_show_sourcelink = False
pygments_style = "default"
