"""The admission policies of the chart, on a real API server: what is denied, what is filled in, and by whom.

Scenarios are dry runs, which go through admission like any other request.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from cluster.policy_scenarios import (
    CARL,
    CHOOSE_LATER,
    CLAIM,
    CONTROLLERS,
    EDDA,
    HTTP_ROUTE,
    IMAGE,
    LIMITS,
    MANAGED,
    OLGA,
    PER_GPU,
    PETRA,
    PLACEMENT_KEY,
    POLICIES,
    QUOTA,
    RBAC,
    RUNTIME_CLASS,
    SCENARIOS,
    SCHEDULER,
    SELECT_ALL,
    SELECTED_NODE,
    SERVICE,
    SOLO,
    SOLO_KEY,
    SPEAKS,
    VIEWERS,
    VOLUME_CLAIM,
    Scenario,
    annotate,
    binds,
    debug,
    gpu_pod,
    handwritten,
    image_volume,
    init_container,
    new,
    on_claim,
    on_pod,
    own_nodes,
    pod,
    pool_toleration,
    relabel,
)
from cluster.rest import Api, create, delete, eventually, get, patch
from gpu_tenancy.domain.naming import (
    ACCELERATORS_ANNOTATION,
    DEFAULT_POOL_LABEL,
    DEVICE_CLASSES_ANNOTATION,
    EXCLUSIVE_ANNOTATION,
    HOSTS_ANNOTATION,
    LOAD_BALANCERS_ANNOTATION,
    NETWORKS_ANNOTATION,
    NODE_POOL_LABEL,
    NODE_REGION_LABEL,
    OPERATOR,
    PER_GPU_ANNOTATION,
    PLACEMENT_LABEL,
    POOL_LABEL,
    REGISTRIES_ANNOTATION,
    RESERVATION_LABEL,
    RESERVATION_TAINT,
    STORAGE_CLASSES_ANNOTATION,
    SUSPENDED_LABEL,
    TENANT_LABEL,
    TIER_LABEL,
    TIER_PRIORITY,
    Tier,
    priority_class,
)
from gpu_tenancy.kube.resource import (
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
from gpu_tenancy.localcluster import ControlPlane
from gpu_tenancy.reconcile.audit import CHART_POLICIES
from places import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHART = ROOT / "charts" / "gpu-tenancy"
SYSTEM_NAMESPACE = "gpu-tenancy-system"
OPERATOR_USER = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{OPERATOR}"
MUTATION = "gpu-tenancy-placement"

ADMISSION = "admissionregistration.k8s.io"
CLUSTER_ROLE = Resource(RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDING = Resource(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False)
VOLUME = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
SERVICE_ACCOUNT = Resource("", "v1", "serviceaccounts", "ServiceAccount")
CRD = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
CRD_METADATA = {
    "name": f"{HTTP_ROUTE.plural}.{HTTP_ROUTE.group}",
    "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in for tests"},
}
FENCE = Resource(ADMISSION, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False)
FENCE_BINDING = Resource(
    ADMISSION, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", namespaced=False
)
MUTATING_BINDING = Resource(
    ADMISSION, "v1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", namespaced=False
)

ACME = {TENANT_LABEL: "acme", PLACEMENT_LABEL: "eu-de", DEFAULT_POOL_LABEL: "b200"}
GRANTED = {
    ACCELERATORS_ANNOTATION: "nvidia.com/gpu,nvidia.com/mig-1g.23gb",
    REGISTRIES_ANNOTATION: "public.example,registry.example/acme",
    STORAGE_CLASSES_ANNOTATION: "fast,shelf",
    LOAD_BALANCERS_ANNOTATION: "1",
    DEVICE_CLASSES_ANNOTATION: "channel.nvidia.com,nic",
    HOSTS_ANNOTATION: "*.apps.example,app.acme.example",
    NETWORKS_ANNOTATION: "rails/a,rails/b",
    EXCLUSIVE_ANNOTATION: "solo,duo",
    PER_GPU_ANNOTATION: ",".join(f"b200 nvidia.com/gpu {resource} {amount}" for resource, amount in PER_GPU.items()),
}
TENANT_NAMESPACES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "train": (ACME, GRANTED),
    "serve": (
        {TENANT_LABEL: "acme", PLACEMENT_LABEL: "eu-de"},
        GRANTED
        | {
            LOAD_BALANCERS_ANNOTATION: "0",
            REGISTRIES_ANNOTATION: "*",
            DEVICE_CLASSES_ANNOTATION: "",
            HOSTS_ANNOTATION: "",
            NETWORKS_ANNOTATION: "",
        },
    ),
    "exposed": (ACME | {"resource.kubernetes.io/admin-access": "true"}, GRANTED),
    "unsaid": (ACME, {key: GRANTED[key] for key in (ACCELERATORS_ANNOTATION, REGISTRIES_ANNOTATION)}),
    "unlisted": (ACME, {key: value for key, value in GRANTED.items() if key != REGISTRIES_ANNOTATION}),
    "unplaced": ({TENANT_LABEL: "acme"}, GRANTED),
    "ungranted": (ACME, {key: value for key, value in GRANTED.items() if key != ACCELERATORS_ANNOTATION}),
    "frozen": (ACME | {SUSPENDED_LABEL: "true"}, GRANTED),
}

PLATFORM_NAMESPACES = ("platform", "gpu-operator")


@contextlib.contextmanager
def without(api: Api, binding: Resource, name: str, took_effect: Callable[[], bool]) -> Iterator[None]:
    """Take a policy's binding away for the block; wait until that, and in the end its return, has taken effect."""
    manifest = api.must(get(binding, name))
    api.must(delete(binding, name))
    try:
        eventually(took_effect, f"{name} is out of force")
        yield
    finally:
        api.must(create(binding, {"metadata": {"name": name}, "spec": manifest["spec"]}))
        eventually(lambda: not took_effect(), f"{name} is in force again")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of its own, because these tests take policies away."""
    with ControlPlane(tmp_path_factory.mktemp("policies")) as running:
        yield running


@pytest.fixture(scope="module")
def api(cluster: ControlPlane) -> Iterator[Api]:
    """The API server with the chart, a tenant, people and nodes, and every policy in force."""
    cluster.helm(
        *("install", OPERATOR, str(CHART), "--namespace", SYSTEM_NAMESPACE, "--create-namespace"),
        *("--set", "operator.enabled=false"),
        *("--set", "policies.priorityClasses={tenants-batch}", "--set", "policies.extendedResources={rdma/hca}"),
        *(
            "--set",
            "policies.csiDrivers={secrets.example}",
            "--set",
            "policies.deviceDrivers={known.example}",
            "--set",
            "policies.loadBalancerClasses={example.com/internal}",
        ),
        *("--set", "policies.volumeAttributesClasses={plain}"),
    )
    api = Api(cluster)
    for build in (build_kinds, build_namespaces, build_people, build_priority_classes, build_nodes, build_children):
        build(api)
    for policy in POLICIES:
        probe = next(scenario for scenario in SCENARIOS if scenario.policy == policy)
        eventually(lambda probe=probe: denied(api, probe), f"{policy} is in force")
    eventually(lambda: api.send(gpu_pod(), EDDA, dry_run=True).accepted, "the mutation is in force")
    lax = on_pod(debug([], pull="Never"), "ephemeralcontainers")
    eventually(lambda: api.send(lax, EDDA, dry_run=True).accepted, "the mutation of images is in force")
    yield api
    api.close()


def build_kinds(api: Api) -> None:
    """Install the Gateway API, as far as its routes go."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": HTTP_ROUTE.plural, "kind": HTTP_ROUTE.kind, "singular": "httproute"}
    spec = {"group": HTTP_ROUTE.group, "names": names, "scope": "Namespaced", "versions": [version]}
    api.must(create(CRD, {"metadata": CRD_METADATA, "spec": spec}))
    eventually(lambda: api.serves(HTTP_ROUTE), "routes are served")


