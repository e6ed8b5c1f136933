"""The kinds of `gpu-tenancy.dev/v1alpha1` as pydantic models, and their CustomResourceDefinitions."""

from gpu_tenancy.api.common import API_VERSION, GROUP, VERSION
from gpu_tenancy.api.peering import TENANT_PEERING, TenantPeeringSpec, TenantPeeringStatus
from gpu_tenancy.api.pool import GPU_POOL, GpuPoolSpec, GpuPoolStatus
from gpu_tenancy.api.region import REGION, RegionSpec, RegionStatus
from gpu_tenancy.api.reservation import GPU_RESERVATION, GpuReservationSpec, GpuReservationStatus
from gpu_tenancy.api.resource import InvalidObject, Resource, parse
from gpu_tenancy.api.tenant import INDUSTRIAL_TENANT, IndustrialTenantSpec, IndustrialTenantStatus

KINDS = (REGION, GPU_POOL, INDUSTRIAL_TENANT, GPU_RESERVATION, TENANT_PEERING)

__all__ = [
    "API_VERSION",
    "GPU_POOL",
    "GPU_RESERVATION",
    "GROUP",
    "INDUSTRIAL_TENANT",
    "KINDS",
    "REGION",
    "TENANT_PEERING",
    "VERSION",
    "GpuPoolSpec",
    "GpuPoolStatus",
    "GpuReservationSpec",
    "GpuReservationStatus",
    "IndustrialTenantSpec",
    "IndustrialTenantStatus",
    "InvalidObject",
    "RegionSpec",
    "RegionStatus",
    "Resource",
    "TenantPeeringSpec",
    "TenantPeeringStatus",
    "parse",
]
