"""The edge to kopf."""

from gpu_tenancy.adapters.kinds import KindWatcher

__all__ = ["KindWatcher"]
