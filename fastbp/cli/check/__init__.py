"""The self-test of a backend, run by `fastbp check`."""
