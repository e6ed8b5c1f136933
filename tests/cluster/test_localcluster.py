"""The embedded control plane starts, knows its users, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from typer.testing import CliRunner

from gpu_tenancy.cli.main import app
from gpu_tenancy.localcluster import ControlPlane, LocalClusterError, nodes
from gpu_tenancy.localcluster.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpu_tenancy.localcluster.processes import ProcessId

READY_WITHIN = 10.0
PARTS = {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"}
STARTER = """
import sys, time
from pathlib import Path
from gpu_tenancy.localcluster import ControlPlane
ControlPlane(Path(sys.argv[1]), detached=len(sys.argv) > 2).start()
print("ready", flush=True)
time.sleep(600)
"""


def eventually(condition: Callable[[], Any], within: float = 60.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def processes(data_dir: Path) -> list[ProcessId]:
    state = State.load(data_dir)
    assert state is not None
    assert set(state.components) == PARTS
    return [state.supervisor, *(child.process for child in state.components.values())]


def start_elsewhere(data_dir: Path, *options: str) -> subprocess.Popen[str]:
    """Start a control plane from another process."""
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(data_dir), *options], stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    assert starter.stdout.readline() == "ready\n"
    return starter


def crowd() -> float:
    """Say how many times longer it takes where other work takes the processors; the load tells only after a minute."""
    running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])
    return max(1.0, max(running, os.getloadavg()[0]) / len(os.sched_getaffinity(0)))


def kill(starter: subprocess.Popen[str]) -> None:
    starter.kill()
    starter.communicate()


def assert_all_end(started: list[ProcessId]) -> None:
    """See processes end by themselves; those that do not are ended, supervisor first, so that a failure leaves none."""
    try:
        eventually(lambda: not any(process.alive for process in started))
    finally:
        for process in started:
            process.send(signal.SIGKILL)


def get(control_plane: ControlPlane, *args: str) -> Any:
    return json.loads(control_plane.kubectl("get", *args, "--output=json"))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane beside the shared one, for tests that hurt it."""
    with ControlPlane(tmp_path_factory.mktemp("own")) as running:
        yield running


# Its life.


def test_it_is_ready_in_time_and_nothing_of_it_is_left_after_the_block(tmp_path: Path) -> None:
    began = time.monotonic()
    with ControlPlane(tmp_path / "cluster") as running:
        assert time.monotonic() - began < READY_WITHIN * crowd()
        running.kubectl("run", "probe", "--image=none")
        started = processes(running.data_dir)
        assert all(process.alive for process in started)
    assert not any(process.alive for process in started)


def test_a_killed_owner_takes_everything_along(tmp_path: Path) -> None:
    starter = start_elsewhere(tmp_path)
    started = processes(tmp_path)
    assert all(process.alive for process in started)
    kill(starter)
    assert_all_end(started)


def test_a_killed_supervisor_takes_everything_along(tmp_path: Path) -> None:
    starter = start_elsewhere(tmp_path)
    supervisor, *children = processes(tmp_path)
    supervisor.send(signal.SIGKILL)
    kill(starter)
    assert_all_end(children)


def test_a_detached_one_outlives_its_starter_until_it_is_stopped_from_anywhere(tmp_path: Path) -> None:
    kill(start_elsewhere(tmp_path, "detached"))
    started = processes(tmp_path)
    try:
        time.sleep(1)
        assert all(process.alive for process in started)
        status = CliRunner().invoke(app, ["localcluster", "status", "--data-dir", str(tmp_path), "-o", "json"])
        assert status.exit_code == 0
        assert json.loads(status.stdout)["phase"] == "ready"
    finally:
        down = CliRunner().invoke(app, ["localcluster", "down", "--data-dir", str(tmp_path), "--delete-data"])
    assert down.exit_code == 0, down.output
    assert not any(process.alive for process in started)
    assert not tmp_path.exists()


def test_several_run_side_by_side_and_know_nothing_of_each_other(
    control_plane: ControlPlane, own: ControlPlane
) -> None:
    assert control_plane.url != own.url
    own.kubectl("create", "namespace", "only-here")
    with pytest.raises(LocalClusterError, match="not found"):
        control_plane.kubectl("get", "namespace", "only-here")
    foreign = own.kubeconfig("admin", ["system:masters"])
    with pytest.raises(LocalClusterError, match=r"certificate signed by unknown authority|x509"):
        control_plane.kubectl(f"--server={control_plane.url}", "get", "nodes", kubeconfig=foreign)


