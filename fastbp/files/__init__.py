"""Files and standard streams: written atomically, locked, checked when read."""
