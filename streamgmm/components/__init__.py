"""K densities and their parameters: one file per family. Floor 1."""
