"""Plots, with matplotlib (the extra `plot`). They take values, such as a `History`, and know no `Network`."""
