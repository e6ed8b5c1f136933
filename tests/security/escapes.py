"""The ways out of a tenant that are known from other multi-tenant platforms, E01 to E34, as far as an API server decides."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from cluster.policy_scenarios import (
    BALANCED,
    BINDING,
    CARL,
    EDDA,
    IMAGE,
    OLGA,
    PETRA,
    RBAC,
    SCENARIOS,
    SCHEDULER,
    VIEWERS,
    binds,
    claim,
    create,
    debug,
    exactly,
    gpu_pod,
    ingress,
    new,
    on_namespace,
    on_pod,
    pod,
    relabel,
    service,
)
from cluster.rest import delete, get, patch
from gpu_tenancy.domain.naming import ADOPT_LABEL, POOL_LABEL, RESERVATION_LABEL, TENANT_LABEL, TIER_LABEL
from gpu_tenancy.kube.resource import (
    EVENT,
    JOB,
    LIMIT_RANGE,
    NETWORK_POLICY,
    POD,
    RESOURCE_QUOTA,
    ROLE_BINDING,
    Resource,
)
from gpu_tenancy.render.base_quota import OWN_KINDS
from security.attempts import (
    DEPLOYMENT,
    MAY_RUN_PODS,
    STATEFUL_SET,
    VERBS,
    WRITE,
    addresses,
    after_an_addon_widened,
    all_deleted,
    connects,
    every,
    from_template,
    landed,
    may,
    pods_of,
    unlimited,
    waits_with_tenants,
)
from security.benchmark import BASE, PSA, container
from security.check import Attempt, Check, by
from security.walls import Flow, NetworkPolicies, Policy, Quota, Rbac, Schema
from security.world import (
    CLUSTER_ROLE,
    DORA,
    FROZEN,
    LEFT,
    MALLORY,
    OPERATOR_USER,
    OWN,
    OWN_ACCOUNT,
    PEERING,
    RESERVATION,
    RITA,
    RIVALS,
    RIVALS_ACCOUNT,
    SECOND,
    TENANT,
    TWICE,
    peering,
    reservation,
    tenant,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cluster.rest import Call
    from security.check import Wall

PODS = by(MALLORY, pod())
TENANTS, RESERVATIONS = Schema("industrialtenants"), Schema("gpureservations")
CLOSED = NetworkPolicies((OWN, RIVALS))

SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
GOOD_RESERVATION = create(RESERVATION, reservation("night", 1, SOON), OWN)
GOOD_TENANT = create(TENANT, tenant("another", namespaces=[{"name": "another-a"}]))


def not_by_role(user: str, *calls: Call, control: Attempt = MAY_RUN_PODS) -> tuple[tuple[Wall, ...], Attempt, Attempt]:
    return (Rbac(user),), by(user, *calls), control


def reserve(**spec: Any) -> Call:
    """Reserve with something in the spec that is otherwise than it should be."""
    body = reservation("night", 1, SOON)
    return create(RESERVATION, body | {"spec": body["spec"] | spec}, OWN)


def window(**fields: str) -> Call:
    return reserve(window=fields)


def rent(name: str = "another", **spec: Any) -> Call:
    return create(TENANT, tenant(name, **({"namespaces": [{"name": "another-a"}]} | spec)))


def schema_check(number: str, says: str, attack: Attempt, because: str, schema: Schema = RESERVATIONS) -> Check:
    good = GOOD_RESERVATION if schema == RESERVATIONS else GOOD_TENANT
    return Check(number, says, (schema,), attack, by(MALLORY if schema == RESERVATIONS else PETRA, good), because)


def pod_security(says: str, attack: Attempt, because: str, control: Attempt = PODS, *others: Wall) -> Check:
    return Check("E01", says, (PSA, *others), attack, control, because)


def quota_check(number: str, says: str, quota: Quota, attack: Call, control: Call) -> Check:
    return Check(number, says, (quota,), by(MALLORY, attack), by(MALLORY, control))


HOST_PATH = pod(volumes=[{"name": "host", "hostPath": {"path": "/"}}])
DEBUG_PRIVILEGED = {"spec": {"ephemeralContainers": [{"name": "debug", "image": IMAGE, "securityContext": {"privileged": True, "allowPrivilegeEscalation": True}}]}}  # fmt: skip

E01 = [
    pod_security("runs privileged in an init container", by(MALLORY, pod(initContainers=container(name="init", securityContext={"privileged": True, "allowPrivilegeEscalation": True}))), "privileged", PODS, Policy("pods")),
    pod_security("runs privileged in an ephemeral container", by(MALLORY, on_pod(DEBUG_PRIVILEGED, "ephemeralcontainers")), "privileged", by(MALLORY, on_pod(debug([]), "ephemeralcontainers")), Policy("pod-updates")),
    pod_security("has a Job mount a path of the node", from_template(JOB, MALLORY, HOST_PATH), "hostPath", from_template(JOB, MALLORY, pod()), Policy("pods")),
    pod_security("has a Deployment mount a path of the node", from_template(DEPLOYMENT, MALLORY, HOST_PATH), "hostPath", from_template(DEPLOYMENT, MALLORY, pod()), Policy("pods")),
    pod_security("has a StatefulSet mount a path of the node", from_template(STATEFUL_SET, MALLORY, HOST_PATH), "hostPath", from_template(STATEFUL_SET, MALLORY, pod()), Policy("pods")),
    pod_security("mounts a share with the node's rights", by(MALLORY, pod(volumes=[{"name": "share", "nfs": {"server": "192.0.2.1", "path": "/"}}])), "nfs", PODS, Policy("pods")),
    pod_security("sets a kernel parameter of the node", by(MALLORY, pod(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]})), "sysctls"),
    pod_security("sees all of /proc", by(MALLORY, pod(hostUsers=False, containers=container(securityContext={"procMount": "Unmasked"}))), "procMount", by(MALLORY, pod(hostUsers=False))),
    pod_security("runs without seccomp", by(MALLORY, pod(containers=container(securityContext={"seccompProfile": {"type": "Unconfined"}}))), "seccomp"),
    pod_security("runs without AppArmor", by(MALLORY, pod(containers=container(securityContext={"appArmorProfile": {"type": "Unconfined"}}))), "AppArmor"),
    pod_security("takes an SELinux role", by(MALLORY, pod(containers=container(securityContext={"seLinuxOptions": {"role": "sysadm_r"}}))), "seLinuxOptions"),
    pod_security("opens raw sockets", by(MALLORY, pod(containers=container(securityContext={"capabilities": {"drop": []}}))), "unrestricted capabilities"),
]  # fmt: skip

E02 = [
    Check("E02", "relabels the namespace", *not_by_role(MALLORY, on_namespace(relabel(**{"pod-security.kubernetes.io/enforce": "privileged"})), on_namespace(relabel(**{TENANT_LABEL: "rival"})))),
    Check("E02", "relabels the namespace through its status", *not_by_role(MALLORY, on_namespace(relabel(**{TENANT_LABEL: "rival"}), subresource="status"))),
]  # fmt: skip

E03 = [
    schema_check("E03", "has a tenant list kube-system, default or a namespace of OpenShift", every(*(by(PETRA, rent(namespaces=[{"name": name}])) for name in ("kube-system", "default", "openshift-ingress"))), "belong to the platform", TENANTS),
    Check("E03", "offers a namespace for adoption", *not_by_role(MALLORY, on_namespace(relabel(**{ADOPT_LABEL: "acme"}), "default"))),
]  # fmt: skip

CLUSTER_ROLE_OBJECT = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": "planted"}}

E04_E05 = [
    schema_check("E04", "hides a manifest in a reservation", landed(MALLORY, reserve(manifests=[CLUSTER_ROLE_OBJECT]), "spec", "manifests"), "", RESERVATIONS),
    schema_check("E04", "hides a manifest in a tenant", landed(PETRA, rent(manifests=[CLUSTER_ROLE_OBJECT]), "spec", "manifests"), "", TENANTS),
    Check("E04", "has the operator write what it never writes", *not_by_role(OPERATOR_USER, create(CLUSTER_ROLE, new("planted")), get(Resource("", "v1", "secrets", "Secret"), "token", OWN), create(POD, pod().body, OWN), control=by(OPERATOR_USER, get(RESOURCE_QUOTA, "", OWN)))),
    schema_check("E05", "refers to another namespace in a reservation", landed(MALLORY, reserve(namespace=RIVALS, tenant="rival"), "spec", "namespace"), "", RESERVATIONS),
    Check("E05", "reserves in the name of another tenant", *not_by_role(MALLORY, create(RESERVATION, reservation("night", 1, SOON), RIVALS), control=by(MALLORY, GOOD_RESERVATION))),
    quota_check("E05", "runs under a reservation of another namespace, by its name", Quota(SECOND, "gpu-b200-reserved"), gpu_pod({RESERVATION_LABEL: "nightly", POOL_LABEL: "b200"}, namespace=SECOND), gpu_pod({POOL_LABEL: "b200"}, namespace=SECOND)),
]  # fmt: skip

E06 = [
    Check("E06", "is the service account of the same name of another tenant", *not_by_role(RIVALS_ACCOUNT, pod(), get(Resource("", "v1", "secrets", "Secret"), "token", OWN), delete(RESERVATION, "nightly", OWN), control=by(OWN_ACCOUNT, pod(), delete(RESERVATION, "nightly", OWN)))),
    schema_check("E06", "names a service account without its namespace", by(PETRA, rent(owners=[{"kind": "ServiceAccount", "name": "ci"}])), "named with its namespace", TENANTS),
    schema_check("E06", "names a service account as a user", by(PETRA, rent(owners=[{"kind": "User", "name": RIVALS_ACCOUNT}])), "system:", TENANTS),
]  # fmt: skip

WILDCARD = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
ROLE = Resource(RBAC, "v1", "roles", "Role")
TO_VIEWERS = by(MALLORY, create(ROLE_BINDING, new("own") | VIEWERS, OWN))

E07 = [
    Check("E07", "writes a role with every right", *not_by_role(MALLORY, create(ROLE, new("own") | {"rules": WILDCARD}, OWN), create(CLUSTER_ROLE, new("own") | {"rules": WILDCARD}), control=by(MALLORY, create(ROLE, new("own") | {"rules": []}, OWN)))),
    *(Check("E07", f"binds the built-in role {role}", *not_by_role(MALLORY, create(ROLE_BINDING, new("own") | binds(MALLORY, role), OWN), control=TO_VIEWERS)) for role in ("cluster-admin", "admin", "edit", "view")),
    Check("E07", "binds the operator's role", *not_by_role(MALLORY, create(ROLE_BINDING, new("own") | binds(MALLORY, "gpu-tenancy-operator"), OWN), control=TO_VIEWERS)),
    Check("E07", "keeps access to a namespace that left its tenant, by a role that its owner handed out", (Rbac(DORA),), every(*(may(DORA, verb, "", kind, LEFT) for verb in ("get", "create") for kind in ("pods", "secrets"))), may(DORA, "create", "", "pods", OWN)),
    Check("E07", "impersonates somebody", (Rbac(MALLORY),), every(*(may(MALLORY, "impersonate", "", kind) for kind in ("users", "groups", "serviceaccounts"))), MAY_RUN_PODS),
    Check("E07", "makes a token of a service account", (Rbac(MALLORY),), may(MALLORY, "create", "", "serviceaccounts/token", OWN), may(MALLORY, "create", "", "serviceaccounts", OWN)),
    Check("E07", "gains by an add-on that widens the built-in roles", (Rbac(MALLORY),), after_an_addon_widened(("admin", "edit", "view"), may(MALLORY, "create", "", "resourcequotas", OWN)), MAY_RUN_PODS),
    Check("E07", "has a certificate signed or approved", (Rbac(MALLORY),), every(may(MALLORY, "create", "certificates.k8s.io", "certificatesigningrequests"), may(MALLORY, "update", "certificates.k8s.io", "certificatesigningrequests/approval")), MAY_RUN_PODS),
]  # fmt: skip

E08 = [
    Check("E08", "deletes the operator's network policies", (Policy("managed-objects"),), all_deleted(MALLORY, OWN, NETWORK_POLICY), by(MALLORY, create(NETWORK_POLICY, new("own") | {"spec": {"podSelector": {}}}, OWN))),
    Check("E08", "deletes the operator's role bindings", (Policy("managed-objects"),), all_deleted(MALLORY, OWN, ROLE_BINDING), TO_VIEWERS),
    Check("E08", "deletes the operator's quotas and limits", (Rbac(MALLORY),), all_deleted(MALLORY, OWN, RESOURCE_QUOTA, LIMIT_RANGE), MAY_RUN_PODS),
    Check("E08", "raises a quota with rights of the platform", (Policy("managed-objects"),), by(CARL, patch(RESOURCE_QUOTA, "gpu-b200-guaranteed", {"spec": {"hard": {"requests.nvidia.com/gpu": "99"}}}, OWN), delete(RESOURCE_QUOTA, "gpu-other", OWN)), by(CARL, get(RESOURCE_QUOTA, "gpu-other", OWN))),
    Check("E08", "puts a role binding where the operator will want one", (Policy("managed-objects"),), by(MALLORY, create(ROLE_BINDING, new("gpu-tenancy-later") | VIEWERS, OWN)), TO_VIEWERS),
    Check("E08", "passes something off as the operator's", (Policy("managed-objects"),), by(MALLORY, create(ROLE_BINDING, new("own", **{"app.kubernetes.io/managed-by": "gpu-tenancy"}) | VIEWERS, OWN)), TO_VIEWERS),
]  # fmt: skip

TARGET = {"target": {"apiVersion": "v1", "kind": "Node", "name": "eu-de-cpu-0001"}}
BINDINGS = (
    create(BINDING, new("waiting") | TARGET, OWN),
    replace(create(POD, new("waiting") | TARGET | {"kind": "Binding"}, OWN), name="waiting", subresource="binding"),
)

E09 = [
    Check("E09", "binds a pod to a node", (Rbac(MALLORY),), every(may(MALLORY, "create", "", "bindings", OWN), may(MALLORY, "create", "", "pods/binding", OWN)), MAY_RUN_PODS),
    Check("E09", "binds a pod to a node past the scheduler, with rights of the platform", (Policy("bindings"),), by(PETRA, *BINDINGS), by(SCHEDULER, *BINDINGS)),
    Check("E10", "runs a DaemonSet", (Rbac(MALLORY),), every(*(may(MALLORY, verb, "apps", "daemonsets", OWN) for verb in WRITE)), may(MALLORY, "create", "apps", "deployments", OWN)),
]  # fmt: skip


def more_gpus(says: str, quota: str, number: int, labels: dict[str, str], resource: str = "nvidia.com/gpu") -> Check:
    """Ask for one more than there is in the namespace's quota; up to that many are accepted."""
    attack, control = (pod(labels, limits={resource: amount}) for amount in (number + 1, number))
    return quota_check("E12", says, Quota(OWN, quota), attack, control)


