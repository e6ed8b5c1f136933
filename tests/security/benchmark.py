"""The 19 checks of the multi-tenancy benchmark (kubernetes-retired/multi-tenancy, benchmarks/kubectl-mtb).

Written anew: there, any error counts as a refusal. Here the refusal is the wall's own, and a control stands beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cluster.policy_scenarios import IMAGE, PLACEMENT_KEY, SELECT_ALL, VIEWERS, binds, create, new, pod, service
from gpu_tenancy.kube.resource import NETWORK_POLICY, ROLE_BINDING
from security.attempts import MAY_RUN_PODS, WRITE, all_deleted, all_in, all_in_cluster, every, may, unlimited, unpulled
from security.check import Attempt, Check, by
from security.walls import PodSecurity, Policy, Pulls, Quota, Rbac
from security.world import MALLORY, OWN, RIVALS, VERA

if TYPE_CHECKING:
    from security.check import Wall

PODS = by(MALLORY, pod())
PSA = PodSecurity(OWN)
BASE = Quota(OWN, "gpu-tenancy-base")


def container(**fields: Any) -> list[dict[str, Any]]:
    return [{"name": "main", "image": IMAGE, **fields}]


def secured(**context: Any) -> Attempt:
    """Run a pod whose container has this security context."""
    return by(MALLORY, pod(containers=container(securityContext=context)))


def pod_check(name: str, says: str, attack: Attempt, because: str, *others: Wall) -> Check:
    return Check(name, says, (PSA, *others), attack, PODS, because)


def _cluster(verb: str, group: str, resource: str, name: str = "") -> Attempt:
    return may(MALLORY, verb, group, resource, name=name)


PLACED = {PLACEMENT_KEY: "true"}
_HOST_PATH = [{"name": "host", "hostPath": {"path": "/"}}]
_RBAC = "rbac.authorization.k8s.io"
_OBJECT_COUNTS = (
    "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims",
    "services.nodeports", "services.loadbalancers",
)  # fmt: skip

BENCHMARK = [
    Check(
        "MTB-PL1-CC-CPI-1 block_access_to_cluster_resources", "uses any verb on anything outside namespaces",
        (Rbac(MALLORY),), all_in_cluster(MALLORY), MAY_RUN_PODS,
    ),
    Check(
        "MTB-PL1-BC-CPI-2 block_multitenant_resources", "deletes what the operator made",
        (Policy("managed-objects"),), all_deleted(MALLORY, OWN, NETWORK_POLICY, ROLE_BINDING),
        by(MALLORY, create(NETWORK_POLICY, new("own") | SELECT_ALL, OWN), create(ROLE_BINDING, new("own") | VIEWERS, OWN)),
    ),
    pod_check("MTB-PL1-BC-CPI-3 block_add_capabilities", "adds a capability", secured(capabilities={"add": ["SYS_ADMIN"], "drop": ["ALL"]}), "SYS_ADMIN"),
    pod_check("MTB-PL1-BC-CPI-4 require_run_as_non_root_user", "runs as root", every(secured(runAsNonRoot=False), secured(runAsUser=0)), "runAs"),
    pod_check("MTB-PL1-BC-CPI-5 block_privileged_containers", "runs privileged", secured(privileged=True, allowPrivilegeEscalation=True), "privileged", Policy("pods")),
    pod_check("MTB-PL1-BC-CPI-6 block_privilege_escalation", "allows privilege escalation", secured(allowPrivilegeEscalation=True), "allowPrivilegeEscalation"),
    Check(
        "MTB-PL1-CC-FNS-1 configure_ns_quotas", "uses CPU, memory and disks without a limit",
        (BASE,), unlimited(MALLORY, OWN, BASE.quota, "requests.cpu", "requests.memory", "requests.ephemeral-storage", "requests.storage"), PODS,
    ),
    Check(
        "MTB-PL1-CC-FNS-2 configure_ns_object_quota", "creates objects without a limit",
        (BASE,), unlimited(MALLORY, OWN, BASE.quota, *_OBJECT_COUNTS), PODS,
    ),
    Check(
        "MTB-PL1-CC-TI-1 block_ns_quota", "writes quotas",
        (Rbac(MALLORY),), every(*(may(MALLORY, verb, "", "resourcequotas", OWN) for verb in WRITE)), may(MALLORY, "list", "", "resourcequotas", OWN),
    ),
    Check(
        "MTB-PL1-CC-TI-2 block_other_tenant_resources", "uses any verb on anything of another tenant",
        (Rbac(MALLORY),), all_in(MALLORY, RIVALS), MAY_RUN_PODS,
    ),
    pod_check("MTB-PL1-BC-HI-1 block_use_of_host_path", "mounts a path of the node", by(MALLORY, pod(volumes=_HOST_PATH)), "hostPath", Policy("pods")),
    Check(
        "MTB-PL1-BC-HI-1 block_use_of_nodeport_services", "opens a port on every node",
        (Policy("services"), BASE), by(MALLORY, service(type="NodePort")), by(MALLORY, service()), "every node",
    ),
    pod_check("MTB-PL1-BC-HI-3 block_use_of_host_networking_and_ports", "uses the node's network", every(by(MALLORY, pod(hostNetwork=True)), by(MALLORY, pod(containers=container(ports=[{"containerPort": 80, "hostPort": 80}])))), "host", Policy("pods")),
    pod_check("MTB-PL1-BC-HI-4 block_use_of_host_pid", "sees the node's processes", by(MALLORY, pod(hostPID=True)), "hostPID", Policy("pods")),
    pod_check("MTB-PL1-BC-HI-5 block_use_of_host_ipc", "shares the node's memory segments", by(MALLORY, pod(hostIPC=True)), "hostIPC", Policy("pods")),
    Check(
        "MTB-PL1-CC-DI-1 require_always_pull_image", "runs an image that another tenant left on the node",
        (Pulls(),), unpulled(MALLORY, *(pod(containers=container(imagePullPolicy=policy), nodeSelector=PLACED) for policy in ("Never", "IfNotPresent"))), by(MALLORY, pod(nodeSelector=PLACED)),
    ),
    Check(
        "MTB-PL2-BC-OPS-4 create_network_policies", "writes network policies without being an editor; editors do",
        (Rbac(VERA),), by(VERA, create(NETWORK_POLICY, new("own") | SELECT_ALL, OWN)), by(MALLORY, create(NETWORK_POLICY, new("own") | SELECT_ALL, OWN)),
    ),
    Check(
        "MTB-PL2-BC-OPS-3 create_role_bindings", "hands out roles without being an owner; owners do",
        (Rbac(VERA),), by(VERA, create(ROLE_BINDING, new("own") | VIEWERS, OWN)), by(MALLORY, create(ROLE_BINDING, new("own") | VIEWERS, OWN)),
    ),
    Check(
        "MTB-PL2-CC-TI-1 block_role_privilege_escalation", "escalates roles, or binds that of administrators",
        (Rbac(MALLORY),),
        every(
            _cluster("escalate", _RBAC, "clusterroles"), may(MALLORY, "escalate", _RBAC, "roles", OWN),
            _cluster("bind", _RBAC, "clusterroles", "cluster-admin"),
            by(MALLORY, create(ROLE_BINDING, new("own") | binds(MALLORY, "cluster-admin"), OWN)),
        ),
        by(MALLORY, create(ROLE_BINDING, new("own") | VIEWERS, OWN)),
    ),
]  # fmt: skip
