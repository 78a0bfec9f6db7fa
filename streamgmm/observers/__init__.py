"""Who is told what happens: one file per implementation."""
