"""The Helm charts: what they install, whom they give which rights, and what they leave behind."""

from __future__ import annotations

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cluster.rest import Api, Call, create, eventually, get
from gpu_tenancy.api import GROUP, KINDS
from gpu_tenancy.domain.naming import OPERATOR, TENANT_LABEL, TIER_PRIORITY
from gpu_tenancy.kube.resource import NAMESPACE, POD, RESOURCE_QUOTA, ROLE_BINDING, Resource
from gpu_tenancy.localcluster import ControlPlane
from gpu_tenancy.localcluster.errors import LocalClusterError
from places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

CHART = str(ROOT / "charts" / "gpu-tenancy")
CRDS_CHART = str(ROOT / "charts" / "gpu-tenancy-crds")
SYSTEM_NAMESPACE = "gpu-tenancy-system"
OPERATOR_USER = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{OPERATOR}"

RBAC = "rbac.authorization.k8s.io"
ADMISSION = "admissionregistration.k8s.io"
SEPARATION = "policy.networking.k8s.io/v1alpha2/ClusterNetworkPolicy"
CRD = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
ROLE = Resource(RBAC, "v1", "roles", "Role")
CLUSTER_ROLE = Resource(RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False)
FENCE = Resource(ADMISSION, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False)
MUTATION = Resource(ADMISSION, "v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy", namespaced=False)
SERVICE_ACCOUNT = Resource("", "v1", "serviceaccounts", "ServiceAccount")
DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment")
ACCESS_REVIEW = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False)

ROLES = ("owner", "editor", "viewer", "reservation-user")
WRITE = ("create", "update", "patch", "delete", "deletecollection")
ALL = ("get", "list", "watch", *WRITE)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of its own, because the charts come and go."""
    with ControlPlane(tmp_path_factory.mktemp("charts")) as running:
        yield running


@pytest.fixture(scope="module")
def api(cluster: ControlPlane) -> Iterator[Api]:
    api = Api(cluster)
    yield api
    api.close()


def install(cluster: ControlPlane, *options: str, chart: str = CHART, name: str = OPERATOR) -> None:
    cluster.helm("install", name, chart, "--namespace", SYSTEM_NAMESPACE, "--create-namespace", *options)


def uninstall(cluster: ControlPlane, name: str = OPERATOR) -> None:
    cluster.helm("uninstall", name, "--namespace", SYSTEM_NAMESPACE)


@pytest.fixture(scope="class")
def installed(cluster: ControlPlane, api: Api) -> Iterator[Api]:
    """The chart with its operator, a tenant's namespace, and one person in each role there."""
    install(cluster)
    for name in ("robots", "rivals"):
        api.must(create(NAMESPACE, {"metadata": {"name": name, "labels": {TENANT_LABEL: name}}}))
    for role in ROLES:
        api.must(binding("robots", role, f"gpu-tenancy-{role}", role))
    eventually(
        lambda: all(may(api, user, "get", "pods") for user in (*ROLES, OPERATOR_USER)), "their roles are in force"
    )
    yield api
    uninstall(cluster)


def binding(namespace: str, name: str, role: str, user: str) -> Call:
    reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}
    subjects = [{"apiGroup": RBAC, "kind": "User", "name": user}]
    return create(ROLE_BINDING, {"metadata": {"name": name}, "roleRef": reference, "subjects": subjects}, namespace)


def render(cluster: ControlPlane, *options: str, chart: str = CHART) -> list[dict[str, Any]]:
    text = _rendered(cluster, chart, *options)
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]


@cache
def _rendered(cluster: ControlPlane, chart: str, *options: str) -> str:
    return cluster.helm("template", OPERATOR, chart, "--namespace", SYSTEM_NAMESPACE, *options)


def kinds(documents: list[dict[str, Any]]) -> set[str]:
    return {document["kind"] for document in documents}


# What is rendered


@pytest.mark.parametrize("chart", [CHART, CRDS_CHART])
def test_helm_finds_nothing_to_complain_about(cluster: ControlPlane, chart: str) -> None:
    assert "0 chart(s) failed" in cluster.helm("lint", "--strict", chart)


@pytest.mark.parametrize("chart", [CHART, CRDS_CHART])
def test_charts_and_package_have_one_version(chart: str) -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    metadata = yaml.safe_load((Path(chart) / "Chart.yaml").read_text())
    assert (metadata["version"], metadata["appVersion"]) == (package, package)


