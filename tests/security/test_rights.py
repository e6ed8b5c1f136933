"""What the roles of tenants come to, and that the operator's role is what the operator uses: no less and no more."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from cluster.operating import NAMESPACE as SYSTEM_NAMESPACE
from cluster.operating import eventually
from cluster.policy_scenarios import LIMITS, MANAGED, QUOTA, SELECT_ALL, VIEWERS, create, new, pod, relabel
from cluster.rest import delete, get, patch
from gpu_tenancy.domain.naming import NODE_REGION_LABEL, OPERATOR, RESERVATION_LABEL
from gpu_tenancy.kube.resource import (
    JOB,
    LEASE,
    LIMIT_RANGE,
    NAMESPACE,
    NETWORK_POLICY,
    NODE,
    POD,
    PRIORITY_CLASS,
    RESOURCE_QUOTA,
    ROLE_BINDING,
    Resource,
)
from places import ROOT
from security import roles
from security.world import (
    CLUSTER_ROLE,
    MALLORY,
    OWN,
    PEERING,
    RESERVATION,
    RIVALS,
    TENANT,
    complete,
    peering,
    pool,
    reservation,
    tenant,
)

if TYPE_CHECKING:
    from security.roles import Right
    from security.world import World

POOL = Resource("gpu-tenancy.dev", "v1alpha1", "gpupools", "GpuPool", namespaced=False)
BUDGET = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
ROLE = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
UNSEEN = {
    ("rbac.authorization.k8s.io", "clusterroles", "bind"),  # seen is the role binding that names the role
    ("events.k8s.io", "events", "patch"),  # tells after a minute how often something was repeated
}


# Tenants


def test_each_role_may_do_exactly_what_is_written_down(world: World) -> None:
    if problem := roles.changed(world.api, ROOT / "build"):
        pytest.fail(problem)


@pytest.mark.parametrize("namespace", [RIVALS, SYSTEM_NAMESPACE, "kube-system", "default"])
def test_somebody_with_every_role_may_elsewhere_only_what_everybody_may(world: World, namespace: str) -> None:
    assert roles.may(world.api, MALLORY, namespace) == roles.may(world.api, roles.NOBODY, namespace)


# The operator


def operators_rules(world: World) -> list[dict[str, Any]]:
    role = world.api.must(get(CLUSTER_ROLE, "gpu-tenancy-operator"))
    lease = world.api.must(get(ROLE, "gpu-tenancy-lease", SYSTEM_NAMESPACE))
    return role["rules"] + lease["rules"]


def test_the_operators_role_has_no_wildcard_no_secrets_and_binds_only_named_roles(world: World) -> None:
    for rule in operators_rules(world):
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"], rule
        assert not {"secrets", "serviceaccounts/token", "pods/exec", "roles"} & set(rule["resources"]), rule
        assert not {"escalate", "impersonate"} & set(rule["verbs"]), rule
        if "bind" in rule["verbs"]:
            assert all(name.startswith("gpu-tenancy-") for name in rule["resourceNames"]), rule


def test_the_operator_may_read_whatever_it_may_change(world: World) -> None:
    # When a write fails it looks what became of the object. Statuses and evictions are read at their object.
    rights = roles.granted(operators_rules(world))
    changed = {(group, resource.partition("/")[0]) for group, resource, verb in rights if verb in {"patch", "delete"}}
    blind = {("events.k8s.io", "events")}
    assert changed - blind == {(group, resource) for group, resource in changed if (group, resource, "get") in rights}


def test_the_operators_role_is_what_the_operator_uses(world: World) -> None:
    exercise(world)
    granted = roles.granted(operators_rules(world))

    def unused() -> str:
        # Who may list may as well get.
        seen = roles.seen(world.control_plane.audit_log)
        return _spelled(granted - UNSEEN - seen - {(group, one, "get") for group, one, verb in seen if verb == "list"})

    eventually(lambda: not unused(), lambda: f"it may what it does not ask for: {unused()}", every=2)
    missing = _spelled(roles.seen(world.control_plane.audit_log) - granted)
    assert not missing, f"it asks for what it may not: {missing}"


def _spelled(rights: set[Right]) -> str:
    return ", ".join(sorted(f"{verb} {resource}{group and '.'}{group}" for group, resource, verb in rights))


def exercise(world: World) -> None:
    """Have the operator do everything once that it did not do for the world itself."""
    remove_strays(world)
    repair(world)
    come_back_to_a_mess(world)
    judge_a_peering(world)
    let_a_tenant_and_a_pool_go(world)
    end_a_window(world)


STRAYS = ((RESOURCE_QUOTA, QUOTA), (LIMIT_RANGE, LIMITS), (NETWORK_POLICY, SELECT_ALL), (ROLE_BINDING, VIEWERS))


def remove_strays(world: World) -> None:
    for resource, body in STRAYS:
        world.api.must(create(resource, new("stray", **MANAGED) | body, OWN))
    for resource, _ in STRAYS:
        eventually(lambda resource=resource: world.api.send(get(resource, "stray", OWN)).status == 404)


def repair(world: World) -> None:
    """Change something in one object of each kind, and wait until it is as before."""
    binding = world.api.must(get(ROLE_BINDING, "", OWN))["items"]
    name = next(
        one["metadata"]["name"]
        for one in binding
        if one["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") == OPERATOR
    )
    node = world.api.must(get(NODE, ""))["items"][0]["metadata"]["name"]
    changes = (
        (RESOURCE_QUOTA, "gpu-tenancy-base", OWN, {"spec": {"hard": {"pods": "7"}}}),
        (LIMIT_RANGE, "gpu-tenancy-defaults", OWN, LIMITS),
        (NETWORK_POLICY, "gpu-tenancy-default-deny", OWN, {"spec": {"egress": [{}]}}),
        (ROLE_BINDING, name, OWN, {"subjects": VIEWERS["subjects"]}),
        (NAMESPACE, OWN, "", relabel(**{"pod-security.kubernetes.io/enforce": "privileged"})),
        (NODE, node, "", relabel(**{NODE_REGION_LABEL: "elsewhere"})),
        (PRIORITY_CLASS, "gpu-b200-spot", "", relabel(**{"app.kubernetes.io/managed-by": "somebody"})),
    )
    for resource, name, namespace, change in changes:
        before = _essence(world.api.must(get(resource, name, namespace)))
        world.api.must(patch(resource, name, change, namespace))
        look = get(resource, name, namespace)
        eventually(
            lambda look=look, before=before: _essence(world.api.must(look)) == before,
            lambda look=look: str(world.api.must(look)),
        )


def _essence(manifest: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: manifest["metadata"].get(key) for key in ("labels", "annotations")}
    fields = {key: value for key, value in manifest.items() if key not in {"metadata", "status"}}
    return fields | {"metadata": metadata}


def come_back_to_a_mess(world: World) -> None:
    """Find no Lease, and a priority class that somebody made anew otherwise."""
    world.operator.stop()
    world.api.must(delete(LEASE, OPERATOR, SYSTEM_NAMESPACE))
    world.api.must(delete(PRIORITY_CLASS, "gpu-mig-spot"))
    world.api.must(create(PRIORITY_CLASS, new("gpu-mig-spot", **MANAGED) | {"value": 5}))
    world.operator.start()
    eventually(lambda: world.api.send(get(PRIORITY_CLASS, "gpu-mig-spot")).body.get("value") == -10)


def judge_a_peering(world: World) -> None:
    world.api.must(create(PEERING, peering("lonely", "rival", RIVALS), OWN), MALLORY)
    world.cluster.until("tenantpeerings", "lonely", "Ready", "False", OWN)
    world.api.must(delete(PEERING, "lonely", OWN), MALLORY)


def let_a_tenant_and_a_pool_go(world: World) -> None:
    world.cluster.apply(
        pool("passing", "NVIDIA-B200", 8, mig="none-is-cut-like-this"),
        tenant("passing", namespaces=[{"name": "passing-a"}, {"name": "passing-b"}]),
    )
    world.cluster.until("itn", "passing", "Ready", "True")
    eventually(lambda: world.api.send(get(PRIORITY_CLASS, "gpu-passing-spot")).accepted)
    world.api.must(patch(TENANT, "passing", {"spec": {"namespaces": [{"name": "passing-a"}]}}))
    eventually(lambda: world.api.send(get(NAMESPACE, "passing-b")).status == 404)
    world.api.must(delete(TENANT, "passing"))
    world.api.must(delete(POOL, "passing"))
    eventually(lambda: world.api.send(get(PRIORITY_CLASS, "gpu-passing-spot")).status == 404)


def end_a_window(world: World) -> None:
    """Let a window pass with a Job and a pod in it that may not be evicted."""
    labels = {RESERVATION_LABEL: "short", "gpu-tenancy.dev/pool": "rtx-pro", "app": "stays"}
    holder = complete(pod(labels, limits={"nvidia.com/gpu": 1}).body, OWN, fill=not world.mutation)
    holder["metadata"]["name"] = "stays"
    job = {
        "metadata": {"name": "goes"},
        "spec": {
            "suspend": True,
            "template": {
                "metadata": {"labels": labels | {"app": "goes"}},
                "spec": {**holder["spec"], "restartPolicy": "Never"},
            },
        },
    }
    budget = {"metadata": {"name": "stays"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "stays"}}}}
    world.api.must(create(BUDGET, budget, OWN), MALLORY)
    world.api.must(create(JOB, job, OWN), MALLORY)
    body = reservation("short", 2, datetime.now(UTC))
    body["spec"] |= {"pool": "rtx-pro", "window": body["spec"]["window"] | {"duration": "20s"}}
    world.api.must(create(RESERVATION, body, OWN), MALLORY)
    eventually(lambda: world.send(create(POD, holder, OWN), MALLORY, dry_run=False).accepted)
    eventually(lambda: world.api.must(get(JOB, "goes", OWN))["spec"]["suspend"] is False)
    eventually(lambda: world.api.send(get(POD, "stays", OWN)).status == 404)
    eventually(lambda: world.api.must(get(JOB, "goes", OWN))["spec"]["suspend"] is True)
    for resource, name in ((RESERVATION, "short"), (JOB, "goes"), (BUDGET, "stays")):
        world.api.must(delete(resource, name, OWN), MALLORY)
