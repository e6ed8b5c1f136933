"""What the steps of the demo work with: the control plane, the operator, and clients for the people who use them."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from gpu_tenancy.api import GPU_POOL, GPU_RESERVATION, GROUP, INDUSTRIAL_TENANT, KINDS, VERSION
from gpu_tenancy.demo.observe import PATIENCE, condition
from gpu_tenancy.demo.process import OperatorProcess
from gpu_tenancy.kube.auth import Credentials
from gpu_tenancy.kube.client import Client
from gpu_tenancy.kube.errors import ApiError
from gpu_tenancy.kube.resource import BUILT_IN, Resource
from gpu_tenancy.localcluster import ControlPlane

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from gpu_tenancy.demo.fleet import Batch

Object = dict[str, Any]

OPERATOR_NAMESPACE = "gpu-tenancy-system"
# The people of the demo, and the groups that the example's tenants name as owners and editors.
PEOPLE = {
    "robotics-owner": "robotics-owners",
    "robotics-engineer": "robotics-engineers",
    "automotive-engineer": "automotive-engineers",
    "university-researcher": "university-researchers",
}

DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment")
CUSTOM_RESOURCE = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
ADMISSION_POLICY = Resource(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False
)
OURS = {kind.kind: Resource(GROUP, VERSION, kind.plural, kind.kind, kind.namespaced) for kind in KINDS}
POOL, TENANT, RESERVATION = (OURS[kind.kind] for kind in (GPU_POOL, INDUSTRIAL_TENANT, GPU_RESERVATION))
RESOURCES = BUILT_IN.with_(DEPLOYMENT, *OURS.values())


class World:
    """The demo's cluster; as a context manager it ends whatever was started in it.

    Args:
        data_dir: where everything that it writes goes.
        batches: the nodes that are simulated.
        kubernetes: the minor version.
        say: told what is going on within a step.
    """

    def __init__(self, data_dir: Path, batches: Sequence[Batch], kubernetes: str, say: Callable[[str], None]) -> None:
        self.batches = batches
        self.say = say
        self.control_plane = ControlPlane(data_dir / "control-plane", kubernetes=kubernetes)
        self.operator_log = data_dir / "operator.log"
        self._operator: OperatorProcess | None = None
        self._clients: dict[str, Client] = {}
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._closing.aclose()
        if self._operator is not None:
            self._operator.stop()
        await asyncio.to_thread(self.control_plane.stop)

    @property
    def operator(self) -> OperatorProcess:
        """The operator's process, with a kubeconfig of the service account that the chart made."""
        if self._operator is None:
            self._operator = OperatorProcess(self.control_plane.kubeconfig_for("operator"), self.operator_log)
        return self._operator

    @property
    def admin(self) -> Client:
        """The API server as its administrator sees it."""
        return self._client("admin", lambda: self.control_plane.kubeconfig_for("admin"))

    def person(self, name: str) -> Client:
        """The API server as someone of a tenant sees it."""
        return self._client(name, lambda: self.kubeconfig(name))

    def kubeconfig(self, name: str) -> Path:
        """Write the kubeconfig of someone of a tenant: a client certificate with their name and group."""
        return self.control_plane.kubeconfig(name, [PEOPLE[name]])

    def _client(self, name: str, kubeconfig: Callable[[], Path]) -> Client:
        if name not in self._clients:
            client = Client(Credentials.from_kubeconfig(kubeconfig()), field_manager="gpu-tenancy-demo")
            self._closing.push_async_callback(client.close)
            self._clients[name] = client
        return self._clients[name]

    async def create(self, manifest: Object, *, by: Client | None = None) -> Object:
        """Create an object, as the administrator unless told otherwise, as soon as its quotas have been counted."""
        resource = RESOURCES.of(manifest["apiVersion"], manifest["kind"])
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return await (by or self.admin).create(resource, manifest)
            except ApiError as error:
                uncounted = error.is_conflict or "status unknown for quota" in error.message
                if not uncounted or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.1)

    async def list(
        self, resource: Resource, namespace: str = "", *, labels: str = "", by: Client | None = None
    ) -> list[Object]:
        """List objects, as the administrator unless told otherwise."""
        pages = (by or self.admin).list(resource, namespace, label_selector=labels)
        return [item async for page in pages for item in page.items]

    async def condition(
        self, resource: Resource, name: str, kind: str, *, namespace: str = "", status: str = "True", reason: str = ""
    ) -> Mapping[str, Any]:
        """Read an object's condition.

        Raises:
            NotYet: it is not so.
        """
        return condition(await self.admin.get(resource, name, namespace), kind, status=status, reason=reason)
