"""The control plane's programs are taken from where they fit, fetched with a checksum, or built."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from gpu_tenancy.localcluster import LocalClusterError, binaries, gobuild, releases
from gpu_tenancy.localcluster.versions import KUBERNETES, Program, cache_root, programs, released_version

if TYPE_CHECKING:
    from pathlib import Path

KUBERNETES_LINE = "Kubernetes v1.36.3"
LINES = {
    "kube-apiserver": KUBERNETES_LINE,
    "kube-controller-manager": KUBERNETES_LINE,
    "kube-scheduler": KUBERNETES_LINE,
    "kubectl": "Client Version: v1.36.3\nKustomize Version: v5.8.1",
    "etcd": "etcd Version: 3.6.5\nGit SHA: abc",
    "kwok": "kwok version v0.8.0 go1.26.8 (linux/amd64)",
    "helm": "v4.1.0+g1234",
}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


def put(folder: Path, name: str, prints: str, code: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{prints}'\nexit {code}\n")
    program.chmod(0o755)
    return program


def wanted(name: str) -> Program:
    return next(program for program in programs("1.36") if program.name == name)


def find(name: str, **environment: str) -> tuple[Path | None, str]:
    found, tried = binaries.find([wanted(name)], {"PATH": "", **environment})
    return found.get(name), "\n".join(tried)


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("Kubernetes v1.36.3", "1.36.3"),
        ("Client Version: v1.36.3", "1.36.3"),
        ("etcd Version: 3.7.3", "3.7.3"),
        ("kwok version v0.8.0 go1.26.8 (linux/amd64)", "0.8.0"),
        ("v4.3", "4.3"),
        ("v4.1.0+g1234", "4.1.0"),
        ("Client Version: v1.32.4-dispatcher", ""),
        ("Client Version: v1.36.3-eks-1", ""),
        ("Kubernetes v1.36.3+k3s1", ""),
        ("Kubernetes v1.36.0-alpha.1", ""),
        ("", ""),
    ],
)
def test_only_the_version_of_an_official_release_is_read(printed, version):
    assert released_version(printed) == version


@pytest.mark.parametrize(
    ("name", "version", "accepted"),
    [
        ("kubectl", "1.36.0", True),
        ("kubectl", "1.36.11", True),
        ("kubectl", "1.3", False),
        ("kubectl", "1.360.1", False),
        ("kubectl", "1.35.4", False),
        ("etcd", "3.6.5", True),
        ("etcd", "3.5.21", False),
        ("helm", "4.0.1", True),
        ("helm", "3.19.0", False),
    ],
)
def test_a_version_fits_by_its_leading_numbers(name, version, accepted):
    assert wanted(name).accepts(version) is accepted


def test_a_wrapper_on_path_is_refused_with_what_it_says(tmp_path):
    put(tmp_path / "bin", "kubectl", "Client Version: v1.32.4-dispatcher")
    found, tried = find("kubectl", PATH=str(tmp_path / "bin"))
    assert found is None
    assert "PATH: kubectl in" in tried
    assert "v1.32.4-dispatcher, wanted is 1.36" in tried


def test_a_fitting_program_later_on_path_is_found(tmp_path):
    put(tmp_path / "old", "kubectl", "Client Version: v1.35.4")
    fitting = put(tmp_path / "new", "kubectl", "Client Version: v1.36.1")
    found, _ = find("kubectl", PATH=f"{tmp_path / 'old'}:{tmp_path / 'new'}")
    assert found == fitting


@pytest.mark.parametrize(
    ("prints", "code"), [("Kubernetes v1.36.3", 1), ("", 0)], ids=["a program that fails", "a program that is silent"]
)
def test_a_program_that_does_not_say_its_version_is_refused(tmp_path, prints, code):
    put(tmp_path / "bin", "kube-apiserver", prints, code)
    assert find("kube-apiserver", PATH=str(tmp_path / "bin"))[0] is None


def test_a_program_that_cannot_run_here_is_refused(tmp_path):
    put(tmp_path / "bin", "etcd", "").write_bytes(b"\x7fELF of another machine")
    assert find("etcd", PATH=str(tmp_path / "bin"))[0] is None


def test_assets_come_before_path_and_path_before_the_cache(tmp_path):
    cached = put(wanted("etcd").cached.parent, "etcd", LINES["etcd"])
    assert find("etcd")[0] == cached
    on_path = put(tmp_path / "bin", "etcd", LINES["etcd"])
    assert find("etcd", PATH=str(on_path.parent))[0] == on_path
    asset = put(tmp_path / "assets", "etcd", LINES["etcd"])
    assert find("etcd", PATH=str(on_path.parent), KUBEBUILDER_ASSETS=str(asset.parent))[0] == asset


def test_assets_of_another_minor_version_are_refused(tmp_path):
    put(tmp_path / "assets", "kube-apiserver", "Kubernetes v1.35.0")
    found, tried = find("kube-apiserver", KUBEBUILDER_ASSETS=str(tmp_path / "assets"))
    assert found is None
    assert "KUBEBUILDER_ASSETS: kube-apiserver in" in tried


def test_each_program_may_come_from_another_place(tmp_path, monkeypatch, console):
    for name in ("kube-apiserver", "etcd"):
        put(tmp_path / "assets", name, LINES[name])
    for name in ("kubectl", "helm"):
        put(tmp_path / "bin", name, LINES[name])
    for name in ("kube-controller-manager", "kube-scheduler", "kwok"):
        put(wanted(name).cached.parent, name, LINES[name])
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    found = binaries.ensure("1.36", console)
    assert {name: path.parent.name for name, path in found.items()} == {
        "kube-apiserver": "assets",
        "kube-controller-manager": wanted("kube-scheduler").cached.parent.name,
        "kube-scheduler": wanted("kube-scheduler").cached.parent.name,
        "kubectl": "bin",
        "etcd": "assets",
        "kwok": wanted("kwok").cached.parent.name,
        "helm": "bin",
    }


def test_the_cache_is_kept_apart_by_version():
    assert wanted("etcd").version in wanted("etcd").cached.parent.name
    assert wanted("kubectl").version in wanted("kubectl").cached.parent.name


def test_where_nothing_works_one_error_lists_every_way(tmp_path, monkeypatch, console):
    put(tmp_path / "bin", "kubectl", "Client Version: v1.32.4-dispatcher")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setattr(releases, "_open", unreachable)
    with pytest.raises(LocalClusterError) as caught:
        binaries.ensure("1.36", console)
    text = str(caught.value)
    for part in (
        "kube-apiserver, kube-controller-manager, kube-scheduler, kubectl, etcd, kwok, helm",
        "KUBEBUILDER_ASSETS: not set",
        "v1.32.4-dispatcher",
        str(cache_root()),
        "dl.k8s.io cannot be reached: no way out",
        "github.com cannot be reached",
        "get.helm.sh cannot be reached",
        "build: Go is not installed",
    ):
        assert part in text


# Release files.


def unreachable(_url, _timeout):
    raise urllib.error.URLError("no way out")


class Response(io.BytesIO):
    @property
    def headers(self):
        return {"Content-Length": str(len(self.getvalue()))}


def archive(member: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def publish(monkeypatch, files: dict[str, bytes]) -> None:
    def fetch(url, _timeout):
        if url not in files:
            raise urllib.error.HTTPError(url, 404, "Not Found", {}, None)
        return Response(files[url])

    monkeypatch.setattr(releases, "_open", fetch)


def published(name: str, content: bytes) -> tuple[dict[str, bytes], bytes]:
    """Publish a program as its makers do."""
    release = releases.release(wanted(name))
    body = archive(release.member, content) if release.member else content
    file_name, checksum = release.url.rpartition("/")[2], hashlib.sha256(body).hexdigest()
    sums = {
        "kubectl": checksum,
        "etcd": f"{'0' * 64}  other.tar.gz\n{checksum}  {file_name}\n",
        "helm": f"{checksum}  {file_name}\n",
        "kwok": json.dumps({"assets": [{"name": file_name, "digest": f"sha256:{checksum}"}]}),
    }
    return {release.url: body, release.checksum_url: sums[name].encode()}, body


@pytest.mark.parametrize("name", ["kubectl", "etcd", "helm", "kwok"])
def test_a_release_file_with_the_published_checksum_comes_into_the_cache(monkeypatch, console, name):
    files, _ = published(name, b"the program")
    publish(monkeypatch, files)
    assert releases.download([wanted(name)], console) == []
    assert wanted(name).cached.read_bytes() == b"the program"
    assert wanted(name).cached.stat().st_mode & stat.S_IXUSR


@pytest.mark.parametrize("name", ["kubectl", "etcd", "helm", "kwok"])
def test_a_release_file_with_another_checksum_is_refused(monkeypatch, console, name):
    files, body = published(name, b"the program")
    files[releases.release(wanted(name)).url] = body + b"tampered"
    publish(monkeypatch, files)
    cache_root().mkdir(parents=True)
    [reason] = releases.download([wanted(name)], console)
    assert "has the SHA-256" in reason
    assert not wanted(name).cached.exists()


def test_a_release_file_without_a_published_checksum_is_refused(monkeypatch, console):
    files, _ = published("kwok", b"the program")
    files[releases.release(wanted("kwok")).checksum_url] = b'{"assets": []}'
    publish(monkeypatch, files)
    [reason] = releases.download([wanted("kwok")], console)
    assert "no checksum" in reason
    assert not wanted("kwok").cached.exists()


def test_a_release_that_does_not_exist_is_named(monkeypatch, console):
    publish(monkeypatch, {})
    [reason] = releases.download([wanted("helm")], console)
    assert "get.helm.sh has no helm 4" in reason


def test_a_host_that_never_answers_is_given_up_at_once(monkeypatch, console):
    released = threading.Event()

    def silent(url, timeout):
        released.wait(30)
        return unreachable(url, timeout)

    monkeypatch.setattr(releases, "CONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr(releases, "_open", silent)
    began = time.monotonic()
    reasons = releases.download(programs("1.36"), console)
    released.set()
    assert time.monotonic() - began < 5
    assert len(reasons) == len(programs("1.36"))


# Builds.

FAKE_GO = """#!{python}
import os, sys
arguments = sys.argv[1:]
if arguments[0] == "list":
    print("a\\nb\\nc")