def build_namespaces(api: Api) -> None:
    for name in PLATFORM_NAMESPACES:
        api.must(create(NAMESPACE, new(name)))
    for name, (labels, notes) in TENANT_NAMESPACES.items():
        api.must(create(NAMESPACE, {"metadata": {"name": name, "labels": labels, "annotations": notes}}))
    for name in (*TENANT_NAMESPACES, *PLATFORM_NAMESPACES):
        default = get(SERVICE_ACCOUNT, "default", name)
        eventually(lambda default=default: api.send(default).accepted, f"{name} has its service account")


def build_people(api: Api) -> None:
    platform = [
        rule("", "namespaces", "namespaces/status", "nodes", "nodes/status", "resourcequotas", "limitranges"),
    ]
    provider = [
        *platform,
        rule("gpu-tenancy.dev", "industrialtenants"),
        rule("", "persistentvolumeclaims", "pods", "pods/binding", "bindings"),
        rule("resource.k8s.io", "resourceclaims"),
        rule("networking.k8s.io", "networkpolicies"),
        rule(RBAC, "rolebindings"),
        {"apiGroups": [RBAC], "resources": ["clusterroles"], "verbs": ["bind"]},
    ]
    for user, rules in ((CARL, platform), (PETRA, provider)):
        api.must(create(CLUSTER_ROLE, new(user) | {"rules": rules}))
        api.must(create(CLUSTER_ROLE_BINDING, new(user) | binds(user, user)))
    # As where all controllers share one identity, which then may do everything.
    api.must(create(CLUSTER_ROLE_BINDING, new("controllers") | binds(CONTROLLERS, PETRA)))
    for namespace in TENANT_NAMESPACES:
        for user, role in ((OLGA, "gpu-tenancy-owner"), (EDDA, "gpu-tenancy-editor")):
            api.must(create(ROLE_BINDING, new(user) | binds(user, role), namespace))
            look = get(POD, "", namespace)
            eventually(lambda look=look, user=user: api.send(look, user).accepted, f"{user} is known in {namespace}")


