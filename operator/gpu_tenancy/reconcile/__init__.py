"""Pure reconciliation: what was observed and the time become a plan of operations."""
