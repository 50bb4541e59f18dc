"""Plots of results such as a `History`. They need matplotlib (`pip install fastbp[plot]`)."""
