"""Pure rendering: a tenant and what was decided about it become Kubernetes objects, one module per kind."""