def rule(group: str, *resources: str) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": resources, "verbs": ["get", "create", "update", "patch", "delete"]}


def build_priority_classes(api: Api) -> None:
    api.must(create(PRIORITY_CLASS, new("tenants-batch") | {"value": 10}))
    api.must(create(PRIORITY_CLASS, new("gpu-odd-guaranteed") | {"value": 5}))
    for runtime in ("nvidia", "runc-legacy"):
        api.must(create(RUNTIME_CLASS, new(runtime) | {"handler": runtime}))
    for pool in ("b200", "rtx-pro"):
        for tier in Tier:
            policy = {"preemptionPolicy": "Never"} if tier is Tier.SPOT else {}
            body = new(priority_class(pool, tier)) | {"value": TIER_PRIORITY[tier]} | policy
            api.must(create(PRIORITY_CLASS, body))


def build_nodes(api: Api) -> None:
    taints = [{"key": "gpu-tenancy.dev/pool", "value": "b200", "effect": "NoSchedule"}]
    api.must(create(NODE, new("node-1", **{NODE_REGION_LABEL: "eu-de"}) | {"spec": {"taints": taints}}))
    api.must(create(NODE, new("node-2")))


def build_children(api: Api) -> None:
    """Create a pod, an unbound claim, one child of each kind that is the operator's, and one that is not."""
    labels = {"app": "x", RESERVATION_LABEL: "nightly"}
    spec = gpu_pod(**handwritten(tier=Tier.RESERVED)).body["spec"]
    spec["containers"][0]["resources"]["requests"] = {"cpu": "1"}
    api.must(create(POD, new("standing", **labels) | {"spec": spec}, "train"))
    api.must(create(SERVICE, new("inner") | {"spec": SPEAKS}, "train"))
    api.must(create(VOLUME_CLAIM, new("loose") | {"spec": CLAIM | {"storageClassName": "absent"}}, "train"))
    for name, labels in (("managed", MANAGED), ("own", {})):
        metadata = new(name, **labels)
        for call in (
            create(RESOURCE_QUOTA, metadata | QUOTA, "train"),
            create(LIMIT_RANGE, metadata | LIMITS, "train"),
            create(NETWORK_POLICY, metadata | SELECT_ALL, "train"),
            create(ROLE_BINDING, metadata | VIEWERS, "train"),
        ):
            api.must(call)