else:
    target = next(a[3:] for a in arguments if a.startswith("-o="))
    flags = next(a for a in arguments if a.startswith("-ldflags="))
    print("a", file=sys.stderr)
    open(target, "w").write("#!/bin/sh\\n# " + arguments[-1] + " " + flags + " " + os.path.basename(os.getcwd()))
    os.chmod(target, 0o755)
"""


def install_go(folder: Path, monkeypatch, script: str = FAKE_GO) -> None:
    folder.mkdir(exist_ok=True)
    go = folder / "go"
    go.write_text(script.format(python=sys.executable))
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_what_is_missing_is_built_from_the_pinned_modules(tmp_path, monkeypatch, console):
    install_go(tmp_path / "go", monkeypatch)
    monkeypatch.setattr(releases, "_open", unreachable)
    put(wanted("helm").cached.parent, "helm", "kept")
    found = binaries.ensure("1.36", console)
    assert set(found) == set(LINES)
    assert "k8s.io/kubernetes/cmd/kubectl" in found["kubectl"].read_text()
    assert "gitVersion=v1.36.3" in found["kubectl"].read_text()
    assert found["kubectl"].read_text().endswith("kubernetes-1.36")
    assert found["etcd"].read_text().endswith("tools")
    assert "kept" in found["helm"].read_text()
    assert "Building" in console.file.getvalue()


def test_a_failed_build_says_what_go_said_and_leaves_nothing(tmp_path, monkeypatch, console):
    install_go(tmp_path / "go", monkeypatch, "#!/bin/sh\necho 'no space left on device' >&2\nexit 1\n")
    cache_root().mkdir(parents=True)
    [reason] = gobuild.build([wanted("kubectl")], console)
    assert "no space left on device" in reason
    assert list(cache_root().iterdir()) == []


def test_two_processes_do_not_build_at_once(tmp_path, monkeypatch):
    counting = FAKE_GO.replace("import os, sys", "import os, sys, time") + (
        '    open(os.environ["BUILDS"], "a").write(arguments[-1] + "\\n"); time.sleep(0.05)\n'
    )
    install_go(tmp_path / "go", monkeypatch, counting)
    monkeypatch.setenv("BUILDS", str(tmp_path / "builds"))
    source = (
        "import urllib.error\n"
        "from rich.console import Console\n"
        "from gpu_tenancy.localcluster import binaries, releases\n"
        "def unreachable(url, timeout): raise urllib.error.URLError('no way out')\n"
        "releases._open = unreachable\n"
        "print(len(binaries.ensure('1.36', Console(stderr=True))))\n"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    assert [process.communicate(timeout=60)[0].strip() for process in both] == ["7", "7"]
    built = (tmp_path / "builds").read_text().splitlines()
    assert sorted(built) == sorted(program.package for program in programs("1.36"))


def test_what_is_cached_is_there_at_once_while_another_process_builds(tmp_path, console):
    cached = put(wanted("kwok").cached.parent, "kwok", "")
    assert cached == wanted("kwok").cached
    with binaries._locked(console):
        asking = threading.Thread(target=binaries.build_once, args=(wanted("kwok"), tmp_path, console), daemon=True)
        asking.start()
        asking.join(5)
        assert not asking.is_alive()


def test_what_a_stopped_build_left_is_removed(tmp_path, monkeypatch, console):
    install_go(tmp_path / "go", monkeypatch)
    monkeypatch.setattr(releases, "_open", unreachable)
    leftover = cache_root() / ".build-left"
    leftover.mkdir(parents=True)
    binaries.ensure("1.36", console)
    assert not leftover.exists()


@pytest.mark.parametrize("minor", KUBERNETES)
def test_the_modules_pin_the_versions_that_are_fetched(minor):
    for program in programs(minor):
        pinned = (gobuild.MODULES / program.module / "go.mod").read_text()
        checksums = (gobuild.MODULES / program.module / "go.sum").read_text()
        roots = {"kubernetes": "k8s.io/kubernetes", "etcd": program.package, "kwok": "sigs.k8s.io/kwok"}
        root = roots.get(program.distribution, "helm.sh/helm/v4")
        assert f"{root} v{program.version} " in pinned
        assert f"{root} v{program.version} h1:" in checksums
        assert f"\t{program.package}\n" in pinned
