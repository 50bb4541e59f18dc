"""Plots of values such as a `History`. They need matplotlib, the extra `plot`, and do not depend on `Network`."""
