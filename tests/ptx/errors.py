class PTXError(Exception):
    """A kernel, or the way it was called, is wrong: what and where, in one line."""
