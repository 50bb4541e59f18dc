class PTXError(Exception):
    """A kernel or its launch is wrong; the message says what and where, in one line."""
