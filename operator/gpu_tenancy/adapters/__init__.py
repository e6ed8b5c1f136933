"""The edge to kopf."""