E12 = [
    more_gpus("takes more GPUs than guaranteed", "gpu-b200-guaranteed", 4, {}),
    more_gpus("takes more GPUs than the spot ceiling", "gpu-b200-spot", 8, {TIER_LABEL: "spot"}),
    more_gpus("takes more GPUs than its reservation", "gpu-b200-reserved", 7, {RESERVATION_LABEL: "nightly"}),
    more_gpus("takes more MIG slices than granted", "gpu-mig-guaranteed", 7, {POOL_LABEL: "mig"}, "nvidia.com/mig-1g.23gb"),
    quota_check("E12", "takes a MIG slice in the name of a pool of whole GPUs", Quota(OWN, "gpu-b200-guaranteed"), pod(limits={"nvidia.com/mig-1g.23gb": 1}), gpu_pod()),
    quota_check("E12", "takes GPUs of a pool that is not granted in this namespace", Quota(SECOND, "gpu-other"), gpu_pod({POOL_LABEL: "rtx-pro"}, namespace=SECOND), gpu_pod({POOL_LABEL: "b200"}, namespace=SECOND)),
    quota_check("E12", "takes reserved GPUs of a pool without a reservation", Quota(OWN, "gpu-rtx-pro-reserved"), gpu_pod({POOL_LABEL: "rtx-pro", RESERVATION_LABEL: "nightly"}), gpu_pod({POOL_LABEL: "rtx-pro"})),
    quota_check("E12", "claims more devices than granted", BASE, claim(exactly("nic", count=3)), claim(exactly("nic", count=2))),
]  # fmt: skip

