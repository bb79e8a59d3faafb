"""How many CPUs there are for us."""

from __future__ import annotations


def usable_cpus() -> int:
    """CPUs that this process may use: its affinity and its container's quota count."""
    import joblib

    return int(joblib.cpu_count())
