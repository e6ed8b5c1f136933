"""What can go wrong, said so that a user knows what to do next."""

from __future__ import annotations


class LocalClusterError(Exception):
    """The control plane cannot do what was asked; the message says why and what to do."""
