"""GPU tenancy for a sovereign cloud: tenants, quotas per GPU model, residency and advance reservations."""

__version__ = "0.1.0"
