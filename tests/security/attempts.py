"""What people try that is more than one request: to ask for all rights, to have pods made for them, to connect."""

from __future__ import annotations

import contextlib
import copy
import re
import secrets
import time
from typing import TYPE_CHECKING

from cluster.operating import PATIENCE, eventually
from cluster.policy_scenarios import RBAC, binds, create, new
from cluster.rest import delete, get
from gpu_tenancy.domain.naming import MANAGED_BY_LABEL, OPERATOR
from gpu_tenancy.kube.resource import (
    EVENT,
    JOB,
    NAMESPACE,
    NETWORK_POLICY,
    POD,
    RESOURCE_QUOTA,
    ROLE_BINDING,
    Resource,
)
from netpol import Address, Network, Pod
from security.check import accepted, refused
from security.world import CLUSTER_ROLE, MALLORY, OWN, RIVALS, complete

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.rest import Answer, Call
    from netpol import Peer
    from security.check import Attempt
    from security.world import World

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
WRITE = ("create", "update", "patch", "delete", "deletecollection")
DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment")
STATEFUL_SET = Resource("apps", "v1", "statefulsets", "StatefulSet")
_REVIEW = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)
# Everybody may ask what they themselves may do.
_EVERYBODYS = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"}


def may(user: str, verb: str, group: str, resource: str, namespace: str = "", *, name: str = "") -> Attempt:
    """Ask the API server whether somebody may do something; without a namespace, in all of them."""
    plural, _, subresource = resource.partition("/")
    attributes = {"verb": verb, "group": group, "resource": plural, "subresource": subresource, "name": name}

    def attempt(world: World) -> list[Answer]:
        body = {"spec": {"resourceAttributes": attributes | {"namespace": namespace}}}
        if world.api.must(create(_REVIEW, body), user)["status"]["allowed"]:
            return [accepted()]
        return [refused(f'User "{user}" cannot {verb} resource "{resource}" in API group "{group}"')]

    return attempt


def every(*attempts: Attempt) -> Attempt:
    """Make several attempts."""
    return lambda world: [answer for attempt in attempts for answer in attempt(world)]


def all_in_cluster(user: str) -> Attempt:
    """Ask for each verb on each resource outside namespaces."""
    return lambda world: [
        answer
        for group, plural in world.cluster_resources
        if plural not in _EVERYBODYS
        for verb in VERBS
        for answer in may(user, verb, group, plural)(world)
    ]


def all_in(user: str, namespace: str) -> Attempt:
    """Ask for each verb on each resource in a namespace."""
    return lambda world: [
        answer
        for group, plural in world.namespaced_resources
        if plural not in _EVERYBODYS | {"localsubjectaccessreviews"}
        for verb in VERBS
        for answer in may(user, verb, group, plural, namespace)(world)
    ]


def all_deleted(user: str, namespace: str, *resources: Resource) -> Attempt:
    """Delete everything that the operator made in a namespace."""
    return lambda world: [
        world.send(delete(resource, item["metadata"]["name"], namespace), user)
        for resource in resources
        for item in world.api.must(get(resource, "", namespace))["items"]
        if item["metadata"].get("labels", {}).get(MANAGED_BY_LABEL) == OPERATOR
    ]


def unlimited(user: str, namespace: str, quota: str, *keys: str) -> Attempt:
    """Read, as somebody of the tenant, whether a quota limits these."""

    def attempt(world: World) -> list[Answer]:
        items = world.api.must(get(RESOURCE_QUOTA, "", namespace), user)["items"]
        counted = {key for item in items if "hard" in item.get("status", {}) for key in item["status"]["hard"]}
        return [refused(f"exceeded quota: {quota}, {key}") if key in counted else accepted() for key in keys]

    return attempt


def from_template(resource: Resource, user: str, pod: Call) -> Attempt:
    """Have a controller make the pod, for real, and wait for the pod or for the controller's complaint."""

    def attempt(world: World) -> list[Answer]:
        name = f"template-{secrets.token_hex(3)}"
        body = complete(copy.deepcopy(pod.body), pod.namespace, fill=not world.mutation)
        template = {"metadata": {"labels": {**body["metadata"]["labels"], "app": name}}, "spec": body["spec"]}
        if resource == JOB:
            template["spec"]["restartPolicy"] = "Never"
            spec = {"template": template, "backoffLimit": 0}
        else:
            spec = {"template": template, "selector": {"matchLabels": {"app": name}}}
        if resource == STATEFUL_SET:
            spec["serviceName"] = name
        created = world.api.send(create(resource, new(name) | {"spec": spec}, pod.namespace), user)
        if not created.accepted:
            return [created]
        try:
            return [_made(world, pod.namespace, name)]
        finally:
            world.api.must(delete(resource, name, pod.namespace))

    return attempt


