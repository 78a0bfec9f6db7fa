"""When to maximise and how to blend: one file per implementation."""
