"""What runs: caches, the work queue, the executor of plans, the lease, and the operator that joins them."""