def _made(world: World, namespace: str, name: str) -> Answer:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if any(one["metadata"]["name"].startswith(name) for one in world.api.must(get(POD, "", namespace))["items"]):
            return accepted()
        for event in world.api.must(get(EVENT, "", namespace))["items"]:
            # A controller that met another's count of a quota tries again.
            final = event["reason"] == "FailedCreate" and "try again" not in event["note"]
            if final and event["regarding"]["name"].startswith(name):
                return refused(event["note"])
        time.sleep(0.1)
    return refused("neither a pod nor a complaint")


def landed(user: str, call: Call, *path: str) -> Attempt:
    """Write an object with a field that must not be taken over, and look whether it was."""

    def attempt(world: World) -> list[Answer]:
        answer = world.send(call, user)
        found = answer.body
        for key in path:
            found = found.get(key, {})
        return [answer if not answer.accepted or found else refused(f"{'.'.join(path)} is dropped")]

    return attempt


def unpulled(user: str, *pods: Call) -> Attempt:
    """Run pods whose first container's image is not pulled, and look whether that stays."""

    def attempt(world: World) -> list[Answer]:
        answers = [world.send(one, user) for one in pods]
        pulled = [one.accepted and one.body["spec"]["containers"][0]["imagePullPolicy"] == "Always" for one in answers]
        return [
            refused("imagePullPolicy is changed") if changed else answer
            for answer, changed in zip(answers, pulled, strict=True)
        ]

    return attempt


def connects(source: Peer, *targets: Peer, port: int = 443) -> Attempt:
    """Judge by the rules of NetworkPolicies, as read back from the API server, whether connections come about."""

    def attempt(world: World) -> list[Answer]:
        namespaces = world.api.must(get(NAMESPACE, ""))["items"]
        policies = tuple(
            item for name in (OWN, RIVALS) for item in world.api.must(get(NETWORK_POLICY, "", name))["items"]
        )
        labels = {item["metadata"]["name"]: item["metadata"]["labels"] for item in namespaces}
        network = Network(labels, policies)
        return [
            accepted()
            if network.allows(source, target, port)
            else refused(f"{target}: no network policy lets it through")
            for target in targets
        ]

    return attempt


def waits_with_tenants(user: str) -> Attempt:
    """Make a request in somebody's name, and look whether the API server put it in a line of its own."""
    dispatched = re.compile(
        r"^apiserver_flowcontrol_dispatched_requests_total{flow_schema=\"gpu-tenancy\",.*} (\d+)$", re.MULTILINE
    )

    def count(world: World) -> int:
        return sum(map(int, dispatched.findall(world.control_plane.kubectl("get", "--raw", "/metrics"))))

    def attempt(world: World) -> list[Answer]:
        before = count(world)
        world.api.must(get(RESOURCE_QUOTA, "", OWN), user)
        return [refused("FlowSchema gpu-tenancy has it wait elsewhere") if count(world) > before else accepted()]

    return attempt


def after_an_addon_widened(roles: Sequence[str], asks: Attempt) -> Attempt:
    """Ask for something after an add-on installed a role that built-in roles gather up, and they have."""
    labels = {f"{RBAC}/aggregate-to-{role}": "true" for role in roles}
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    gains = [may(f"somebody-with-{role}", "create", "", "resourcequotas", "default") for role in roles]

    def attempt(world: World) -> list[Answer]:
        bindings = [create(ROLE_BINDING, new(role) | binds(f"somebody-with-{role}", role), "default") for role in roles]
        addon = create(CLUSTER_ROLE, new("an-addon", **labels) | {"rules": rules})
        with contextlib.ExitStack() as stack:
            for call in (*bindings, addon):
                world.api.must(call)
                undo = delete(call.resource, call.body["metadata"]["name"], call.namespace)
                stack.callback(world.api.must, undo)
            for gain in gains:
                eventually(lambda gain=gain: gain(world)[0].accepted)
            return asks(world)

    return attempt


def pods_of(namespace: str) -> Pod:
    return Pod(namespace)


def addresses(*ips: str) -> Sequence[Peer]:
    return [Address(ip) for ip in ips]


MAY_RUN_PODS = may(MALLORY, "create", "", "pods", OWN)
