"""What holds for every tenant, whatever is declared, observed, interrupted or tampered with."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu_tenancy.api.tenant import GrantStatus
from gpu_tenancy.domain.grants import shares, unassigned
from gpu_tenancy.domain.naming import TENANT_LABEL, Tier, priority_class, quota_of
from gpu_tenancy.domain.peering import Agreement, Port, Side
from gpu_tenancy.reconcile.plan import Create, Delete, Emit, Plan, Update
from gpu_tenancy.reconcile.tenants import plan_tenant
from gpu_tenancy.reconcile.views import Platform
from gpu_tenancy.render.cluster_network_policy import KIND as SEPARATION
from gpu_tenancy.render.cluster_network_policy import peers_of
from gpu_tenancy.render.network_policy import is_peering
from tenant_world import NOW, POOLS, Cluster, foreign_namespace, namespace_ref, pool, quota_ref, separation_ref, spec

if TYPE_CHECKING:
    from gpu_tenancy.api.tenant import IndustrialTenantSpec
    from gpu_tenancy.reconcile.plan import Operation, Ref

NAMES = ("train", "serve", "batch", "rival")
AMOUNTS = st.integers(0, 64)
CLASSES = list(itertools.product(NAMES, POOLS, (Tier.GUARANTEED, Tier.RESERVED)))
DECISIONS = st.lists(st.sampled_from([None, 0, 4, 8]), min_size=len(CLASSES), max_size=len(CLASSES))
PLATFORMS = st.sampled_from([Platform(), Platform(separation_priority=100)])
thoroughly = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def grants(draw: st.DrawFn, names: list[str]) -> dict[str, Any]:
    split = [
        {"name": name, "guaranteed": draw(st.integers(0, 8)), **draw(st.sampled_from([{}, {"spot": 4}]))}
        for name in draw(st.lists(st.sampled_from(names), unique=True, max_size=3) if names else st.just([]))
    ]
    return {
        "guaranteed": sum(one["guaranteed"] for one in split) + draw(AMOUNTS),
        "spot": 4 * len(split) + draw(AMOUNTS),
        "reservable": draw(AMOUNTS),
        "namespaces": split,
    }


@st.composite
def specs(draw: st.DrawFn) -> IndustrialTenantSpec:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3))
    pools = draw(st.lists(st.sampled_from([*POOLS, *POOLS, *POOLS, "unknown"]), unique=True, max_size=3))
    selector = {"matchLabels": {"team": "platform"}}
    return spec(
        owners=[
            {
                "kind": "User",
                "name": name,
                "role": draw(st.sampled_from(["Owner", "Editor", "Viewer", "ReservationUser"])),
            }
            for name in draw(st.lists(st.sampled_from(["eva", "ben", "ida"]), unique=True))
        ],
        residency=draw(
            st.sampled_from(
                [
                    None,
                    {"jurisdictions": ["EU"]},
                    {"regions": ["eu-de"]},
                    {"jurisdictions": ["EU"], "regions": ["eu-ch2"]},
                ]
            )
        ),
        namespaces=[{"name": name, "defaultPool": draw(st.sampled_from([None, *pools]))} for name in names],
        gpus=[{"pool": name, **draw(grants(names))} for name in pools],
        quota=draw(st.dictionaries(st.sampled_from(["pods", "requests.cpu", "count/jobs.batch"]), st.just("7"))),
        network={
            "internetEgress": draw(st.sampled_from(["Allowed", "Denied"])),
            "peering": draw(st.sampled_from(["Allowed", "Denied"])),
            "allowFromNamespaces": draw(st.sampled_from([[], [selector]])),
        },
        suspended=draw(st.booleans()),
        suspension={"pods": draw(st.sampled_from(["Keep", "Drain"]))},
        deletionPolicy=draw(st.sampled_from(["Retain", "Delete"])),
    )


def decide(draw: st.DrawFn, cluster: Cluster) -> None:
    """Let the pools decide anew: hand out something to some classes, or not decide at all."""
    for key, amount in zip(CLASSES, draw(DECISIONS), strict=True):
        if amount is None:
            cluster.allotments.pop(key, None)
        else:
            cluster.allotments[key] = amount


def agree(draw: st.DrawFn, cluster: Cluster) -> None:
    """Let tenants agree anew on who reaches whom."""
    ports = st.frozensets(st.sampled_from([Port("TCP", 443), Port("UDP", 53)]))
    peers = st.lists(st.sampled_from(["lab", "site", "l" * 63]), unique=True)
    cluster.peerings = {
        name: [
            Agreement(peer, peer, Side("neura", name), Side("rival", peer), draw(ports), new=draw(st.booleans()))
            for peer in draw(peers)
        ]
        for name in NAMES
    }


def open_to_peers(cluster: Cluster) -> set[tuple[str, str, bool]]:
    """Say which namespaces are open to which others, and whether on all ports."""
    return {
        (ref.namespace, peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], "ports" not in rule)
        for ref, one in cluster.objects.items()
        if is_peering(ref.name) and "deletionTimestamp" not in cluster.objects[namespace_ref(ref.namespace)]["metadata"]
        for rule in one["spec"]["ingress"]
        for peer in rule["from"]
    }


def left_to_policies(cluster: Cluster) -> set[str]:
    """Say which namespaces of others the ClusterNetworkPolicy leaves out, if there is one."""
    policy = cluster.objects.get(separation_ref("neura"))
    return set() if policy is None else set(peers_of(policy))


def agreed_on(cluster: Cluster) -> set[tuple[str, str, bool]]:
    return {(name, one.peer.namespace, not one.ports) for name, all_ in cluster.peerings.items() for one in all_}


def tamper(draw: st.DrawFn, cluster: Cluster, refs: list[Ref]) -> None:
    """Do to some objects what anybody with enough rights may do."""
    for ref in draw(st.lists(st.sampled_from(refs), unique=True, max_size=8)) if refs else []:
        if ref.kind == "Namespace":
            labels = cluster.objects[ref]["metadata"]["labels"]
            ours = sorted(key for key in labels if key.startswith(("gpu-tenancy.dev/", "pod-security")))
            patch = {"metadata": {"labels": {draw(st.sampled_from(ours)): draw(st.sampled_from([None, "changed"]))}}}
            cluster.change(ref, patch)
        elif draw(st.booleans()):
            del cluster.objects[ref]
        else:
            cluster.change(ref, draw(st.sampled_from(TAMPERING[ref.kind])))


TAMPERING: dict[str, list[dict[str, Any]]] = {
    "ResourceQuota": [
        {"spec": {"hard": {"requests.nvidia.com/gpu": "1000"}}},
        {"spec": {"hard": None}},
        {"spec": {"scopeSelector": None}},
        {"spec": {"scopes": ["BestEffort"]}},
    ],
    "LimitRange": [{"spec": {"limits": []}}],
    "NetworkPolicy": [
        {"spec": {"ingress": [{}], "policyTypes": ["Ingress"]}},
        {"spec": {"podSelector": {"matchLabels": {"a": "b"}}}},
    ],
    "RoleBinding": [{"subjects": [{"kind": "User", "name": "mallory"}]}, {"roleRef": {"name": "cluster-admin"}}],
    SEPARATION: [
        {"spec": {"egress": None}},
        {"spec": {"priority": 1000}},
        {"spec": {"ingress": [{"action": "Accept"}]}},
    ],
}


def managed(cluster: Cluster) -> list[Ref]:
    """Name all objects that belong to tenants, in a stable order."""
    return sorted(
        ref
        for ref, one in cluster.objects.items()
        if ref.namespace or ref.kind == SEPARATION or TENANT_LABEL in one["metadata"].get("labels", {})
    )


def stable(cluster: Cluster) -> dict[Ref, Any]:
    """Give what objects say, without what the API server adds."""
    return {
        ref: {
            **{key: value for key, value in one.items() if key not in {"metadata", "status"}},
            **{key: one["metadata"].get(key) for key in ("labels", "annotations", "ownerReferences")},
        }
        for ref, one in cluster.objects.items()
    }


def covered(cluster: Cluster, namespace: str, *, strictly: bool) -> bool:
    """Say whether every class is limited by the closing quota or its own; strictly: by one that was ever counted."""
    for pool_name in cluster.pools:
        for tier in Tier:
            name = priority_class(pool_name, tier)
            own = cluster.objects.get(quota_ref(namespace, name))
            limited = own is not None and (not strictly or "status" in own)
            if name in cluster.open_classes(namespace) and not limited:
                return False
    return True


def safe(cluster: Cluster) -> bool:
    """Say whether no namespace has a gap: access only where quotas are and others are kept out, no class without a limit."""
    for ref in cluster.objects:
        if ref.kind == "RoleBinding":
            if cluster.platform.separation_priority is not None and separation_ref("neura") not in cluster.objects:
                return False
            kept = [quota_ref(ref.namespace, name) in cluster.objects for name in ("gpu-other", "gpu-tenancy-base")]
            if not all(kept) or not covered(cluster, ref.namespace, strictly=True):
                return False
    closed = [ref.namespace for ref in cluster.objects if ref.name == "gpu-other"]
    return all(covered(cluster, namespace, strictly=False) for namespace in closed)


@thoroughly
@given(st.data())
def test_a_tenant_settles_in_a_few_passes_and_then_nothing_is_written(data):
    cluster = Cluster(platform=data.draw(PLATFORMS))
    for _ in range(data.draw(st.integers(1, 3))):
        decide(data.draw, cluster)
        cluster.declare("neura", data.draw(specs()))
        cluster.settle("neura")
        assert cluster.plan("neura") == Plan()
        ready = {one.type: one.status for one in cluster.status("neura").conditions}
        assert ready["Ready"] == "True" or ready.keys() & {"Stalled", "Reconciling"}


@thoroughly
@given(st.data())
def test_no_plan_leaves_a_gap_wherever_it_stops(data):
    cluster = Cluster(counting=data.draw(st.booleans()), platform=data.draw(PLATFORMS))
    for _ in range(3):
        decide(data.draw, cluster)
        if data.draw(st.booleans()):
            cluster.pools["b200"] = pool(spot=data.draw(st.sampled_from(["Enabled", "Disabled"])))
        cluster.declare("neura", data.draw(specs()))
        for _ in range(6):
            stages = cluster.plan("neura").stages
            for stage in stages:
                for operation in data.draw(st.permutations(stage)):
                    cluster.do(operation)
                    assert safe(cluster), operation
                if data.draw(st.booleans()):
                    cluster.count()
            cluster.counting = True
            cluster.count()


@thoroughly
@given(st.data())
def test_a_plan_that_stops_anywhere_is_made_good_by_the_next(data):
    contract = data.draw(specs())
    platform = data.draw(PLATFORMS)
    straight, halting = Cluster(platform=platform), Cluster(platform=platform)
    for cluster in (straight, halting):
        cluster.declare("neura", contract)
    straight.settle("neura")
    for _ in range(3):
        operations = halting.plan("neura").operations
        for operation in operations[: data.draw(st.integers(0, len(operations)))]:
            halting.do(operation)
        halting.count()
    halting.settle("neura")
    assert stable(halting) == stable(straight)


@thoroughly
@given(st.data())
def test_whatever_is_tampered_with_is_put_right(data):
    cluster = Cluster(platform=data.draw(PLATFORMS))
    decide(data.draw, cluster)
    contract = data.draw(specs())
    cluster.declare("neura", contract)
    cluster.settle("neura")
    decide(data.draw, cluster)
    # The pools have decided on everything, so that nothing is as it was only because nobody said otherwise.
    for key in CLASSES:
        cluster.allotments.setdefault(key, 0)
    cluster.settle("neura")
    before = stable(cluster)
    tamper(data.draw, cluster, managed(cluster))
    cluster.settle("neura")
    if not any(one.type == "Stalled" for one in cluster.status("neura").conditions):
        assert stable(cluster) == before


@thoroughly
@given(st.data())
def test_another_tenants_namespaces_and_strangers_are_never_touched(data):
    cluster = Cluster(platform=data.draw(PLATFORMS))
    cluster.declare("rival", data.draw(specs()))
    cluster.settle("rival")
    for name in data.draw(st.lists(st.sampled_from(NAMES), unique=True)):
        if namespace_ref(name) not in cluster.objects:
            cluster.put(foreign_namespace(name))
    before = copy.deepcopy(cluster.objects)
    for _ in range(2):
        cluster.declare("neura", data.draw(specs()))
        cluster.settle("neura")
    for ref, one in before.items():
        assert cluster.objects[ref] == one
    assert cluster.plan("rival") == Plan()


@thoroughly
@given(st.data())
def test_the_order_of_observation_changes_nothing(data):
    cluster = Cluster(platform=data.draw(PLATFORMS))
    decide(data.draw, cluster)
    cluster.declare("neura", data.draw(specs()))
    cluster.settle("neura")
    cluster.declare("neura", data.draw(specs()))
    tamper(data.draw, cluster, managed(cluster))
    view = cluster.view("neura")

    def shuffled(mapping: Any) -> dict[Any, Any]:
        return dict(data.draw(st.permutations(list(mapping.items()))))

    other = replace(
        view,
        children=shuffled(view.children),
        namespaces=shuffled(view.namespaces),
        pools=shuffled(view.pools),
        regions=shuffled(view.regions),
        allotments=shuffled(view.allotments),
    )
    assert plan_tenant(view, NOW) == plan_tenant(other, NOW)


@thoroughly
@given(st.data())
def test_a_tenant_that_goes_leaves_nobody_in_and_nothing_open(data):
    cluster = Cluster(platform=data.draw(PLATFORMS))
    decide(data.draw, cluster)
    contract = data.draw(specs())
    cluster.declare("neura", contract)
    cluster.settle("neura")
    cluster.forget("neura")
    written = cluster.settle("neura")
    assert not any(isinstance(one, Emit) or getattr(one, "subresource", "") for one in written)
    for ref, one in cluster.objects.items():
        if ref.kind != "Namespace" or "ownerReferences" in one["metadata"]:
            continue
        inside = [other for other in cluster.objects if other.namespace == ref.name]
        assert not any(other.kind == "RoleBinding" or quota_of(other.name) for other in inside)
        assert cluster.hard(ref.name, "gpu-tenancy-base")["pods"] == "0"


@thoroughly
@given(st.data())
def test_no_peering_outlives_its_agreement_whatever_the_spec(data):
    cluster = Cluster(platform=data.draw(PLATFORMS))
    for _ in range(3):
        decide(data.draw, cluster)
        agree(data.draw, cluster)
        cluster.declare("neura", data.draw(specs()))
        if stages := cluster.plan("neura").stages:
            for operation in data.draw(st.permutations(stages[0])):
                cluster.do(operation)
            assert open_to_peers(cluster) <= agreed_on(cluster), "closed first, even if all that follows fails"
            assert left_to_policies(cluster) <= {peer for _, peer, _ in agreed_on(cluster)}
        cluster.settle("neura")
        cluster.finish_deletions()
        cluster.settle("neura")
        stalled = any(one.type == "Stalled" for one in cluster.status("neura").conditions)
        kept = {one.name for one in cluster.tenants["neura"][0].namespaces}
        if not stalled:
            assert open_to_peers(cluster) == {one for one in agreed_on(cluster) if one[0] in kept}
    cluster.forget("neura")
    cluster.settle("neura")
    stay = {ref.name for ref, one in cluster.objects.items() if "ownerReferences" not in one["metadata"]}
    assert not {one for one in open_to_peers(cluster) if one[0] in stay}
    assert left_to_policies(cluster) == set()


@thoroughly
@given(st.data())
def test_gpus_are_raised_only_where_the_pool_says_so(data):
    cluster = Cluster(platform=data.draw(PLATFORMS))
    cluster.declare("neura", data.draw(specs()))
    for _ in range(2):
        decide(data.draw, cluster)
        written: list[Operation] = cluster.settle("neura")
        for one in written:
            named = quota_of(one.ref.name) if isinstance(one, Create | Update | Delete) else None
            if named is None or named[1] is Tier.SPOT or isinstance(one, Delete):
                continue
            body = one.manifest if isinstance(one, Create) else one.patch
            resource = cluster.pools[named[0]].resourceName
            for key, amount in body["spec"].get("hard", {}).items():
                allotted = cluster.allotments.get((one.ref.namespace, *named), 0) if key.endswith(resource) else 0
                assert int(amount or 0) <= allotted


@thoroughly
@given(st.data())
def test_a_grant_is_handed_out_completely_or_said_to_be_left(data):
    contract = data.draw(specs())
    for grant in contract.gpus:
        split, rest = shares(grant, contract.namespaces), unassigned(grant, contract.namespaces)
        assert list(split) == [one.name for one in contract.namespaces]
        shared = max((share.shared for share in split.values()), default=0)
        assert sum(share.guaranteed for share in split.values()) + shared + rest.guaranteed == grant.guaranteed
        assert sum(share.spot for share in split.values()) + rest.spot == grant.spot
        assert min([*rest, *(amount for share in split.values() for amount in share)]) >= 0
        assert {share.shared for share in split.values()} <= {shared}


@thoroughly
@given(st.data())
def test_what_the_pools_report_never_breaks_the_status(data):
    cluster = Cluster(platform=data.draw(PLATFORMS))
    cluster.declare("neura", data.draw(specs()))
    for name in list(cluster.grants["neura"]):
        asked = cluster.grants["neura"][name].guaranteed
        granted = data.draw(st.integers(0, asked))
        cluster.grants["neura"][name] = GrantStatus(pool=name, guaranteed=asked, granted=granted, backed=granted)
        if data.draw(st.booleans()):
            del cluster.grants["neura"][name]
    cluster.settle("neura")
    short = any(one.granted < one.guaranteed for one in cluster.grants["neura"].values())
    conditions = {one.type for one in cluster.status("neura").conditions}
    assert "Stalled" in conditions or ("GuaranteeShort" in conditions) is short