def test_it_is_not_started_twice_in_one_folder(own: ControlPlane) -> None:
    before = own.url
    with pytest.raises(LocalClusterError, match="already running"):
        ControlPlane(own.data_dir).start()
    assert own.url == before
    own.kubectl("get", "nodes")


def test_started_again_it_has_the_same_objects_users_and_address(tmp_path: Path) -> None:
    with ControlPlane(tmp_path) as first:
        first.kubectl("create", "namespace", "kept")
        first.kubectl("create", "clusterrolebinding", "anna", "--clusterrole=view", "--user=anna")
        url, anna = first.url, first.kubeconfig("anna")
    with ControlPlane(tmp_path) as second:
        assert second.url == url
        second.kubectl("get", "namespace", "kept", kubeconfig=anna)


def test_a_part_that_fails_at_the_start_is_named_with_its_last_words_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / "etcd").write_text("not a folder")
    with pytest.raises(LocalClusterError, match=r"(?s)etcd ended while starting.*not a directory"):
        ControlPlane(tmp_path).start()
    state = State.load(tmp_path)
    assert state is not None
    assert not any(child.process.alive for child in state.components.values())


@pytest.mark.parametrize("part", ["etcd", "kube-controller-manager", "kwok"])
def test_a_part_that_dies_is_started_again(own: ControlPlane, part: str) -> None:
    def child() -> Any:
        assert own.state is not None
        return own.state.components[part]

    before = child()
    before.process.send(signal.SIGKILL)
    eventually(lambda: child().restarts > before.restarts and child().process.alive)
    eventually(own._ready)


def test_the_api_server_comes_back_at_the_same_address(own: ControlPlane) -> None:
    url = own.url
    own.restart_api_server()
    assert own.url == url
    own.kubectl("get", "nodes")


def test_other_users_of_the_machine_cannot_read_its_secrets(control_plane: ControlPlane) -> None:
    assert control_plane.kubeconfig_for("admin").stat().st_mode & 0o077 == 0
    for folder in ("pki", "kubeconfigs", "etcd"):
        assert (control_plane.data_dir / folder).stat().st_mode & 0o077 == 0


def test_nothing_listens_but_the_api_server_on_loopback(control_plane: ControlPlane) -> None:
    """Look for the listening sockets of every process of the control plane."""
    state = control_plane.state
    assert state is not None
    listening = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table) as lines:  # noqa: PTH123  # a kernel interface, not a file
            rows = [line.split() for line in list(lines)[1:]]
        listening |= {row[9]: row[1] for row in rows if row[3] == "0A"}
    found = {}
    for name, child in state.components.items():
        folder = f"/proc/{child.process.pid}/fd"
        links = []
        for number in os.listdir(folder):  # noqa: PTH208  # as above
            with suppress(FileNotFoundError):  # closed meanwhile
                links.append(os.readlink(f"{folder}/{number}"))  # noqa: PTH115  # as above
        inodes = [link[8:-1] for link in links if link.startswith("socket:[")]
        addresses = {listening[inode] for inode in inodes if inode in listening}
        if addresses:
            found[name] = addresses
    assert found == {"kube-apiserver": {f"0100007F:{state.port:04X}"}}


# Its users.


def whoami(control_plane: ControlPlane, kubeconfig: Path) -> Any:
    return json.loads(control_plane.kubectl("auth", "whoami", "--output=json", kubeconfig=kubeconfig))["status"][
        "userInfo"
    ]


def test_a_user_certificate_gives_its_user_and_groups(control_plane: ControlPlane) -> None:
    user = whoami(control_plane, control_plane.kubeconfig("anna", ["neura-admins"]))
    assert user["username"] == "anna"
    assert user["groups"] == ["neura-admins", "system:authenticated"]


def test_users_of_similar_names_have_files_of_their_own(control_plane: ControlPlane) -> None:
    one, other = control_plane.kubeconfig("a/b"), control_plane.kubeconfig("a_b")
    assert whoami(control_plane, one)["username"] == "a/b"
    assert whoami(control_plane, other)["username"] == "a_b"


def may(control_plane: ControlPlane, *arguments: str, **options: Any) -> bool:
    """Ask the API server, which knows of a binding a moment after it was made; kubectl fails if the answer is no."""
    with suppress(LocalClusterError):
        return "yes" in control_plane.kubectl("auth", "can-i", *arguments, **options)
    return False