@pytest.mark.parametrize(
    "value",
    [
        "unknown=1",
        "operator.unknown=1",
        "operator.replicas=many",
        "operator.image.digest=latest",
        "operator.env.GPU_TENANCY_HTTP_PORT=1",
        "policies.mutation=Sometimes",
        "clusterNetworkPolicies.mode=Sometimes",
        "clusterNetworkPolicies.priority=1001",
        "policies.schedulers={o'clock}",
    ],
)
def test_a_value_that_means_nothing_is_refused(cluster: ControlPlane, value: str) -> None:
    with pytest.raises(LocalClusterError, match="don't meet the specifications of the schema"):
        render(cluster, "--set", value)


def test_a_kubernetes_that_is_too_old_is_refused(cluster: ControlPlane) -> None:
    with pytest.raises(LocalClusterError, match="incompatible with Kubernetes"):
        render(cluster, "--kube-version", "1.33.9")


def test_an_operator_that_runs_elsewhere_leaves_roles_and_policies(cluster: ControlPlane) -> None:
    documents = render(cluster, "--set", "operator.enabled=false")
    assert kinds(render(cluster)) - kinds(documents) == {"Deployment", "PodDisruptionBudget", "Service"}
    assert {"ServiceAccount", "ClusterRole", "ValidatingAdmissionPolicy"} <= kinds(documents)


@pytest.mark.parametrize(
    ("options", "served"),
    [
        ([], False),
        (["--api-versions", f"{ADMISSION}/v1/MutatingAdmissionPolicy"], True),
        (["--set", "policies.mutation=Enabled"], True),
        (["--api-versions", f"{ADMISSION}/v1/MutatingAdmissionPolicy", "--set", "policies.mutation=Disabled"], False),
    ],
)
def test_the_mutation_comes_where_it_is_served_or_asked_for(
    cluster: ControlPlane, options: list[str], *, served: bool
) -> None:
    found = {"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"} & kinds(render(cluster, *options))
    assert len(found) == (2 if served else 0)


@pytest.mark.parametrize(
    ("options", "priority"),
    [
        ([], None),
        (["--api-versions", SEPARATION, "--set", "clusterNetworkPolicies.priority=0"], "0"),
        (["--set", "clusterNetworkPolicies.mode=Enabled"], "100"),
        (["--api-versions", SEPARATION, "--set", "clusterNetworkPolicies.mode=Disabled"], None),
    ],
)
def test_the_operator_writes_cluster_network_policies_and_may_only_where_they_are_served_or_asked_for(
    cluster: ControlPlane, options: list[str], priority: str | None
) -> None:
    documents = {(one["kind"], one["metadata"]["name"]): one for one in render(cluster, *options)}
    [container] = documents["Deployment", OPERATOR]["spec"]["template"]["spec"]["containers"]
    said = {one["name"]: one.get("value") for one in container["env"]}
    assert said.get("GPU_TENANCY_CLUSTER_NETWORK_POLICY_PRIORITY") == priority
    groups = [
        group for rule in documents["ClusterRole", "gpu-tenancy-operator"]["rules"] for group in rule["apiGroups"]
    ]
    assert groups.count("policy.networking.k8s.io") == (0 if priority is None else 1)


def test_an_image_is_named_by_registry_and_digest(cluster: ControlPlane) -> None:
    digest = "sha256:" + "0" * 64
    image = f"operator.image.registry=registry.example,operator.image.digest={digest}"
    documents = render(cluster, "--set", image)
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == f"registry.example/gpu-tenancy@{digest}"
    assert container["args"] == ["run"]


def test_the_policies_know_the_priorities_that_the_operator_gives_its_classes(cluster: ControlPlane) -> None:
    known = ", ".join(f"'{tier.value}': {priority}" for tier, priority in TIER_PRIORITY.items())
    assert f"{{{known}}}" in json.dumps(render(cluster))


def test_a_service_monitor_comes_only_when_asked_for(cluster: ControlPlane) -> None:
    assert "ServiceMonitor" not in kinds(render(cluster))
    assert "ServiceMonitor" in kinds(render(cluster, "--set", "metrics.serviceMonitor.enabled=true"))


