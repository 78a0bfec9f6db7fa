"""One file for each peer; base.py says what it holds."""
