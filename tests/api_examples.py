"""Objects of our kinds for tests: for each kind one with every field there is, then others that users write."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from gpu_tenancy.api import API_VERSION

if TYPE_CHECKING:
    from gpu_tenancy.api.schema import Kind

MANY_LABELS = {
    "matchLabels": {"nvidia.com/gpu.product": "NVIDIA-B200", "zone": ""},
    "matchExpressions": [
        {"key": "example.com/rack", "operator": "In", "values": ["r1", "r2"]},
        {"key": "retired", "operator": "DoesNotExist"},
    ],
}
CONDITIONS = [
    {
        "type": "Ready",
        "status": "True",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-12-01T19:00:00Z",
        "reason": "Scheduled",
        "message": "64 x NVIDIA-B200 in eu-de",
    },
    {"type": "Active", "status": "False", "lastTransitionTime": "2026-12-01T19:00:00Z", "reason": "No", "message": ""},
]

SPECS: dict[str, list[dict[str, Any]]] = {
    "Region": [
        {
            "displayName": "Germany, Munich",
            "country": "DE",
            "jurisdictions": ["DE", "EU", "EEA"],
            "zones": ["a", "b"],
            "dataCenterOperator": "Example Rechenzentrum GmbH",
            "nodeSelector": MANY_LABELS,
            "certificates": [
                {"name": "BSI C5 Type 2", "validUntil": "2027-06-30", "evidenceURL": "https://example.com/c5"},
                {"name": "ISO 27001", "validUntil": "2028-02-29"},
            ],
        },
        {
            "country": "CH",
            "jurisdictions": ["CH"],
            "nodeSelector": {"matchLabels": {"topology.kubernetes.io/region": "c"}},
        },
    ],
    "GpuPool": [
        {
            "region": "eu-de",
            "model": "NVIDIA-B200",
            "nodeSelector": MANY_LABELS,
            "resourceName": "nvidia.com/mig-1g.23gb",
            "gpusPerNode": 8,
            "perGpu": {"cpu": "3.5", "memory": "29Gi", "ephemeral-storage": "400G"},
            "placementUnit": "Node",
            "spot": "Disabled",
            "headroom": 16,
            "reservations": {
                "minimumDuration": "30m",
                "maximumDuration": "720h",
                "horizon": "4320h",
                "leadTime": "1h30m",
                "step": "5m",
                "modifiableUntil": "24h",
                "noticeBeforeEnd": "40m",
                "gracePeriod": "10m",
                "maximumOverrun": "15m",
                "noShowAfter": "30m",
                "cleaningGap": "5m",
                "maximumShare": 80,
            },
            "maintenance": [
                {"start": "2026-12-24T00:00:00Z", "end": "2026-12-27T01:00:00+01:00", "gpus": 64, "reason": "firmware"}
            ],
        },
        {
            "region": "eu-de",
            "model": "NVIDIA-B200",
            "nodeSelector": {"matchLabels": {"nvidia.com/gpu.product": "NVIDIA-B200"}},
            "gpusPerNode": 8,
        },
    ],
    "IndustrialTenant": [
        {
            "organization": {"legalName": "Example Robotics GmbH", "segment": "Enterprise", "costCenter": "4711"},
            "contract": {
                "validFrom": "2026-01-01T00:00:00Z",
                "validUntil": "2027-01-01T00:00:00Z",
                "serviceClass": "Committed",
                "notice": "1440h",
            },
            "owners": [
                {"kind": "Group", "name": "neura-admins", "role": "Owner"},
                {"kind": "ServiceAccount", "name": "gitops", "namespace": "flux-system", "role": "Editor"},
                {"kind": "User", "name": "intern", "role": "Viewer", "namespaces": ["neura-serve"]},
            ],
            "residency": {"jurisdictions": ["DE", "CH"], "regions": ["eu-de", "eu-nl"]},
            "namespaces": [{"name": "neura-train", "defaultPool": "b200"}, {"name": "neura-serve"}],
            "gpus": [
                {
                    "pool": "b200",
                    "guaranteed": 32,
                    "spot": 64,
                    "reservable": 256,
                    "gpuHours": {"limit": 50000, "period": "Month"},
                    "sharing": "Shared",
                    "namespaces": [
                        {"name": "neura-train", "guaranteed": 24, "spot": 60},
                        {"name": "neura-serve", "guaranteed": 8},
                    ],
                },
                {"pool": "rtx-pro", "guaranteed": 8, "namespaces": [{"name": "neura-serve", "guaranteed": 8}]},
            ],
            "devices": [{"deviceClass": "channel.nvidia.com", "count": 16}, {"deviceClass": "nic", "count": 0}],
            "quota": {
                "requests.cpu": "512",
                "requests.memory": "4Ti",
                "persistentvolumeclaims": "50",
                "count/jobs.batch": "100",
                "fast.storageclass.storage.k8s.io/requests.storage": "1.5Ti",
            },
            "network": {
                "internetEgress": "Denied",
                "allowFromNamespaces": [{"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}],
                "allowToNamespaces": [MANY_LABELS],
                "hosts": ["app.neura.example", "*.neura.example"],
                "attachments": ["neura-networks/rail-0"],
                "peering": "Allowed",
            },
            "workloads": {"podSecurity": "Baseline", "registries": ["registry.example:5000/neura/a-b", "cache:5000"]},
            "storageClasses": ["fast", "slow.example.com"],
            "suspended": True,
            "suspension": {"pods": "Drain", "gracePeriod": "30m"},
            "deletionPolicy": "Delete",
        },
        {
            "residency": {"jurisdictions": ["DE"]},
            "namespaces": [{"name": "lab"}],
            "gpus": [{"pool": "b200", "spot": 8}],
        },
        {},
    ],
    "GpuReservation": [
        {
            "pool": "b200",
            "gpus": 64,
            "window": {"start": "2026-12-01T20:00:00Z", "duration": "10h"},
            "onConflict": "Wait",
            "onEnd": "Keep",
            "exclusivity": "Clique",
        },
        {"pool": "b200", "gpus": 1, "window": {"start": "2026-12-01T20:00:00Z", "end": "2026-12-01T21:00:01+01:00"}},
        {
            "pool": "b200",
            "gpus": 30,
            "window": {"start": "2026-12-01T20:00:00Z", "duration": "90m"},
            "recurrence": {
                "rule": "FREQ=MONTHLY;INTERVAL=2;BYDAY=1TU,-1TH;BYMONTHDAY=1,-31;BYMONTH=2,12;COUNT=10",
                "timeZone": "America/Argentina/Buenos_Aires",
                "acceptance": "BestEffort",
            },
            "onConflict": "Wait",
        },
        {
            "pool": "b200",
            "gpus": 30,
            "window": {"start": "2026-12-01T20:00:00Z", "duration": "90m"},
            "recurrence": {"rule": "FREQ=WEEKLY;UNTIL=20270131T180000Z"},
        },
        {
            "pool": "b200",
            "gpus": 8,
            "window": {
                "notBefore": "2026-12-01T20:00:00Z",
                "notAfter": "2026-12-02T20:00:00Z",
                "duration": "24h",
                "preference": "Latest",
            },
        },
    ],
    "TenantPeering": [
        {
            "peer": {"tenant": "rival", "namespace": "rival-lab"},
            "ports": [{"port": 8443, "protocol": "TCP"}, {"port": 4791, "protocol": "UDP"}],
        },
        {"peer": {"tenant": "rival", "namespace": "rival-lab"}, "ports": [{"port": 8443}]},
        {"peer": {"tenant": "rival", "namespace": "rival-lab"}},
    ],
}
STATUSES: dict[str, list[dict[str, Any]]] = {
    "Region": [{"observedGeneration": 1, "nodes": 1250, "conditions": CONDITIONS}],
    "GpuPool": [
        {
            "observedGeneration": 1,
            "nodes": 1250,
            "capacity": 10000,
            "usable": 9984,
            "unhealthy": 16,
            "guaranteed": 32,
            "reserved": 64,
            "free": 9872,
            "nextFree": "2026-12-02T06:00:00Z",
            "conditions": CONDITIONS,
        }
    ],
    "IndustrialTenant": [
        {
            "observedGeneration": 1,
            "placement": "CH.DE.eu-de",
            "regions": ["eu-de"],
            "readyNamespaces": "1/2",
            "namespaces": [
                {"name": "neura-train", "ready": True, "reason": "Ready"},
                {"name": "neura-serve", "ready": False, "reason": "NameTaken", "message": "another tenant has it"},
            ],
            "gpus": [
                {
                    "pool": "b200",
                    "guaranteed": 32,
                    "granted": 24,
                    "spot": 64,
                    "reserved": 8,
                    "charged": {
                        "until": "2026-12-02T00:00:00Z",
                        "periods": [
                            {
                                "start": "2026-12-01T00:00:00Z",
                                "end": "2027-01-01T00:00:00Z",
                                "present": 3600,
                                "gone": 7200,
                            }
                        ],
                    },
                    "usage": {
                        "until": "2026-12-02T00:00:00Z",
                        "months": [
                            {
                                "month": "2026-12-01T00:00:00Z",
                                "guaranteed": 90000,
                                "spot": 1,
                                "booked": 7200,
                                "active": 7100,
                                "used": 3600,
                            }
                        ],
                    },
                }
            ],
            "drain": {"since": "2026-12-01T19:00:00Z", "pods": 3},
            "controls": [
                {
                    "id": "network-isolation",
                    "objects": 8,
                    "hash": "16978f274ed84ede7b3094dacb14a95f",
                    "result": "Verified",
                    "lastVerifiedTime": "2026-12-01T19:00:00Z",
                }
            ],
            "conditions": CONDITIONS,
        }
    ],
    "GpuReservation": [
        {
            "observedGeneration": 1,
            "window": {"start": "2026-12-01T20:00:00Z", "end": "2026-12-02T06:00:00Z"},
            "gpus": 64,
            "forfeitedGpuSeconds": 3600,
            "keptSeconds": 600,
            "ended": "NoShow",
            "firstUsedTime": "2026-12-01T20:05:00Z",
            "domain": "5a0c2f1e-7c1d-4a0c-9a51-0d4f3f3a9a10.3",
            "nodes": ["gb200-001", "gb200-002"],
            "acceptedTime": "2026-11-01T00:00:00Z",
            "usage": {
                "until": "2026-12-02T06:00:00Z",
                "bookedGpuHours": 640,
                "usedGpuHours": 500,
                "months": [{"month": "2026-12-01T00:00:00Z", "booked": 2304000, "active": 2304000, "used": 1800000}],
            },
            "occurrences": [
                {
                    "start": "2026-12-01T20:00:00Z",
                    "end": "2026-12-02T06:00:00Z",
                    "gpus": 64,
                    "acceptedTime": "2026-11-01T00:00:00Z",
                    "forfeitedGpuSeconds": 3600,
                },
                {"start": "2026-12-08T20:00:00Z", "end": "2026-12-09T06:00:00Z", "reason": "DoesNotFit"},
            ],
            "queuePosition": 2,
            "waitingSince": "2026-11-01T00:00:00Z",
            "offers": [{"start": "2026-12-01T20:00:00Z", "end": "2026-12-02T06:00:00Z"}],
            "conditions": CONDITIONS,
        }
    ],
    "TenantPeering": [
        {"observedGeneration": 1, "ports": [{"port": 8443, "protocol": "TCP"}], "conditions": CONDITIONS}
    ],
}

NAMES = (
    *("eu-de", "a", "1", "a" * 40, "a" * 41, "a" * 63, "a" * 64, "a" * 253, "a" * 254),
    *("a.b", "a..b", ".a", "-a", "a-", "a_b", "A", "ä", "a b", "a\n", "any"),
)


def raw_object(kind: Kind[Any, Any], spec: Any, name: str = "example") -> dict[str, Any]:
    """Wrap a spec as users send it."""
    return {"apiVersion": API_VERSION, "kind": kind.kind, "metadata": {"name": name}, "spec": copy.deepcopy(spec)}
