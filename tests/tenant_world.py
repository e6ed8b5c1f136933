"""A cluster in memory for tests of the tenant planner: stores objects, does plans, counts quotas.

It behaves as the API server does where the planner could notice: merge patches, uids, versions, dropped empty fields.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gpu_tenancy.api.pool import GpuPoolSpec
from gpu_tenancy.api.region import RegionSpec
from gpu_tenancy.api.tenant import GrantStatus, IndustrialTenantSpec, IndustrialTenantStatus
from gpu_tenancy.domain.contract import Standing
from gpu_tenancy.domain.grants import shares
from gpu_tenancy.domain.naming import TENANT_LABEL, Tier
from gpu_tenancy.reconcile.diff import merge_patch
from gpu_tenancy.reconcile.isolation import Memory
from gpu_tenancy.reconcile.observed import Observed
from gpu_tenancy.reconcile.plan import Create, Delete, Emit, Plan, Ref, Update
from gpu_tenancy.reconcile.tenants import plan_tenant
from gpu_tenancy.reconcile.views import Platform, TenantView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpu_tenancy.domain.peering import Agreement
    from gpu_tenancy.reconcile.audit import Audit
    from gpu_tenancy.reconcile.drain import Remainder
    from gpu_tenancy.reconcile.plan import Manifest, Operation

NOW = datetime(2026, 12, 1, 8, 0, 0, 250_000, tzinfo=UTC)
KINDS = ("ResourceQuota", "LimitRange", "NetworkPolicy", "RoleBinding")

REGIONS = {
    "eu-de": RegionSpec.model_validate(
        {"country": "DE", "jurisdictions": ["DE", "EU"], "nodeSelector": {"matchLabels": {"region": "eu-de"}}}
    ),
    "eu-nl": RegionSpec.model_validate(
        {"country": "NL", "jurisdictions": ["NL", "EU"], "nodeSelector": {"matchLabels": {"region": "eu-nl"}}}
    ),
    "eu-ch2": RegionSpec.model_validate(
        {"country": "CH", "jurisdictions": ["CH"], "nodeSelector": {"matchLabels": {"region": "eu-ch2"}}}
    ),
}


def pool(region: str = "eu-de", **fields: Any) -> GpuPoolSpec:
    base = {"model": "NVIDIA-B200", "nodeSelector": {"matchLabels": {"product": "b200"}}, "gpusPerNode": 8}
    return GpuPoolSpec.model_validate({"region": region, **base, **fields})


POOLS = {
    "b200": pool(),
    "rtx-pro": pool(),
    "mig": pool("eu-nl", resourceName="nvidia.com/mig-1g.23gb"),
    "swiss": pool("eu-ch2"),
}


def spec(**fields: Any) -> IndustrialTenantSpec:
    return IndustrialTenantSpec.model_validate(fields)


NEURA = {
    "residency": {"jurisdictions": ["DE"]},
    "owners": [{"kind": "Group", "name": "admins", "role": "Owner"}, {"kind": "User", "name": "eva"}],
    "namespaces": [{"name": "train", "defaultPool": "b200"}, {"name": "serve"}],
    "gpus": [{"pool": "b200", "guaranteed": 32, "spot": 64, "reservable": 8}],
}


class ConflictError(Exception):
    """The API server would answer 409."""


@dataclass
class Cluster:
    """Everything that one or more tenants see, and what they wrote.

    Attributes:
        objects: by reference, as the API server stores them.
        written: every operation that changed something, in order.
        memories: what was planned for each tenant before; no plan may depend on it.
        counting: whether the controller-manager counts quotas.
    """

    tenants: dict[str, tuple[IndustrialTenantSpec | None, IndustrialTenantStatus | None, int]] = field(
        default_factory=dict
    )
    objects: dict[Ref, Manifest] = field(default_factory=dict)
    regions: dict[str, RegionSpec] = field(default_factory=lambda: dict(REGIONS))
    pools: dict[str, GpuPoolSpec] = field(default_factory=lambda: dict(POOLS))
    allotments: dict[tuple[str, str, Tier], int] = field(default_factory=dict)
    grants: dict[str, dict[str, GrantStatus]] = field(default_factory=dict)
    peerings: dict[str, list[Agreement]] = field(default_factory=dict)
    used: dict[Ref, dict[str, str]] = field(default_factory=dict)
    remainders: dict[str, Remainder] = field(default_factory=dict)
    contested: frozenset[str] = frozenset()
    audit: Audit | None = None
    accelerators: frozenset[str] = frozenset({"nvidia.com/gpu", "nvidia.com/mig-1g.23gb"})
    device_classes: dict[str, str] = field(default_factory=dict)
    storage_classes: frozenset[str] = frozenset({"fast", "slow"})
    platform: Platform = field(default_factory=Platform)
    standing: Standing = field(default_factory=Standing)
    written: list[Operation] = field(default_factory=list)
    memories: dict[str, Memory] = field(default_factory=dict)
    counting: bool = True
    _versions: Any = field(default_factory=lambda: itertools.count(1))

    def declare(self, name: str, contract: IndustrialTenantSpec) -> None:
        """Create the tenant or change its spec; its pools grant what is asked for, at once."""
        _, status, generation = self.tenants.get(name, (None, None, 0))
        self.tenants[name] = (contract, status, generation + 1)
        self.grants[name] = {
            one.pool: GrantStatus(
                pool=one.pool,
                guaranteed=one.guaranteed,
                granted=one.guaranteed,
                backed=one.guaranteed,
                spot=one.spot,
            )
            for one in contract.gpus
        }

    def provision(self, name: str = "neura", **changed: Any) -> list[Operation]:
        """Declare `NEURA` with some fields changed, have the pools hand out all that is guaranteed, and settle."""
        contract = spec(**(NEURA | changed))
        self.declare(name, contract)
        for grant in contract.gpus:
            for namespace, share in shares(grant, contract.namespaces).items():
                self.allotments[namespace, grant.pool, Tier.GUARANTEED] = share.guaranteed
        return self.settle(name)

    def forget(self, name: str) -> None:
        """Delete the tenant; the garbage collector has not come by yet."""
        del self.tenants[name]

    def status(self, name: str) -> IndustrialTenantStatus:
        """Give a tenant's status; it has one."""
        status = self.tenants[name][1]
        assert status is not None
        return status

    def put(self, manifest: Manifest) -> Ref:
        """Store an object as somebody else would."""
        ref = Ref.of(manifest)
        self._store(ref, copy.deepcopy(manifest))
        return ref

    def labels(self, namespace: str) -> dict[str, str]:
        """Give a namespace's labels."""
        return self.objects[namespace_ref(namespace)]["metadata"].get("labels", {})

    def annotations(self, namespace: str) -> dict[str, str]:
        """Give a namespace's annotations."""
        return self.objects[namespace_ref(namespace)]["metadata"].get("annotations", {})

    def hard(self, namespace: str, quota: str) -> dict[str, str]:
        """Give the lines of a quota."""
        return self.objects[quota_ref(namespace, quota)]["spec"]["hard"]

    def open_classes(self, namespace: str) -> list[str]:
        """Give the classes that the closing quota leaves to their own quotas."""
        selector = self.objects[quota_ref(namespace, "gpu-other")]["spec"]["scopeSelector"]
        return [value for value in selector["matchExpressions"][0]["values"] if value != "gpu-other"]

    def inside(self, namespace: str) -> dict[tuple[str, str], Manifest]:
        """Give all objects in a namespace by kind and name."""
        return {(ref.kind, ref.name): one for ref, one in self.objects.items() if ref.namespace == namespace}

    def change(self, ref: Ref, patch: Manifest) -> None:
        """Patch an object as somebody else would."""
        self._store(ref, _merged(self.objects[ref], patch))

    def view(self, name: str) -> TenantView:
        """See the cluster as the tenant's reconciliation does."""
        contract, status, generation = self.tenants.get(name, (None, None, 0))
        listed = {one.name for one in contract.namespaces} if contract else set()
        namespaces = {
            ref.name: self.observe(ref)
            for ref, manifest in self.objects.items()
            if ref.kind == "Namespace"
            and (ref.name in listed or manifest["metadata"].get("labels", {}).get(TENANT_LABEL) == name)
        }
        children = {
            ref: self.observe(ref)
            for ref, manifest in self.objects.items()
            if ref.namespace in namespaces
            and ref.kind in KINDS
            and manifest["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") == "gpu-tenancy"
        }
        separation = separation_ref(name)
        return TenantView(
            name=name,
            uid=f"uid-of-{name}" if contract else "",
            resource_version="1" if contract else "",
            generation=generation,
            spec=contract,
            status=status,
            regions=dict(self.regions),
            pools=dict(self.pools),
            accelerators=self.accelerators,
            device_classes=dict(self.device_classes),
            storage_classes=self.storage_classes,
            allotments=self.allotments,
            grants=self.grants.get(name, {}),
            namespaces=namespaces,
            claims={namespace: self._holder(namespace) for namespace in listed},
            children=children,
            handed_out={
                namespace: [
                    self.observe(ref)
                    for ref in self.objects
                    if ref.kind == "RoleBinding" and ref.namespace == namespace and ref not in children
                ]
                for namespace in namespaces
            },
            platform=self.platform,
            contract=self.standing,
            peerings={namespace: tuple(agreed) for namespace, agreed in self.peerings.items()},
            separation=self.observe(separation) if separation in self.objects else None,
            remainders=dict(self.remainders),
            contested=self.contested,
            audit=self.audit,
        )

    def _holder(self, namespace: str) -> str:
        manifest = self.objects.get(namespace_ref(namespace), {"metadata": {}})
        owner = manifest["metadata"].get("labels", {}).get(TENANT_LABEL)
        listing = [
            tenant
            for tenant, (contract, _, _) in self.tenants.items()
            if contract and namespace in {one.name for one in contract.namespaces}
        ]
        return owner if owner in listing else listing[0]

    def observe(self, ref: Ref) -> Observed:
        return Observed.of(self.objects[ref], ref.api_version, ref.kind)

    def plan(self, name: str, now: datetime = NOW) -> Plan:
        view, memory = self.view(name), self.memories.setdefault(name, Memory())
        plan = plan_tenant(view, now, memory)
        assert plan == plan_tenant(view, now), "what is remembered decides something"
        return plan

    def reconcile(self, name: str, now: datetime = NOW) -> list[Operation]:
        """Plan once and do it; returns what was written, events included."""
        operations = list(self.plan(name, now).operations)
        for operation in operations:
            self.do(operation)
        self.count()
        return operations

    def settle(self, name: str, rounds: int = 8) -> list[Operation]:
        """Reconcile until there is nothing left to do; returns all that was written."""
        written: list[Operation] = []
        for _ in range(rounds):
            operations = self.reconcile(name)
            if not operations:
                return written
            written += operations
        raise AssertionError(f"still writing after {rounds} rounds: {operations}")

    def count(self) -> None:
        """Count the quotas, as the controller-manager does."""
        for ref, manifest in self.objects.items():
            if ref.kind == "ResourceQuota" and self.counting:
                hard = manifest["spec"].get("hard", {})
                used = {key: self.used.get(ref, {}).get(key, "0") for key in hard}
                manifest["status"] = {"hard": dict(hard), "used": used}

    def do(self, operation: Operation) -> None:
        """Do one operation as the executor and the API server do."""
        match operation:
            case Create():
                self._create(operation)
            case Update(ref, patch, _, "status"):
                contract, status, generation = self.tenants[ref.name]
                fields = status.model_dump(mode="json") if status else {}
                status = IndustrialTenantStatus.model_validate({**fields, **patch["status"]})
                self.tenants[ref.name] = (contract, status, generation)
            case Update(ref, patch, version):
                if version is not None and version != self.objects[ref]["metadata"]["resourceVersion"]:
                    raise ConflictError(f"{ref} was written meanwhile")
                self._store(ref, _merged(self.objects[ref], patch))
            case Delete(ref, uid):
                if self.objects.get(ref, {}).get("metadata", {}).get("uid") == uid:
                    self._delete(ref)
            case Emit():
                pass
            case _:
                raise AssertionError(f"a tenant's plan has no {operation}")
        self.written.append(operation)

    def _create(self, operation: Create) -> None:
        ref, manifest = operation.ref, operation.manifest
        if ref not in self.objects:
            self._store(ref, copy.deepcopy(manifest))
        elif not operation.adopt:
            raise ConflictError(f"{ref} exists")
        elif (patch := merge_patch(self.objects[ref], manifest)) is not None:
            self._store(ref, _merged(self.objects[ref], patch))

    def _delete(self, ref: Ref) -> None:
        if ref.kind == "Namespace":
            self.change(ref, {"metadata": {"deletionTimestamp": "2026-12-01T08:00:00Z"}})
        else:
            del self.objects[ref]

    def finish_deletions(self) -> None:
        """Remove the namespaces that are being deleted, with all that is inside."""
        gone = {
            ref.name
            for ref, manifest in self.objects.items()
            if ref.kind == "Namespace" and "deletionTimestamp" in manifest["metadata"]
        }
        self.objects = {
            ref: manifest
            for ref, manifest in self.objects.items()
            if ref.namespace not in gone and not (ref.kind == "Namespace" and ref.name in gone)
        }

    def _store(self, ref: Ref, manifest: Manifest) -> None:
        metadata = manifest["metadata"]
        before = self.objects.get(ref, {"metadata": {}})["metadata"]
        version = str(next(self._versions))
        metadata["uid"] = before.get("uid", f"uid-{version}")
        metadata["resourceVersion"] = version
        for key in ("labels", "annotations", "ownerReferences"):
            if not metadata.get(key, True):
                del metadata[key]
        self.objects[ref] = manifest