def denied(api: Api, scenario: Scenario) -> bool:
    """Tell whether the wrong call is denied by the scenario's own policy."""
    return f"'{scenario.policy}'" in api.send(scenario.wrong, scenario.user, dry_run=True).message


def accepted(api: Api, scenario: Scenario) -> bool:
    return api.send(scenario.wrong, scenario.user, dry_run=True).accepted


# The fence


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_what_is_wrong_is_denied_with_what_to_do_and_what_is_right_accepted(api: Api, scenario: Scenario) -> None:
    answer = api.send(scenario.wrong, scenario.user, dry_run=True)
    assert (answer.status, scenario.policy in answer.message) == (403, True), answer.message
    assert scenario.says in answer.message
    assert not api.send(scenario.right, scenario.right_user or scenario.user, dry_run=True).message


@pytest.mark.parametrize("policy", POLICIES)
def test_without_a_policy_nothing_else_denies_what_it_did(api: Api, policy: str) -> None:
    scenarios = [scenario for scenario in SCENARIOS if scenario.policy == policy]
    with without(api, FENCE_BINDING, policy, lambda: accepted(api, scenarios[0])):
        assert [str(scenario) for scenario in scenarios if not accepted(api, scenario)] == []


def test_every_policy_is_bound_fails_closed_and_has_been_tried(api: Api) -> None:
    policies = api.must(get(FENCE, ""))["items"]
    assert [policy["metadata"]["name"] for policy in policies] == POLICIES == sorted(CHART_POLICIES)
    assert {policy["spec"]["failurePolicy"] for policy in policies} == {"Fail"}


@pytest.mark.parametrize("policy", POLICIES)
def test_the_api_server_finds_no_type_error_in_a_policy(api: Api, policy: str) -> None:
    eventually(lambda: "typeChecking" in api.must(get(FENCE, policy)).get("status", {}), "it has been checked")
    assert api.must(get(FENCE, policy))["status"]["typeChecking"] == {}


def test_what_comes_with_a_gpu_is_open_where_the_pool_or_an_older_operator_does_not_say(api: Api) -> None:
    large = {"cpu": "27", "memory": "231Gi"}
    for call in (gpu_pod({POOL_LABEL: "rtx-pro"}, limits=large), gpu_pod(namespace="unsaid", limits=large)):
        assert not api.send(call, EDDA, dry_run=True).message


# Who is above the fence


OPERATORS = [
    scenario
    for scenario in SCENARIOS
    if scenario.policy in {"gpu-tenancy-namespaces", "gpu-tenancy-managed-objects", "gpu-tenancy-nodes"}
]
PROVIDERS = OPERATORS + [scenario for scenario in SCENARIOS if scenario.policy == "gpu-tenancy-volume-claims"]


@pytest.mark.parametrize("scenario", PROVIDERS, ids=str)
def test_whoever_may_write_tenants_may_do_all_of_it(api: Api, scenario: Scenario) -> None:
    assert not api.send(scenario.wrong, PETRA, dry_run=True).message


@pytest.mark.parametrize(
    "scenario",
    [s for s in OPERATORS if s.wrong.subresource == "" and (s.wrong.verb, s.wrong.resource) != ("POST", NODE)],
    ids=str,
)
def test_the_operator_may_do_its_work_without_writing_tenants(api: Api, scenario: Scenario) -> None:
    assert not api.send(scenario.wrong, OPERATOR_USER, dry_run=True).message


def test_the_control_plane_binds_a_claim_to_a_volume_and_its_owner_keeps_it(api: Api) -> None:
    assert not api.send(CHOOSE_LATER, CONTROLLERS, dry_run=True).message
    shelf = {"storageClassName": "shelf", "accessModes": CLAIM["accessModes"]}
    volume = shelf | {"capacity": {"storage": "1Gi"}, "hostPath": {"path": "/var/empty"}}
    api.must(create(VOLUME, new("shelf-1") | {"spec": volume}))
    api.must(create(VOLUME_CLAIM, new("bound") | {"spec": CLAIM | shelf}, "train"), EDDA)
    claim = get(VOLUME_CLAIM, "bound", "train")
    eventually(lambda: api.must(claim)["status"].get("phase") == "Bound", "the claim is bound")
    assert api.must(on_claim(relabel(team="x"), "bound"), EDDA)["spec"]["volumeName"] == "shelf-1"