E16_E18 = [
    Check("E16", "writes the status of services", (Rbac(MALLORY),), every(*(may(MALLORY, verb, "", "services/status", OWN) for verb in ("update", "patch"))), may(MALLORY, "update", "", "services", OWN)),
    Check("E17", "writes endpoints", (Rbac(MALLORY),), every(*(may(MALLORY, verb, group, kind, OWN) for verb in WRITE for group, kind in (("", "endpoints"), ("discovery.k8s.io", "endpointslices")))), may(MALLORY, "list", "discovery.k8s.io", "endpointslices", OWN)),
    Check("E18", "takes a load balancer", (Policy("services"), Quota(RIVALS, BASE.quota)), by(RITA, service(RIVALS, **BALANCED)), by(RITA, service(RIVALS)), "no load balancers"),
    *(Check("E18", f"serves a host that was granted twice, as {user}", (Policy("ingresses"),), by(user, ingress(TWICE, namespace=namespace)), by(MALLORY, ingress("app.acme.example")), f"does not serve {TWICE}") for user, namespace in ((MALLORY, OWN), (RITA, RIVALS))),
    Check("E18", "opens ways in for everybody", (Rbac(MALLORY),), every(*(may(MALLORY, verb, group, kind, OWN) for verb in WRITE for group, kind in (("networking.k8s.io", "ingressclasses"), ("gateway.networking.k8s.io", "gatewayclasses"), ("gateway.networking.k8s.io", "gateways"), ("gateway.networking.k8s.io", "referencegrants")))), may(MALLORY, "create", "", "services", OWN)),
]  # fmt: skip

