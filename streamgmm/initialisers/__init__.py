"""Where a fit starts: one file per implementation."""