def test_the_scheduler_says_on_which_node_a_volume_is_made(api: Api) -> None:
    assert not api.send(on_claim(annotate(**{SELECTED_NODE: "node-1"})), SCHEDULER, dry_run=True).message


def test_a_tenant_without_a_list_of_registries_runs_images_from_all(api: Api) -> None:
    assert not api.send(gpu_pod({POOL_LABEL: "b200"}, namespace="serve", image="any/image"), EDDA, dry_run=True).message


def test_what_is_older_than_its_tenant_can_still_be_labelled_and_finalized(api: Api) -> None:
    api.must(create(NAMESPACE, new("older")))
    default = get(SERVICE_ACCOUNT, "default", "older")
    eventually(lambda: api.send(default).accepted, "older has its service account")
    api.must(
        create(POD, {"metadata": {"name": "old"}, "spec": {"containers": [{"name": "x", "image": "any:1"}]}}, "older")
    )
    api.must(create(SERVICE, new("old") | {"spec": SPEAKS | {"type": "NodePort"}}, "older"))
    api.must(create(VOLUME_CLAIM, new("old") | {"spec": CLAIM | {"storageClassName": "kept"}}, "older"))
    api.must(patch(NAMESPACE, "older", relabel(**ACME)))
    wrong = pod(namespace="older", hostNetwork=True)
    eventually(lambda: not api.send(wrong, dry_run=True).accepted, "it is a tenant's")
    for resource in (POD, SERVICE, VOLUME_CLAIM):
        change = patch(resource, "old", {"metadata": {"labels": {"x": "y"}, "finalizers": None}}, "older")
        assert not api.send(change, dry_run=True).message


def test_a_tenants_namespace_can_be_deleted_with_the_operators_objects_in_it(api: Api) -> None:
    api.must(create(NAMESPACE, new("leaving", **ACME)))
    api.must(create(RESOURCE_QUOTA, new("managed", **MANAGED) | {"spec": {"hard": {"pods": "1"}}}, "leaving"))
    api.must(create(ROLE_BINDING, new("managed", **MANAGED) | VIEWERS, "leaving"))
    api.must(delete(NAMESPACE, "leaving"))
    eventually(lambda: api.send(get(NAMESPACE, "leaving")).status == 404, "the namespace is gone")


def test_the_garbage_collector_takes_what_an_owner_leaves_behind(api: Api) -> None:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-4000-8000-000000000000"}
    metadata = {"name": "orphan", "labels": MANAGED, "ownerReferences": [owner]}
    api.must(create(RESOURCE_QUOTA, {"metadata": metadata, "spec": {"hard": {"pods": "1"}}}, "serve"))
    eventually(lambda: api.send(get(RESOURCE_QUOTA, "orphan", "serve")).status == 404, "the orphan is gone")


def test_the_use_of_a_protected_quota_is_still_counted(api: Api) -> None:
    quota = get(RESOURCE_QUOTA, "managed", "train")
    eventually(lambda: api.must(quota).get("status", {}).get("used") == {"services": "1"}, "its use is counted")


# The mutation


def admitted(api: Api, call: Any) -> dict[str, Any]:
    """Return the spec of a pod as admission left it."""
    answer = api.send(call, EDDA, dry_run=True)
    assert answer.accepted, answer.message
    return answer.body["spec"]


def pool_tolerations(spec: dict[str, Any]) -> list[dict[str, str]]:
    return [toleration for toleration in spec["tolerations"] if toleration.get("key") == "gpu-tenancy.dev/pool"]


