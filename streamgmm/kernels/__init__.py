"""Compiled tile kernels: the only place with compiled code. Floor 0.

`compiling` says how kernels are compiled and cached, `tile` holds what all densities share, one file per family of density adds
its log-density and its moments, and `e_step` is the loop over tiles. Nothing is compiled at import.
"""
