"""Credentials are read as kubectl reads them, and followed when they change."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import kubernetes.config.incluster_config as in_cluster
import pytest
import yaml

from gpu_tenancy.kube.auth import Credentials, Login, Trust, load_in_cluster, load_kubeconfig
from gpu_tenancy.kube.errors import CredentialsError
from gpu_tenancy.localcluster.certificates import CertificateAuthority

if TYPE_CHECKING:
    from pathlib import Path

HTTPS = "https://127.0.0.1:6443"


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority.create()


@pytest.fixture
def ca(tmp_path: Path, authority: CertificateAuthority) -> Path:
    path = tmp_path / "ca.crt"
    path.write_bytes(authority.pem.certificate)
    return path


def write_kubeconfig(path: Path, user: dict[str, Any], cluster: dict[str, Any]) -> Path:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_token_is_sent_as_bearer(tmp_path: Path, ca: Path) -> None:
    path = write_kubeconfig(tmp_path / "k", {"token": "s3cret"}, {"server": HTTPS, "certificate-authority": str(ca)})
    login = load_kubeconfig(path)
    assert login.server == HTTPS
    assert login.authorization == "Bearer s3cret"
    assert "s3cret" not in repr(login)
    assert login.trust is not None
    assert login.trust.verify


def test_the_kubeconfig_of_the_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_kubeconfig(tmp_path / "k", {}, {"server": "http://127.0.0.1:1"})
    monkeypatch.setenv("KUBECONFIG", str(path))
    assert load_kubeconfig().server == "http://127.0.0.1:1"


def test_a_token_file_may_end_in_a_newline(tmp_path: Path, ca: Path) -> None:
    (tmp_path / "token").write_text("one\n")
    cluster = {"server": HTTPS, "certificate-authority": str(ca)}
    path = write_kubeconfig(tmp_path / "k", {"tokenFile": str(tmp_path / "token")}, cluster)
    assert load_kubeconfig(path).authorization == "Bearer one"
    (tmp_path / "token").write_text("two\n")
    assert load_kubeconfig(path).authorization == "Bearer two"


def test_an_exec_plugin_is_run(tmp_path: Path, ca: Path) -> None:
    answer = (
        '{"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": {"token": "from-exec"}}'
    )
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", f"print('{answer}')"],
        "interactiveMode": "Never",
    }
    cluster = {"server": HTTPS, "certificate-authority": str(ca)}
    path = write_kubeconfig(tmp_path / "k", {"exec": plugin}, cluster)
    assert load_kubeconfig(path).authorization == "Bearer from-exec"
    plugin["args"] = ["-c", "raise SystemExit(1)"]
    write_kubeconfig(path, {"exec": plugin}, cluster)
    with pytest.raises(CredentialsError, match="neither a token nor a certificate"):
        load_kubeconfig(path)


def test_a_client_certificate_needs_no_token(tmp_path: Path, ca: Path, authority: CertificateAuthority) -> None:
    pair = authority.client("anna", ())
    (tmp_path / "crt").write_bytes(pair.certificate)
    (tmp_path / "key").write_bytes(pair.key)
    user = {"client-certificate": str(tmp_path / "crt"), "client-key": str(tmp_path / "key")}
    cluster = {"server": HTTPS, "certificate-authority": str(ca)}
    login = load_kubeconfig(write_kubeconfig(tmp_path / "k", user, cluster))
    assert login.authorization == ""
    assert login.trust is not None
    assert login.trust.context().get_ca_certs()


def test_a_cluster_may_be_trusted_blindly(tmp_path: Path) -> None:
    cluster = {"server": HTTPS, "insecure-skip-tls-verify": True, "tls-server-name": "other", "proxy-url": "http://p:1"}
    login = load_kubeconfig(write_kubeconfig(tmp_path / "k", {"token": "t"}, cluster))
    assert (login.server_name, login.proxy) == ("other", "http://p:1")
    assert login.trust is not None
    assert not login.trust.context().check_hostname


@pytest.mark.parametrize("content", ["", "{}", "current-context: nowhere\ncontexts: []\nclusters: []\nusers: []\n"])
def test_a_broken_kubeconfig_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken"
    path.write_text(content)
    with pytest.raises(CredentialsError, match="broken"):
        load_kubeconfig(path)


def test_a_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="absent"):
        load_kubeconfig(tmp_path / "absent")


def test_the_service_account_of_a_pod_is_used(tmp_path: Path, ca: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("first\n")
    monkeypatch.setattr(in_cluster, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(in_cluster, "SERVICE_CERT_FILENAME", str(ca))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    login = load_in_cluster()
    assert (login.server, login.authorization) == ("https://[fd00::1]:443", "bearer first")
    (tmp_path / "token").write_text("second\n")
    assert load_in_cluster().authorization == "bearer second"


def test_outside_of_a_pod_there_is_no_service_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(CredentialsError, match="Service host"):
        load_in_cluster()


class Source:
    """A login that can be changed or broken."""

    def __init__(self) -> None:
        self.login = Login("http://a", "Bearer 1")
        self.broken = False
        self.reads = 0

    def __call__(self) -> Login:
        self.reads += 1
        if self.broken:
            raise CredentialsError("the disk is gone")
        return self.login


async def test_a_login_is_read_once_while_it_is_fresh() -> None:
    source = Source()
    credentials = Credentials(source)
    accesses = await asyncio.gather(*(credentials.access() for _ in range(10)))
    assert source.reads == 1
    assert len({id(access) for access in accesses}) == 1
    assert accesses[0].headers == {"Authorization": "Bearer 1"}


async def test_a_login_is_read_again_when_it_is_old() -> None:
    source = Source()
    credentials = Credentials(source, refresh_seconds=0.01)
    first = await credentials.access()
    await asyncio.sleep(0.02)
    assert await credentials.access() is first, "the same login is the same access, and keeps its connections"
    source.login = Login("http://a", "Bearer 2")
    await asyncio.sleep(0.02)
    assert (await credentials.access()).headers == {"Authorization": "Bearer 2"}


async def test_a_login_that_cannot_be_read_again_stays(caplog: pytest.LogCaptureFixture) -> None:
    source = Source()
    credentials = Credentials(source, refresh_seconds=0.0)
    first = await credentials.access()
    source.broken = True
    assert await credentials.access() is first
    assert "the disk is gone" in caplog.text


async def test_without_any_login_there_is_an_error() -> None:
    source = Source()
    source.broken = True
    with pytest.raises(CredentialsError, match="the disk is gone"):
        await Credentials(source).access()


async def test_a_refused_login_is_read_again_once_for_all_who_were_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_tenancy.kube.auth._RENEW_SECONDS", 0.0)
    source = Source()
    credentials = Credentials(source)
    old = await credentials.access()
    source.login = Login("http://a", "Bearer 2")
    renewed = await asyncio.gather(*(credentials.renew(old) for _ in range(5)))
    assert {access.login.authorization for access in renewed} == {"Bearer 2"}
    assert source.reads == 2


async def test_a_login_that_is_refused_again_and_again_is_not_read_each_time() -> None:
    source = Source()
    credentials = Credentials(source)
    access = await credentials.access()
    for _ in range(5):
        assert await credentials.renew(access) is access
    assert source.reads == 1


async def test_a_rotated_ca_makes_a_new_tls_context_and_a_rotated_token_does_not(
    ca: Path, authority: CertificateAuthority
) -> None:
    source = Source()
    credentials = Credentials(source, refresh_seconds=0.0)
    source.login = Login(HTTPS, "Bearer 1", Trust.read(str(ca), "", "", verify=True))
    first = await credentials.access()
    source.login = Login(HTTPS, "Bearer 2", Trust.read(str(ca), "", "", verify=True))
    second = await credentials.access()
    assert second is not first
    assert second.ssl is first.ssl
    both = authority.pem.certificate + CertificateAuthority.create().pem.certificate
    await asyncio.to_thread(ca.write_bytes, both)
    source.login = Login(HTTPS, "Bearer 2", Trust.read(str(ca), "", "", verify=True))
    third = await credentials.access()
    assert third.ssl is not second.ssl