@pytest.mark.parametrize(
    ("labels", "pool", "tier"),
    [
        ({}, "b200", Tier.GUARANTEED),
        ({TIER_LABEL: "guaranteed"}, "b200", Tier.GUARANTEED),
        ({TIER_LABEL: "spot"}, "b200", Tier.SPOT),
        ({RESERVATION_LABEL: "nightly"}, "b200", Tier.RESERVED),
        ({POOL_LABEL: "rtx-pro"}, "rtx-pro", Tier.GUARANTEED),
        ({POOL_LABEL: "rtx-pro", TIER_LABEL: "spot"}, "rtx-pro", Tier.SPOT),
        ({POOL_LABEL: ""}, "b200", Tier.GUARANTEED),
    ],
)
def test_a_gpu_pod_is_filled_in_from_its_labels(api: Api, labels: dict[str, str], pool: str, tier: Tier) -> None:
    # The API server runs the mutation twice, because it changes something: what is added is there once all the same.
    spec = admitted(api, gpu_pod(labels))
    assert spec["nodeSelector"] == {PLACEMENT_KEY: "true", NODE_POOL_LABEL: pool}
    assert spec["priorityClassName"] == priority_class(pool, tier)
    assert spec["priority"] == TIER_PRIORITY[tier]
    assert spec["preemptionPolicy"] == ("Never" if tier is Tier.SPOT else "PreemptLowerPriority")
    assert pool_tolerations(spec) == [pool_toleration(pool)]


def test_a_pod_of_an_exclusive_reservation_runs_on_its_nodes(api: Api) -> None:
    spec = admitted(api, gpu_pod(SOLO))
    assert spec["nodeSelector"] == {PLACEMENT_KEY: "true", NODE_POOL_LABEL: "b200", SOLO_KEY: "solo"}
    own = [toleration for toleration in spec["tolerations"] if toleration.get("key") == RESERVATION_TAINT]
    assert own == [own_nodes("train")]
    assert pool_tolerations(spec) == [pool_toleration("b200")]


def test_a_pod_without_gpus_gets_its_placement_and_nothing_else(api: Api) -> None:
    spec = admitted(api, pod())
    assert spec["nodeSelector"] == {PLACEMENT_KEY: "true"}
    assert (spec["priority"], spec.get("priorityClassName"), pool_tolerations(spec)) == (0, None, [])


def test_what_the_user_wrote_stays(api: Api) -> None:
    mine = {"key": "nvidia.com/gpu", "operator": "Exists"}
    spec = admitted(api, gpu_pod(nodeSelector={"kubernetes.io/arch": "arm64"}, tolerations=[mine]))
    assert spec["nodeSelector"] == {"kubernetes.io/arch": "arm64", PLACEMENT_KEY: "true", NODE_POOL_LABEL: "b200"}
    assert mine in spec["tolerations"]
    assert pool_tolerations(spec) == [pool_toleration("b200")]


def test_what_is_complete_is_left_as_it_is(api: Api) -> None:
    fields = handwritten(tier=Tier.SPOT)
    spec = admitted(api, gpu_pod({TIER_LABEL: "spot"}, **fields))
    assert spec["nodeSelector"] == fields["nodeSelector"]
    assert spec["priority"] == TIER_PRIORITY[Tier.SPOT]
    assert pool_tolerations(spec) == fields["tolerations"]


def test_every_image_is_pulled_anew_whatever_the_user_wrote(api: Api) -> None:
    lax = {"imagePullPolicy": "IfNotPresent"}
    call = pod(initContainers=init_container(**lax), volumes=image_volume(IMAGE))
    call.body["spec"]["containers"][0] |= lax
    call.body["spec"]["containers"].append({"name": "other", "image": IMAGE, "imagePullPolicy": "Never"})
    call.body["spec"]["volumes"][0]["image"].pop("pullPolicy")
    spec = admitted(api, call)
    containers = [*spec["containers"], *spec["initContainers"]]
    assert [container["imagePullPolicy"] for container in containers] == ["Always"] * 3
    assert spec["volumes"][0]["image"]["pullPolicy"] == "Always"
    answer = api.send(on_pod(debug([], pull="Never"), "ephemeralcontainers"), EDDA, dry_run=True)
    assert answer.body["spec"]["ephemeralContainers"][0]["imagePullPolicy"] == "Always"


