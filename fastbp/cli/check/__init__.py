"""The self-test of a backend that `fastbp check` runs."""
