"""A small asynchronous client of the Kubernetes API; it knows nothing of tenancy."""