def test_a_user_may_do_only_what_is_granted(control_plane: ControlPlane) -> None:
    stranger = control_plane.kubeconfig("stranger", ["strangers"])
    with pytest.raises(LocalClusterError, match="forbidden"):
        control_plane.kubectl("get", "nodes", kubeconfig=stranger)
    control_plane.kubectl("create", "clusterrole", "see-nodes", "--verb=list", "--resource=nodes")
    control_plane.kubectl("create", "clusterrolebinding", "strangers", "--clusterrole=see-nodes", "--group=strangers")
    eventually(lambda: may(control_plane, "list", "nodes", "--as=x", "--as-group=strangers"))
    control_plane.kubectl("get", "nodes", kubeconfig=stranger)


def test_a_service_account_is_reached_by_a_token_that_can_be_renewed(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "namespace", "robots")
    control_plane.kubectl("create", "serviceaccount", "robot", "--namespace=robots")
    path = control_plane.kubeconfig_for_service_account("robots", "robot")
    token_file = yaml.safe_load(path.read_text())["users"][0]["user"]["tokenFile"]
    with open(token_file) as file:  # noqa: PTH123  # a name from a file
        first = file.read()
    assert whoami(control_plane, path)["username"] == "system:serviceaccount:robots:robot"
    assert control_plane.kubeconfig_for_service_account("robots", "robot") == path
    with open(token_file) as file:  # noqa: PTH123  # a name from a file
        assert file.read() != first


def test_the_operators_role_is_the_charts_service_account(own: ControlPlane) -> None:
    with pytest.raises(LocalClusterError, match="install the chart first"):
        own.kubeconfig_for("operator")
    own.kubectl("create", "namespace", "gpu-tenancy-system")
    own.kubectl("create", "serviceaccount", "gpu-tenancy", "--namespace=gpu-tenancy-system")
    operator = own.kubeconfig_for("operator")
    assert whoami(own, operator)["username"] == "system:serviceaccount:gpu-tenancy-system:gpu-tenancy"
    with pytest.raises(LocalClusterError, match="forbidden"):
        own.kubectl("get", "secrets", "--all-namespaces", kubeconfig=operator)


def test_a_kubelet_cannot_give_itself_labels_that_decide_placement(control_plane: ControlPlane) -> None:
    asyncio.run(nodes.add(control_plane, model="cpu", count=1, region="kubelet"))
    control_plane.kubectl(
        "create", "clusterrolebinding", "kubelets", "--clusterrole=system:node", "--group=system:nodes"
    )
    kubelet = control_plane.kubeconfig("system:node:kubelet-cpu-0001", ["system:nodes"])
    command = ("label", "node", "kubelet-cpu-0001", "--overwrite")
    eventually(lambda: may(control_plane, "patch", "nodes", kubeconfig=kubelet))
    control_plane.kubectl(*command, "harmless=true", kubeconfig=kubelet)
    with pytest.raises(LocalClusterError, match=r"is not allowed to modify labels.*node-restriction"):
        control_plane.kubectl(*command, "gpu-tenancy.node-restriction.kubernetes.io/pool=b200", kubeconfig=kubelet)


def test_helm_reaches_the_control_plane(control_plane: ControlPlane) -> None:
    assert json.loads(control_plane.helm("list", "--all-namespaces", "--output=json")) is not None


def test_the_command_line_writes_a_kubeconfig_for_a_tenants_user(control_plane: ControlPlane, tmp_path: Path) -> None:
    file = tmp_path / "berta.yaml"
    folder = str(control_plane.data_dir)
    written = CliRunner().invoke(
        app,
        [
            "localcluster",
            "kubeconfig",
            "--data-dir",
            folder,
            "--role",
            "tenant",
            "--user",
            "berta",
            "--group",
            "neura-users",
            "--group",
            "neura-admins",
            "--namespace",
            "kube-public",
            "--write",
            str(file),
        ],
    )
    assert written.exit_code == 0, written.output
    assert file.stat().st_mode & 0o077 == 0
    assert whoami(control_plane, file)["groups"] == ["neura-users", "neura-admins", "system:authenticated"]
    assert yaml.safe_load(file.read_text())["contexts"][0]["context"]["namespace"] == "kube-public"


# Its nodes and pods.


