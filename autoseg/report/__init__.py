"""The report of a run: pictures, charts, tables, the page and the viewer."""
