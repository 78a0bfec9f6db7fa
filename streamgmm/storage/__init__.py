"""Where the files of a run are kept: one role, one file per kind of storage. Floor 4."""