def test_trays_form_cliques_of_18_and_numbers_count_on(control_plane: ControlPlane) -> None:
    first = asyncio.run(nodes.add(control_plane, model="dgx-gb200", count=20, region="cliques"))
    second = asyncio.run(nodes.add(control_plane, model="dgx-gb200", count=16, region="cliques"))
    assert (first[0], first[-1]) == ("cliques-dgx-gb200-0001", "cliques-dgx-gb200-0020")
    assert (second[0], second[-1]) == ("cliques-dgx-gb200-0021", "cliques-dgx-gb200-0036")
    there = get(control_plane, "nodes", "--selector=topology.kubernetes.io/region=cliques")["items"]
    cliques = [node["metadata"]["labels"]["nvidia.com/gpu.clique"] for node in there]
    assert sorted(cliques.count(clique) for clique in set(cliques)) == [18, 18]
    for node in there:
        assert node["metadata"]["labels"]["kubernetes.io/arch"] == "arm64"
        assert node["status"]["allocatable"]["nvidia.com/gpu"] == "4"
        assert {c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready"} == {"True"}


def test_the_command_line_adds_nodes_and_names_them_for_programs(control_plane: ControlPlane) -> None:
    command = ["localcluster", "nodes", "add", "--data-dir", str(control_plane.data_dir), "--model", "rtx-pro"]
    added = CliRunner().invoke(
        app,
        [*command, "--count", "2", "--region", "by-hand", "--zone", "by-hand-1", "--mig", "all-1g.24gb", "-o", "json"],
    )
    assert added.exit_code == 0, added.output
    assert json.loads(added.stdout) == {"nodes": ["by-hand-rtx-pro-0001", "by-hand-rtx-pro-0002"]}
    node = get(control_plane, "node", "by-hand-rtx-pro-0001")
    assert node["metadata"]["labels"]["topology.kubernetes.io/zone"] == "by-hand-1"
    assert node["status"]["allocatable"]["nvidia.com/mig-1g.24gb"] == "32"
    assert "nvidia.com/gpu" not in node["status"]["allocatable"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "abacus"}, "no model"),
        ({"region": "EU"}, "not a region"),
        ({"mig": "all-1g.10gb"}, "no MIG layout"),
        ({"zone": "not a zone"}, "was refused"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_nodes_that_cannot_be_are_refused(control_plane: ControlPlane, arguments: dict[str, str], message: str) -> None:
    wanted: dict[str, Any] = {"model": "dgx-b200", "count": 3, "region": "refused", **arguments}
    with pytest.raises(LocalClusterError, match=message):
        asyncio.run(nodes.add(control_plane, **wanted))
    assert get(control_plane, "nodes", "--selector=topology.kubernetes.io/region=refused")["items"] == []


@pytest.fixture(scope="module")
def life(control_plane: ControlPlane) -> str:
    """A namespace, and a region of the same name with one node of 8 GPUs."""
    asyncio.run(nodes.add(control_plane, model="dgx-b200", count=1, region="life"))
    control_plane.kubectl("create", "namespace", "life")
    eventually(lambda: get(control_plane, "serviceaccounts", "--namespace=life")["items"])
    return "life"


def pod_spec(gpus: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "nodeSelector": {"topology.kubernetes.io/region": "life"},
        "terminationGracePeriodSeconds": 3,
        "containers": [{"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": gpus}}}],
        **fields,
    }