def rules(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [rule for document in documents if document["kind"] in {"Role", "ClusterRole"} for rule in document["rules"]]


def test_no_role_has_a_wildcard_or_a_way_to_become_another(cluster: ControlPlane) -> None:
    for rule in rules(render(cluster)):
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]
        assert not {"escalate", "impersonate"} & set(rule["verbs"])
        if "bind" in rule["verbs"]:
            assert rule["resourceNames"] == [f"gpu-tenancy-{role}" for role in ROLES]


# What is installed


class TestInstalled:
    def test_the_operators_pods_obey_the_restricted_standard(self, installed: Api) -> None:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        installed.must(create(NAMESPACE, {"metadata": {"name": "restricted", "labels": labels}}))
        account = get(SERVICE_ACCOUNT, "default", "restricted")
        eventually(lambda: installed.send(account).accepted, "pods can be created")
        template = installed.must(get(DEPLOYMENT, OPERATOR, SYSTEM_NAMESPACE))["spec"]["template"]
        template["metadata"]["name"] = "probe"
        template["spec"]["serviceAccountName"] = "default"
        assert not installed.send(create(POD, template, "restricted"), dry_run=True).message
        template["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
        assert "violates PodSecurity" in installed.send(create(POD, template, "restricted"), dry_run=True).message

    def test_the_mutation_comes_with_an_api_server_that_serves_it(self, installed: Api) -> None:
        installed.must(get(MUTATION, "gpu-tenancy-placement"))

    @pytest.mark.parametrize("role", ROLES)
    @pytest.mark.parametrize("user", [OPERATOR_USER, "owner"])
    def test_the_tenants_roles_can_be_handed_out(self, installed: Api, user: str, role: str) -> None:
        assert not installed.send(binding("robots", "new", f"gpu-tenancy-{role}", "x"), user, dry_run=True).message

    @pytest.mark.parametrize(
        ("user", "role"),
        [
            *((OPERATOR_USER, role) for role in ("cluster-admin", "admin", "edit")),
            *(("owner", role) for role in ("cluster-admin", "admin", "edit", "gpu-tenancy-operator")),
        ],
    )
    def test_no_other_role_can_be_handed_out(self, installed: Api, user: str, role: str) -> None:
        answer = installed.send(binding("robots", "new", role, user), user, dry_run=True)
        assert "attempting to grant RBAC permissions not currently held" in answer.message

    def test_an_owner_makes_smaller_roles_and_no_larger_ones(self, installed: Api) -> None:
        def role(resource: str, verb: str) -> Call:
            rules = [{"apiGroups": [""], "resources": [resource], "verbs": [verb]}]
            return create(ROLE, {"metadata": {"name": "new"}, "rules": rules}, "robots")

        assert not installed.send(role("pods", "get"), "owner", dry_run=True).message
        answer = installed.send(role("resourcequotas", "patch"), "owner", dry_run=True)
        assert "attempting to grant RBAC permissions not currently held" in answer.message

    def test_an_editor_hands_out_nothing(self, installed: Api) -> None:
        answer = installed.send(binding("robots", "new", "gpu-tenancy-viewer", "x"), "editor", dry_run=True)
        assert 'cannot create resource "rolebindings"' in answer.message

    @pytest.mark.parametrize(
        ("user", "group", "resource", "verbs"),
        [
            (OPERATOR_USER, "", "namespaces", ("get", "list", "watch", "create", "patch", "delete")),
            (OPERATOR_USER, "", "pods/eviction", ("create",)),
            (OPERATOR_USER, GROUP, "industrialtenants/status", ("patch",)),
            ("owner", RBAC, "rolebindings", ALL),
            ("owner", RBAC, "roles", ALL),
            ("owner", GROUP, "gpureservations", ALL),
            ("editor", GROUP, "gpureservations", ALL),
            ("editor", GROUP, "tenantpeerings", ALL),
            ("editor", "", "pods", ALL),
            ("editor", "", "secrets", ALL),
            ("editor", "batch", "jobs", ALL),
            ("editor", "networking.k8s.io", "networkpolicies", ALL),
            ("editor", "networking.k8s.io", "ingresses", ALL),
            ("editor", "gateway.networking.k8s.io", "httproutes", ALL),
            ("reservation-user", GROUP, "gpureservations", ALL),
            ("reservation-user", "", "pods", ("get", "list", "watch")),
            ("reservation-user", "", "resourcequotas", ("get", "list", "watch")),
            ("editor", "resource.k8s.io", "resourceclaims", ALL),
            ("editor", "resource.k8s.io", "resourceclaimtemplates", ALL),
            ("viewer", "", "pods/log", ("get",)),
            ("viewer", "", "resourcequotas", ("get", "list", "watch")),
            ("viewer", GROUP, "gpureservations", ("get", "list", "watch")),
            ("viewer", GROUP, "tenantpeerings", ("get", "list", "watch")),
        ],
    )
    def test_who_may(self, installed: Api, user: str, group: str, resource: str, verbs: tuple[str, ...]) -> None:
        assert [verb for verb in verbs if not may(installed, user, verb, resource, group=group)] == []

    @pytest.mark.parametrize(
        ("user", "group", "resource", "verbs"),
        [
            (OPERATOR_USER, "", "secrets", ALL),
            (OPERATOR_USER, "", "configmaps", ALL),
            (OPERATOR_USER, "", "pods", ("create", "patch", "update")),
            (OPERATOR_USER, "", "pods/exec", ("create", "get")),
            (OPERATOR_USER, "", "serviceaccounts/token", ("create",)),
            (OPERATOR_USER, RBAC, "roles", WRITE),
            (OPERATOR_USER, RBAC, "clusterroles", WRITE),
            (OPERATOR_USER, GROUP, "industrialtenants", WRITE),
            (OPERATOR_USER, GROUP, "gpureservations", WRITE),
            (OPERATOR_USER, GROUP, "tenantpeerings", WRITE),
            (OPERATOR_USER, ADMISSION, "validatingadmissionpolicies", ("get", "watch", *WRITE)),
            (OPERATOR_USER, "coordination.k8s.io", "leases", ALL),
            ("owner", "", "namespaces", ("create", "update", "patch", "delete", "list")),
            ("owner", "", "nodes", ALL),
            ("owner", "", "resourcequotas", WRITE),
            ("owner", "", "limitranges", WRITE),
            ("owner", "", "bindings", ("create",)),
            ("owner", "", "pods/binding", ("create",)),
            ("owner", "", "pods/status", ("update", "patch")),
            ("owner", "", "services/status", ("update", "patch")),
            ("owner", "", "endpoints", WRITE),
            ("owner", "", "serviceaccounts/token", ("create",)),
            ("owner", "", "serviceaccounts", ("impersonate",)),
            ("owner", "", "persistentvolumes", ALL),
            ("owner", "discovery.k8s.io", "endpointslices", WRITE),
            ("owner", "apps", "daemonsets", WRITE),
            ("owner", "resource.k8s.io", "resourceclaims/status", ("update", "patch")),
            ("owner", "resource.k8s.io", "deviceclasses", ALL),
            ("owner", RBAC, "roles", ("escalate", "bind")),
            ("owner", "networking.k8s.io", "ingresses/status", ("update", "patch")),
            ("owner", "networking.k8s.io", "ingressclasses", ALL),
            ("owner", "gateway.networking.k8s.io", "gateways", ALL),
            ("owner", "gateway.networking.k8s.io", "referencegrants", ALL),
            ("owner", GROUP, "gpureservations/status", ("update", "patch")),
            ("owner", GROUP, "tenantpeerings/status", ("update", "patch")),
            ("owner", GROUP, "industrialtenants", ALL),
            ("editor", RBAC, "rolebindings", WRITE),
            ("editor", RBAC, "roles", WRITE),
            ("reservation-user", GROUP, "gpureservations/status", ("update", "patch")),
            ("reservation-user", "", "pods", WRITE),
            ("reservation-user", "", "pods/log", ("get",)),
            ("reservation-user", "", "configmaps", ALL),
            ("reservation-user", "", "secrets", ALL),
            ("reservation-user", "batch", "jobs", ALL),
            ("viewer", "", "secrets", ALL),
            ("viewer", "", "pods", WRITE),
            ("viewer", "", "pods/exec", ("create", "get")),
            ("viewer", GROUP, "gpureservations", WRITE),
            ("viewer", GROUP, "tenantpeerings", WRITE),
        ],
    )
    def test_who_may_not(self, installed: Api, user: str, group: str, resource: str, verbs: tuple[str, ...]) -> None:
        assert [verb for verb in verbs if may(installed, user, verb, resource, group=group)] == []

    @pytest.mark.parametrize("user", ROLES)
    def test_a_role_ends_at_the_tenants_namespace(self, installed: Api, user: str) -> None:
        assert may(installed, user, "get", "pods")
        assert not may(installed, user, "get", "pods", namespace="rivals")

    def test_the_operator_keeps_its_lease_in_its_own_namespace(self, installed: Api) -> None:
        lease = {"group": "coordination.k8s.io", "namespace": SYSTEM_NAMESPACE}
        assert all(may(installed, OPERATOR_USER, verb, "leases", **lease) for verb in ("get", "create", "patch"))


def may(api: Api, user: str, verb: str, resource: str, *, group: str = "", namespace: str = "robots") -> bool:
    """Ask the API server whether the user may do this to a `resource` or `resource/subresource` of the group."""
    plural, _, subresource = resource.partition("/")
    attributes = {
        "verb": verb,
        "group": group,
        "resource": plural,
        "subresource": subresource,
        "namespace": namespace,
    }
    review = api.must(create(ACCESS_REVIEW, {"spec": {"user": user, "resourceAttributes": attributes}}))
    return bool(review["status"]["allowed"])


# What is left behind


def ours(api: Api, *resources: Resource) -> set[str]:
    """List the charts' objects of these kinds that are there."""
    return {
        item["metadata"]["name"]
        for resource in resources
        for item in api.must(get(resource, ""))["items"]
        if item["metadata"]["name"].startswith(OPERATOR)
    }


def test_uninstalling_takes_the_chart_and_leaves_the_tenants(cluster: ControlPlane, api: Api) -> None:
    install(cluster)
    assert ours(api, FENCE, CLUSTER_ROLE)
    labels = {TENANT_LABEL: "staying"}
    api.must(create(NAMESPACE, {"metadata": {"name": "staying", "labels": labels}}))
    api.must(create(RESOURCE_QUOTA, {"metadata": {"name": "gpus"}, "spec": {"hard": {"pods": "1"}}}, "staying"))
    uninstall(cluster)
    assert ours(api, FENCE, MUTATION, CLUSTER_ROLE) == set()
    api.must(get(RESOURCE_QUOTA, "gpus", "staying"))


def test_enforcement_can_outlive_the_operator_and_be_taken_over_again(cluster: ControlPlane, api: Api) -> None:
    install(cluster, "--set", "keepOnUninstall=true")
    policies = ours(api, FENCE, MUTATION)
    uninstall(cluster)
    assert ours(api, FENCE, MUTATION) == policies
    assert ours(api, CLUSTER_ROLE) == {f"gpu-tenancy-{role}" for role in ROLES}
    install(cluster)
    uninstall(cluster)
    assert ours(api, FENCE, MUTATION, CLUSTER_ROLE) == set()


def test_the_crds_chart_ships_the_generated_files() -> None:
    generated = {path.name: path.read_text() for path in (ROOT / "crds").glob("*.yaml")}
    shipped = {path.name: path.read_text() for path in (Path(CRDS_CHART) / "files").glob("*.yaml")}
    assert shipped == generated, "run `make crds`"
    assert len(shipped) == len(KINDS)


def test_the_crds_chart_changes_nothing_but_an_annotation(cluster: ControlPlane) -> None:
    rendered = render(cluster, "--set", "crds.annotations.note=x", chart=CRDS_CHART)
    for document in rendered:
        assert document["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep", "note": "x"}
    generated = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert sorted(rendered, key=lambda document: document["metadata"]["name"]) == generated


def test_the_kinds_outlive_their_chart_unless_told_otherwise(cluster: ControlPlane, api: Api) -> None:
    names = {f"{kind.plural}.{GROUP}" for kind in KINDS}
    install(cluster, chart=CRDS_CHART, name="kinds")
    uninstall(cluster, "kinds")
    assert {item["metadata"]["name"] for item in api.must(get(CRD, ""))["items"]} == names
    install(cluster, "--set", "crds.keep=false", chart=CRDS_CHART, name="kinds")
    uninstall(cluster, "kinds")
    # The API server takes its time to finish the deletion of a kind, now and then minutes; that it goes is decided.
    kinds_left = api.must(get(CRD, ""))["items"]
    assert [item["metadata"]["name"] for item in kinds_left if "deletionTimestamp" not in item["metadata"]] == []
