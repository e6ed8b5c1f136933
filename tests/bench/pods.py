"""What the policies add to the creation of a pod: the same pods, with the policies in force and without them in turn."""

from __future__ import annotations

import json
import statistics
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from bench.raw import Call, connect, post
from bench.site import POOLS, custom
from cluster.operating import PATIENCE
from gpu_tenancy.domain.naming import OPERATOR, POOL_LABEL, TIER_LABEL

if TYPE_CHECKING:
    from bench.raw import Manifest, Raw
    from bench.site import Site

_NAME = "pods"
_POOL = next(iter(POOLS))
_WARM = 20
_BINDINGS = "validatingadmissionpolicybindings,mutatingadmissionpolicybindings"
_SETTLE_SECONDS = 0.1
_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


class Created(NamedTuple):
    """Milliseconds that a pod took, the median of each batch: with the policies, and without."""

    fenced: list[float]
    unfenced: list[float]


def declare_tenant(site: Site) -> None:
    """Have a tenant whose pods these are."""
    grant = {"pool": _POOL, "spot": 100_000, "namespaces": [{"name": _NAME, "spot": 100_000}]}
    owners = [{"kind": "User", "name": _NAME, "role": "Editor"}]
    legal = {"legalName": "Pods GmbH"}
    namespaces = [{"name": _NAME}]
    tenant = custom("IndustrialTenant", _NAME, organization=legal, owners=owners, namespaces=namespaces, gpus=[grant])
    site.cluster.apply(tenant)
    site.cluster.until("itn", _NAME, "Ready", "True")


async def create_pods(site: Site, batches: int, size: int) -> Created:
    """Create batches of pods, one pod after the other, as the tenant's editor.

    The pods ask for GPUs, and never start: each is held back by a scheduling gate.

    Args:
        site: where the tenant is declared; no operator needs to run.
        batches: how many there are of each sort.
        size: how many pods are in one.
    """
    bindings = [
        one
        for one in json.loads(site.cluster.kubectl("get", _BINDINGS, "-o", "json"))["items"]
        if one["metadata"]["name"].startswith(f"{OPERATOR}-")
    ]
    created = Created([], [])
    async with connect(site.control_plane.kubeconfig(_NAME)) as editor:
        pod = await _complete(editor)
        await _create(editor, pod, "warm", _WARM)
        for batch in range(batches):
            # The second sort goes first in every other batch, so that what grows meanwhile concerns both.
            for fenced in (True, False) if batch % 2 == 0 else (False, True):
                await _fence(site, editor, pod, bindings, up=fenced)
                (created.fenced if fenced else created.unfenced).append(
                    await _create(editor, pod, f"{batch}-{fenced}".lower(), size)
                )
        await _fence(site, editor, pod, bindings, up=True)
    return created


async def _create(editor: Raw, pod: Manifest, name: str, size: int) -> float:
    taken = []
    for number in range(size):
        call = post(pod | {"metadata": pod["metadata"] | {"name": f"{name}-{number}"}})
        began = time.perf_counter()
        await editor.send([[call]], 1)
        taken.append((time.perf_counter() - began) * 1e3)
    return statistics.median(taken)


async def _complete(editor: Raw) -> Manifest:
    """Give a pod in which everything is filled in, so that it is the same with the policies and without."""
    answer = await editor.ask(_dry_run(_pod()))
    metadata = {key: answer["metadata"][key] for key in ("name", "namespace", "labels")}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": answer["spec"]}


async def _fence(site: Site, editor: Raw, pod: Manifest, bindings: list[dict[str, Any]], *, up: bool) -> None:
    """Put the policies in force or out of it, and wait until that has taken effect."""
    manifests = [
        {"apiVersion": one["apiVersion"], "kind": one["kind"], "metadata": {"name": one["metadata"]["name"]}}
        | {"spec": one["spec"]}
        for one in bindings
    ]
    arguments = ("apply", "-f", "-") if up else ("delete", "--ignore-not-found", "-f", "-")
    site.control_plane.kubectl(*arguments, input=yaml.safe_dump_all(manifests))
    deadline = time.monotonic() + PATIENCE
    while not (await _is_refused(editor, pod) is up and await _is_filled_in(editor) is up):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the policies are not {'in' if up else 'out of'} force after {PATIENCE:.0f} s")
        time.sleep(_SETTLE_SECONDS)  # noqa: ASYNC251  # there is nothing else to do


async def _is_refused(editor: Raw, pod: Manifest) -> bool:
    tolerations = [*pod["spec"]["tolerations"], {"operator": "Exists"}]
    wrong = pod | {"spec": pod["spec"] | {"tolerations": tolerations}}
    return (await editor.ask(_dry_run(wrong)))["kind"] == "Status"


async def _is_filled_in(editor: Raw) -> bool:
    return "priorityClassName" in (await editor.ask(_dry_run(_pod()))).get("spec", {})


def _dry_run(pod: Manifest) -> Call:
    call = post(pod)
    return call._replace(path=f"{call.path}?dryRun=All")


def _pod() -> Manifest:
    limits = {"nvidia.com/gpu": "1"}
    container = {"name": "main", "image": "example/image:1", "resources": {"limits": limits}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "namespace": _NAME, "labels": {POOL_LABEL: _POOL, TIER_LABEL: "spot"}},
        "spec": {
            "automountServiceAccountToken": False,
            "schedulingGates": [{"name": "bench.example/never"}],
            "containers": [container | {"securityContext": _RESTRICTED}],
        },
    }
