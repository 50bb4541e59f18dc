"""Files and standard streams. Files are written atomically, locked while in use, and checked when they are read."""
