"""Pure decisions: capacity, calendars, residency, quotas and names. Nothing here reads a clock or a network."""
