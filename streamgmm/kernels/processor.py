"""The processor that kernels are compiled for, as numba names it. Floor 0."""

__all__ = ["processor"]

import hashlib

from numba.core.registry import cpu_target


def processor() -> tuple[str, str]:
    """(name, digest of its features): two processes with the same pair compile the same machine code.

    NUMBA_CPU_NAME and NUMBA_CPU_FEATURES are counted in.
    """
    triple, name, features = cpu_target.target_context.codegen().magic_tuple()
    listed = ",".join(sorted(features.split(",")))
    return f"{name} ({triple})", hashlib.sha256(listed.encode()).hexdigest()[:12]