OWN_PODS, RIVAL_PODS = pods_of(OWN), pods_of(RIVALS)
WITHIN = connects(OWN_PODS, pods_of(SECOND), *addresses("8.8.8.8"))
METADATA = addresses("169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::254", "fe80::a9fe:a9fe")

E19 = [
    Check("E19", "reaches the metadata service", (CLOSED,), connects(OWN_PODS, *METADATA, port=80), WITHIN),
    Check("E19", "reaches kubelets", (CLOSED,), connects(OWN_PODS, *addresses("10.128.0.1", "10.191.255.254", "fd12:3456::1"), port=10250), WITHIN),
    Check("E19", "reaches the API server and services by their address", (CLOSED,), connects(OWN_PODS, *addresses("10.96.0.1", "fd00:10:96::1")), WITHIN),
    Check("E19", "reaches pods of another tenant", (CLOSED,), connects(OWN_PODS, RIVAL_PODS), WITHIN),
    Check("E19", "is reached by pods of another tenant", (CLOSED,), connects(RIVAL_PODS, OWN_PODS), WITHIN),
    Check("E19", "reaches kubelets through the API server", (Rbac(MALLORY),), every(*(may(MALLORY, verb, "", "nodes/proxy") for verb in ("get", "create"))), MAY_RUN_PODS),
]  # fmt: skip

