"""Foreign file formats, one file each. Floor 4."""
