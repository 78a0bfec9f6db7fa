"""The mixing proportions and their law: one file per implementation."""