def writes(operations: Iterable[Operation]) -> list[Ref]:
    """Name the objects that operations write, statuses and events left out."""
    return [one.ref for one in operations if not isinstance(one, Emit) and getattr(one, "subresource", "") != "status"]


def events(operations: Iterable[Operation]) -> dict[str, str]:
    """Give the notes of events by reason."""
    return {one.reason: one.note for one in operations if isinstance(one, Emit)}


def status_writes(operations: Iterable[Operation]) -> int:
    """Count the writes of statuses."""
    return sum(isinstance(one, Update) and one.subresource == "status" for one in operations)


def namespace_ref(name: str) -> Ref:
    return Ref("v1", "Namespace", "", name)


def quota_ref(namespace: str, name: str) -> Ref:
    return Ref("v1", "ResourceQuota", namespace, name)


def policy_ref(namespace: str, name: str) -> Ref:
    return Ref("networking.k8s.io/v1", "NetworkPolicy", namespace, name)


def separation_ref(tenant: str) -> Ref:
    return Ref("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", "", f"gpu-tenancy-{tenant}")


def binding_ref(namespace: str, name: str) -> Ref:
    return Ref("rbac.authorization.k8s.io/v1", "RoleBinding", namespace, name)


def foreign_namespace(name: str, **labels: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _merged(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result
