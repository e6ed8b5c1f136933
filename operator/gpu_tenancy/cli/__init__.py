"""The command `gpu-tenancy`."""
