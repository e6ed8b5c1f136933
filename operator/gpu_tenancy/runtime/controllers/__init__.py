"""One controller for each topic, and the routes by which a change reaches those it concerns."""

from gpu_tenancy.runtime.controllers.routes import Controllers

__all__ = ["Controllers"]