E21_E23 = [
    Check("E21", "writes volumes, snapshots' contents and storage classes", (Rbac(MALLORY),), every(*(may(MALLORY, verb, group, kind) for verb in WRITE for group, kind in (("", "persistentvolumes"), ("snapshot.storage.k8s.io", "volumesnapshotcontents"), ("storage.k8s.io", "storageclasses")))), may(MALLORY, "create", "", "persistentvolumeclaims", OWN)),
    Check("E23", "extends the API", (Rbac(MALLORY),), every(*(may(MALLORY, verb, group, kind) for verb in WRITE for group, kind in (("apiextensions.k8s.io", "customresourcedefinitions"), ("apiregistration.k8s.io", "apiservices"), ("admissionregistration.k8s.io", "validatingwebhookconfigurations"), ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"), ("admissionregistration.k8s.io", "validatingadmissionpolicies"), ("admissionregistration.k8s.io", "validatingadmissionpolicybindings")))), MAY_RUN_PODS),
]  # fmt: skip

FORGED = {"status": {"gpus": 99, "window": {"start": "2030-01-01T00:00:00Z", "end": "2031-01-01T00:00:00Z"}}}

E25_E27 = [
    Check("E25", "has the operator believe an Event", *not_by_role(OPERATOR_USER, get(EVENT, "", OWN), get(Resource("", "v1", "events", "Event"), "", OWN), control=by(OPERATOR_USER, get(POD, "", OWN)))),
    Check("E26", "writes the status of a reservation", *not_by_role(MALLORY, patch(RESERVATION, "nightly", FORGED, OWN, "status"), control=by(MALLORY, patch(RESERVATION, "nightly", relabel(team="x"), OWN)))),
    schema_check("E26", "creates a reservation with a status", landed(MALLORY, create(RESERVATION, reservation("night", 1, SOON) | FORGED, OWN), "status", "gpus"), ""),
    Check("E26", "writes the status of other things", (Rbac(MALLORY),), every(*(may(MALLORY, verb, group, f"{kind}/status", OWN) for verb in ("update", "patch") for group, kind in (("gpu-tenancy.dev", "tenantpeerings"), ("", "pods"), ("", "persistentvolumeclaims"), ("", "resourcequotas"), ("batch", "jobs"), ("apps", "deployments")))), MAY_RUN_PODS),
    Check("E27", "raises its own grant", *not_by_role(MALLORY, patch(TENANT, "acme", {"spec": {"gpus": [{"pool": "b200", "guaranteed": 999}]}}), create(TENANT, tenant("mine")))),
    schema_check("E27", "moves a reservation to another pool", by(MALLORY, patch(RESERVATION, "nightly", {"spec": {"pool": "rtx-pro"}}, OWN)), "create another reservation"),
    Check("E27", "writes pools and regions", (Rbac(MALLORY),), every(*(may(MALLORY, verb, "gpu-tenancy.dev", kind) for verb in WRITE for kind in ("gpupools", "regions", "industrialtenants"))), MAY_RUN_PODS),
]  # fmt: skip


def bad_names(*names: str) -> Attempt:
    return by(PETRA, *(rent(name) for name in names))


E28 = [
    schema_check("E28", "is a tenant whose name is no label's value", bad_names("a.b", "a" * 64), "at most 63 characters", TENANTS),
    schema_check("E28", "has a namespace whose name is none", by(PETRA, *(rent(namespaces=[{"name": name}]) for name in ("ünïcödé", "a" * 64, "a b", "A", "../kube-system", "\u0430-cyrillic"))), "spec.namespaces[0].name", TENANTS),
    schema_check("E28", "lists a namespace twice, with two pools", by(PETRA, rent(namespaces=[{"name": "another-a"}, {"name": "another-a", "defaultPool": "b200"}])), "Duplicate value", TENANTS),
    schema_check("E28", "has a reservation whose name is no label's value", by(MALLORY, create(RESERVATION, reservation("a" * 64, 1, SOON), OWN)), "at most 63 characters"),
    Check("E05", "agrees to a peering in the name of another tenant", *not_by_role(MALLORY, create(PEERING, peering("any", "acme", OWN), RIVALS), control=by(MALLORY, create(PEERING, peering("any", "rival", RIVALS), OWN)))),
    schema_check("E28", "hides control characters in the name of an owner", by(PETRA, rent(owners=[{"kind": "User", "name": "anna\n- kind: Group"}])), "spec.owners[0].name", TENANTS),
]  # fmt: skip

E29_E31 = [
    Check("E29", "floods the API server with objects", (BASE,), unlimited(MALLORY, OWN, BASE.quota, "count/jobs.batch", "count/cronjobs.batch", "count/deployments.apps", "count/replicasets.apps", "count/statefulsets.apps", "count/serviceaccounts", "count/networkpolicies.networking.k8s.io", "count/horizontalpodautoscalers.autoscaling", "count/poddisruptionbudgets.policy", "count/rolebindings.rbac.authorization.k8s.io"), PODS),
    Check("E29", "floods the API server with reservations and peerings", (BASE,), unlimited(MALLORY, OWN, BASE.quota, *OWN_KINDS), by(MALLORY, GOOD_RESERVATION)),
    Check("E29", "crowds out the operator with requests of service accounts", (Flow(),), waits_with_tenants(OPERATOR_USER), PODS),
    schema_check("E29", "writes a tenant with a thousand namespaces", by(PETRA, rent(namespaces=[{"name": f"another-{number}"} for number in range(1000)])), "must have at most 256 items", TENANTS),
    schema_check("E30", "reserves at a time without a zone", by(MALLORY, window(start="2030-01-01T00:00:00", duration="1h")), "spec.window.start"),
    schema_check("E30", "reserves in the year 9999", by(MALLORY, window(start="9999-12-31T00:00:00Z", duration="1h")), "spec.window.start"),
    schema_check("E30", "reserves for ever", by(MALLORY, window(start="2030-01-01T00:00:00Z", duration="999999999h")), "spec.window.duration"),
    schema_check("E30", "reserves for less than nothing", by(MALLORY, window(start="2030-01-01T00:00:00Z", duration="-1h"), window(start="2030-01-01T00:00:00Z", duration="0s"), window(start="2030-01-02T00:00:00Z", end="2030-01-01T00:00:00Z")), "spec.window"),
    schema_check("E30", "reserves less than one GPU, or more than there are", by(MALLORY, reserve(gpus=0), reserve(gpus=-8), reserve(gpus=10**9)), "spec.gpus"),
    Check("E31", "reads what another tenant reserved", (Rbac(MALLORY),), every(*(may(MALLORY, verb, "gpu-tenancy.dev", kind, namespace) for verb in VERBS[:3] for kind, namespace in (("gpureservations", RIVALS), ("gpureservations", ""), ("industrialtenants", ""), ("gpupools", "")))), may(MALLORY, "list", "gpu-tenancy.dev", "gpureservations", OWN)),
    Check("E31", "lists the cluster's namespaces, nodes and priority classes", (Rbac(MALLORY),), every(*(may(MALLORY, verb, group, kind) for verb in VERBS[:3] for group, kind in (("", "namespaces"), ("", "nodes"), ("scheduling.k8s.io", "priorityclasses")))), MAY_RUN_PODS),
]  # fmt: skip

# Pairs of the policies' own table, by what they are about. Whoever speaks there as a person of the tenant is the one here
# who has every role.
_FROM_THE_POLICIES = {
    "E02": ("namespaces: moves a namespace to another placement", "namespaces: moves it through the status", "namespaces: takes a namespace from its tenant", "namespaces: has a namespace deleted for want of its owner", "namespaces: grants resources", "namespaces: opens a registry", "namespaces: opens a storage class", "namespaces: grants devices", "namespaces: grants a load balancer", "namespaces: lets pods take more of a node than comes with their GPUs", "namespaces: takes a host name", "namespaces: weakens Pod Security of a tenant", "namespaces: allows administrative access to devices", "namespaces: overrides node selection", "namespaces: lifts a suspension"),
    "E01": ("pods: chooses a runtime that isolates less",),
    "E07": ("secrets: makes a token that never expires", "managed-objects: hands out a role that outlives the tenancy"),
    "E09": ("pods: runs outside its placement", "pods: runs while its tenant is suspended", "pods: selects the nodes of another pool than it is counted in", "pods: chooses its node", "pods: chooses its scheduler", "pods: tolerates the taint of a resource that is not granted", "pods: tolerates a pool without GPUs", "pods: tolerates another pool", "pods: tolerates every pool", "pod-updates: adds a toleration"),
    "E10": ("pods: tolerates everything", "pods: tolerates cordoned nodes"),
    "E11": ("pods: is counted in another pool than it selects", "pods: is counted in another tier than it says", "pods: takes a GPU priority without GPUs", "pods: comes to the nodes of a pool with no GPUs", "pods: takes a priority of the platform", "pods: takes a priority of the platform with GPUs"),
    "E12": ("pods: takes a MIG profile that is not granted", "pods: takes a shared GPU in an init container", "pods: takes devices of a class by their implicit name", "pods: takes an extended resource that nobody offers", "pods: sets up the driver without GPUs", "pods: sees all GPUs without asking for any", "pods: sees more GPUs than it asks for", "pods: sees all GPUs from an init container", "pods: hides in a field which GPUs it sees", "pods: takes all channels between nodes", "pods: partitions the GPUs of the node", "pods: names GPUs by a mount", "pods: names GPUs by an annotation", "pods: names GPUs by an annotation for a plugin of the container runtime", "pod-updates: names GPUs by an annotation later", "pod-updates: sees all GPUs from an ephemeral container", "resource-claims: claims devices of a class that is not granted", "resource-claims: claims them if nothing else is there", "resource-claims: claims them beside others", "resource-claims: has a template claim them", "resource-claims: claims all devices there are", "resource-claims: claims all devices as one of several", "resource-claims: claims devices that were taken out of service", "resource-claims: claims them as one of several", "resource-claims: tells a driver what to do", "resource-claims: has a template tell a driver what to do", "accelerators: takes GPUs that no quota counts", "accelerators: takes GPUs that no quota counts in an init container", "accelerators: takes devices by their implicit name", "accelerators: takes devices by a claim that no quota counts", "accelerators: claims devices that no quota counts"),
    "E14": ("pod-updates: moves a pod to another pool", "pod-updates: moves a pod to another tier", "pod-updates: moves a pod out of its reservation", "pod-updates: moves a pod to another reservation"),
    "E16": ("services: catches traffic to foreign addresses",),
    "E18": ("services: leads around network policies by a name", "services: opens a port of every node", "services: opens a service later", "services: publishes the host of another", "services: publishes the host of another beside its own", "services: publishes the host of another later", "services: publishes a name inside", "services: takes an address by an annotation", "services: takes an address by an annotation later", "services: chooses its address", "services: chooses another load balancer", *(f"ingresses: {does}" for does in ("serves the host of another", "serves what is above its hosts", "serves a host that ends alike", "serves every host", "serves more hosts than its own", "takes the certificate of another host", "takes the certificate of every host", "serves what nobody else does", "configures the controller by a path", "configures the controller", "serves another host by an annotation")), *(f"routes: {does}" for does in ("serves the host of another", "serves every host of a gateway", "leads to another namespace", "copies requests to another namespace", "copies requests to another namespace for one backend", "catches the traffic of a service", "publishes the host of another"))),
    "E19": ("network-policies: lets everyone in", "network-policies: lets every namespace in", "network-policies: lets another tenant in", "network-policies: reaches the internet", "network-policies: reaches everyone on a port", "pods: joins a network that is not granted", "pods: joins a network with an address of its choice", "pods: leaves the network of the cluster", "pods: takes an address of others", "pod-updates: joins a network later", "pod-updates: takes an address of others later", "namespaces: grants a network"),
    "E21": ("volume-claims: chooses a volume", "volume-claims: chooses among the volumes that are there", "volume-claims: chooses a volume in a template", "volume-claims: names a class that keeps what is deleted", "volume-claims: names such a class in a template", "volume-claims: names such a class by an annotation", "volume-claims: names such a class by an annotation in a template", "volume-claims: has its volume made on a node", "volume-claims: leaves the class to whoever sets the default", "volume-claims: takes any volume without a class", "volume-claims: copies from what is no volume", "volume-claims: copies from an object of its own making", "pods: has a driver mount what it writes out"),
    "E29": ("pods: keeps the pods of others off every node", "pods: keeps the pods of one namespace off", "pods: takes the CPUs of its neighbours", "pods: takes the memory of its neighbours", "pods: takes the CPUs of its neighbours before it runs", "pods: takes the CPUs of its neighbours for a sidecar", "pods: takes the CPUs of its neighbours beside a sidecar", "pods: takes the CPUs of its neighbours as a pod", "pods: counts a GPU that it has before it runs twice"),
    "E31": ("pods: looks for the pods of another tenant", "pods: would rather be near the pods of another tenant"),
    "E22": ("pods: runs an image of somebody else", "pods: runs an image from a path that begins alike", "pods: leaves the registry to the node", "pods: runs such an image first", "pods: mounts such an image", "images: changes to such an image later", "images: debugs with such an image"),
}  # fmt: skip


# What else stands in the way of an attack, where a policy is not the only wall.
_SECOND_WALLS = {
    "pods: runs while its tenant is suspended": Quota(FROZEN, BASE.quota),
    "pods: takes a priority of the platform with GPUs": Quota(OWN, "gpu-other"),
    "pods: takes devices of a class by their implicit name": Quota(OWN, "gpu-other"),
    "resource-claims: claims devices of a class that is not granted": BASE,
    "resource-claims: claims them if nothing else is there": BASE,
    "resource-claims: claims them beside others": BASE,
    "resource-claims: claims all devices there are": BASE,
    "services: opens a port of every node": BASE,
    "services: opens a service later": BASE,
}
# In the policies' table no quotas stand; here a MIG slice belongs to the pool that has it. And there a class is replaced,
# which takes the mutation.
_CONTROLS = {
    "pods: takes a priority of the platform with GPUs": gpu_pod(),
    "pods: takes a MIG profile that is not granted": pod({POOL_LABEL: "mig"}, limits={"nvidia.com/mig-1g.23gb": 1}),
}


# Volumes of images: until then an empty folder is made of one. Taints of devices: until then nobody tolerates them.
_SINCE = {
    "pods: mounts such an image": "1.35",
    "resource-claims: claims devices that were taken out of service": "1.36",
    "resource-claims: claims them as one of several": "1.36",
}


def _from_the_policies() -> Iterator[Check]:
    known = {str(scenario): scenario for scenario in SCENARIOS}
    for number, names in _FROM_THE_POLICIES.items():
        for name in names:
            one = known[name]
            user = MALLORY if one.user in {EDDA, OLGA} else one.user
            walls = [Policy(one.policy.removeprefix("gpu-tenancy-")), *filter(None, [_SECOND_WALLS.get(name)])]
            control = by(user, _CONTROLS.get(name, one.right))
            since = _SINCE.get(name, Check.since)
            yield Check(number, one.does, tuple(walls), by(user, one.wrong), control, one.says, since)


def _letter(place: int) -> str:
    """Count a, b ... z, aa, ab ..."""
    before, last = divmod(place, len(ascii_lowercase))
    return (ascii_lowercase[before - 1] if before else "") + ascii_lowercase[last]


def _lettered(checks: Iterable[Check]) -> list[Check]:
    """Give the checks of one number letters, if there are several."""
    numbers: dict[str, list[Check]] = {}
    for check in checks:
        numbers.setdefault(check.id, []).append(check)
    return [
        replace(check, id=check.id + (_letter(place) if len(same) > 1 else ""))
        for _, same in sorted(numbers.items())
        for place, check in enumerate(same)
    ]


ESCAPES = _lettered([
    *E01, *E02, *E03, *E04_E05, *E06, *E07, *E08, *E09, *E12, *E16_E18, *E19, *E21_E23, *E25_E27, *E28, *E29_E31,
    *_from_the_policies(),
])  # fmt: skip

ELSEWHERE = {
    "E13": "a race between namespaces has no single answer: tests/property/test_promise_world.py looks after every write",
    "E15": "a container that breaks out of its node is beyond an API server: README.md, What it does not do yet",
    "E20": "DNS answers every pod: docs/operations.md, What is left to you",
    "E24": "a finalizer keeps an object, not its GPUs: a window ends by the clock, tests/unit/test_promises.py",
    "E32": "there is no webhook that could fail; the column `stopped` is this very check",
    "E33": "no label or annotation of a tenant is copied to anything: there is no request to try",
    "E34": "whose rights a GitOps engine has is the platform's choice: docs/operations.md, What is left to you",
}
"""What an API server cannot decide, and who does."""
