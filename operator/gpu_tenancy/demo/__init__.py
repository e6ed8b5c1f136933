"""`gpu-tenancy demo`: a GPU cloud rented out on a real control plane, every step observed at the API server."""