@pytest.fixture(scope="class")
def _unmutated(api: Api) -> Iterator[None]:
    lax = on_pod(debug([], pull="Never"), "ephemeralcontainers")
    with (
        without(api, MUTATING_BINDING, MUTATION, lambda: not api.send(pod(), EDDA, dry_run=True).accepted),
        without(api, MUTATING_BINDING, "gpu-tenancy-images", lambda: not api.send(lax, EDDA, dry_run=True).accepted),
    ):
        yield


@pytest.mark.usefixtures("_unmutated")
class TestWithoutTheMutation:
    """As on Kubernetes 1.34 and 1.35: nothing is filled in, and the fence tells what to write."""

    def test_a_pod_that_says_nothing_is_told_its_placement(self, api: Api) -> None:
        for call in (pod(), gpu_pod()):
            assert f'write spec.nodeSelector "{PLACEMENT_KEY}": "true"' in api.send(call, EDDA, dry_run=True).message

    def test_a_gpu_pod_is_told_all_that_it_needs_at_once(self, api: Api) -> None:
        answer = api.send(gpu_pod({TIER_LABEL: "spot"}, nodeSelector={PLACEMENT_KEY: "true"}), EDDA, dry_run=True)
        assert (
            f'write spec.nodeSelector "{NODE_POOL_LABEL}": "b200", spec.priorityClassName "gpu-b200-spot" and '
            "spec.tolerations {key: gpu-tenancy.dev/pool, value: b200, effect: NoSchedule}"
        ) in answer.message

    @pytest.mark.parametrize("missing", ["nodeSelector", "priorityClassName", "tolerations"])
    def test_a_gpu_pod_that_lacks_one_field_is_denied(self, api: Api, missing: str) -> None:
        fields = {name: value for name, value in handwritten().items() if name != missing}
        assert "'gpu-tenancy-pods'" in api.send(gpu_pod(**fields), EDDA, dry_run=True).message

    @pytest.mark.parametrize("tier", Tier)
    def test_a_pod_that_writes_the_fields_is_accepted(self, api: Api, tier: Tier) -> None:
        labels = {Tier.GUARANTEED: {}, Tier.RESERVED: {RESERVATION_LABEL: "nightly"}, Tier.SPOT: {TIER_LABEL: "spot"}}
        spec = admitted(api, gpu_pod(labels[tier], **handwritten(tier=tier)))
        assert spec["priority"] == TIER_PRIORITY[tier]
        assert admitted(api, pod(nodeSelector={PLACEMENT_KEY: "true"}))["priority"] == 0

    @pytest.mark.parametrize("policy", ["IfNotPresent", "Never"])
    def test_an_image_that_is_not_pulled_anew_is_denied(self, api: Api, policy: str) -> None:
        written = {"nodeSelector": {PLACEMENT_KEY: "true"}}
        main = pod(**written)
        main.body["spec"]["containers"][0]["imagePullPolicy"] = policy
        volume = pod(**written, volumes=image_volume(IMAGE))
        volume.body["spec"]["volumes"][0]["image"]["pullPolicy"] = policy
        for call in (
            main,
            pod(**written, initContainers=init_container(imagePullPolicy=policy)),
            volume,
            on_pod(debug([], pull=policy), "ephemeralcontainers"),
        ):
            message = api.send(call, EDDA, dry_run=True).message
            assert f"'gpu-tenancy-{'images' if call.subresource else 'pods'}'" in message
            assert f"write imagePullPolicy: Always (in a volume image.pullPolicy: Always) for {IMAGE}" in message
        right = pod(**written, initContainers=init_container(), volumes=image_volume(IMAGE))
        for call in (right, on_pod(debug([]), "ephemeralcontainers")):
            assert not api.send(call, EDDA, dry_run=True).message

    def test_a_class_that_does_not_stand_for_its_tiers_priority_is_denied(self, api: Api) -> None:
        odd = gpu_pod({POOL_LABEL: "odd"}, **handwritten("odd"))
        assert "does not stand for priority 1000" in api.send(odd, EDDA, dry_run=True).message