def create(
    control_plane: ControlPlane, kind: str, name: str, spec: Any, annotations: dict[str, str] | None = None
) -> None:
    version = {"Job": "batch/v1"}.get(kind, "v1")
    metadata = {"name": name, "namespace": "life", "annotations": annotations or {}}
    manifest = {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
    control_plane.kubectl("create", "--filename=-", input=json.dumps(manifest))


def pod(control_plane: ControlPlane, name: str) -> Any:
    return get(control_plane, "pod", name, "--namespace=life")


def test_a_pod_runs_on_a_node_with_its_gpus_and_no_more_than_there_are(control_plane: ControlPlane, life: str) -> None:
    create(control_plane, "Pod", "fits", pod_spec(gpus=6))
    eventually(lambda: pod(control_plane, "fits")["status"]["phase"] == "Running")
    running = pod(control_plane, "fits")
    assert running["spec"]["nodeName"] == f"{life}-dgx-b200-0001"
    assert {c["type"] for c in running["status"]["conditions"] if c["status"] == "True"} >= {"Ready", "Initialized"}
    assert running["status"]["containerStatuses"][0]["state"]["running"]
    create(control_plane, "Pod", "too-many", pod_spec(gpus=3))
    control_plane.kubectl(
        "wait", "pod/too-many", f"--namespace={life}", "--for=condition=PodScheduled=False", "--timeout=60s"
    )
    control_plane.kubectl("delete", "pod", "fits", "too-many", f"--namespace={life}")


def test_a_pod_ends_when_asked_unless_it_ignores_that_until_its_grace_is_over(
    control_plane: ControlPlane, life: str
) -> None:
    create(control_plane, "Pod", "polite", pod_spec(terminationGracePeriodSeconds=120))
    create(control_plane, "Pod", "stubborn", pod_spec(), {"simulation.gpu-tenancy.dev/ignores-sigterm": "true"})
    took = {}
    for name in ("polite", "stubborn"):
        eventually(lambda name=name: pod(control_plane, name)["status"]["phase"] == "Running")
        began = time.monotonic()
        control_plane.kubectl("delete", "pod", name, f"--namespace={life}")
        took[name] = time.monotonic() - began
    assert took["polite"] < 60, "long before its grace is over"
    assert 2 < took["stubborn"] < 60


def test_a_pod_with_a_finalizer_has_ended_but_stays(control_plane: ControlPlane, life: str) -> None:
    create(control_plane, "Pod", "held", pod_spec())
    control_plane.kubectl(
        "patch", "pod", "held", f"--namespace={life}", '--patch={"metadata":{"finalizers":["example.com/hold"]}}'
    )
    control_plane.kubectl("delete", "pod", "held", f"--namespace={life}", "--wait=false")
    eventually(lambda: pod(control_plane, "held")["status"]["phase"] == "Failed")
    assert pod(control_plane, "held")["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143
    control_plane.kubectl("patch", "pod", "held", f"--namespace={life}", '--patch={"metadata":{"finalizers":null}}')
    control_plane.kubectl("wait", "pod/held", f"--namespace={life}", "--for=delete", "--timeout=60s")


def test_a_job_completes_after_the_time_that_its_pods_name(control_plane: ControlPlane, life: str) -> None:
    template = {
        "metadata": {"annotations": {"simulation.gpu-tenancy.dev/run-for": "1s"}},
        "spec": pod_spec(restartPolicy="Never"),
    }
    create(control_plane, "Job", "short", {"completions": 2, "parallelism": 2, "template": template})
    control_plane.kubectl("wait", "job/short", f"--namespace={life}", "--for=condition=Complete", "--timeout=60s")


def test_a_suspended_job_gives_its_gpus_back_and_resumes(control_plane: ControlPlane, life: str) -> None:
    create(control_plane, "Job", "long", {"template": {"spec": pod_spec(gpus=8, restartPolicy="Never")}})

    def active() -> int:
        status = get(control_plane, "job", "long", f"--namespace={life}")["status"]
        return int(status.get("ready", 0))

    eventually(lambda: active() == 1)
    control_plane.kubectl("patch", "job", "long", f"--namespace={life}", '--patch={"spec":{"suspend":true}}')
    eventually(lambda: not get(control_plane, "pods", f"--namespace={life}", "--selector=job-name=long")["items"])
    control_plane.kubectl("patch", "job", "long", f"--namespace={life}", '--patch={"spec":{"suspend":false}}')
    eventually(lambda: active() == 1)
    assert "failed" not in get(control_plane, "job", "long", f"--namespace={life}")["status"]
    control_plane.kubectl("delete", "job", "long", f"--namespace={life}")


def test_a_node_that_is_made_unready_stays_so(control_plane: ControlPlane, life: str) -> None:
    asyncio.run(nodes.add(control_plane, model="rtx-pro", count=1, region=life))
    name = f"{life}-rtx-pro-0001"
    broken = {"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "made so by a test"}
    patch = json.dumps({"status": {"conditions": [broken]}})
    control_plane.kubectl("patch", "node", name, "--subresource=status", f"--patch={patch}")
    time.sleep(2)
    ready = [c for c in get(control_plane, "node", name)["status"]["conditions"] if c["type"] == "Ready"]
    assert [(c["status"], c["reason"]) for c in ready] == [("False", "KubeletNotReady")]
