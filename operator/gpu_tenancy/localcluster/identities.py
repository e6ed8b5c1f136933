"""Who may talk to a control plane: its certificate authority, the identities of its parts, and kubeconfigs for anyone."""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
from typing import TYPE_CHECKING, Any

import yaml

from gpu_tenancy.localcluster.components import FIRST_SERVICE_ADDRESS
from gpu_tenancy.localcluster.errors import LocalClusterError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gpu_tenancy.localcluster.certificates import CertificateAuthority

CLUSTER = "gpu-tenancy"
ADMIN = "admin"
ADMIN_GROUPS = ("system:masters",)
# The API server's own bootstrap policy gives the parts of the control plane their rights.
PARTS: dict[str, tuple[str, Sequence[str]]] = {
    "kube-controller-manager": ("system:kube-controller-manager", ()),
    "kube-scheduler": ("system:kube-scheduler", ()),
    "kwok": ("kwok", ADMIN_GROUPS),
    ADMIN: (ADMIN, ADMIN_GROUPS),
}


class Identities:
    """The certificates and kubeconfigs in a data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.pki = data_dir / "pki"
        self.folder = data_dir / "kubeconfigs"
        self.ca_file = self.pki / "ca.crt"

    def create(self, url: str) -> None:
        """Make the certificates if there are none yet, and kubeconfigs for the parts of the control plane."""
        for folder in (self.pki, self.folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self.pki / "complete").exists():
            self._create_certificates()
        authority = self._authority()
        for name, (user, groups) in PARTS.items():
            pair = authority.client(user, groups)
            self._write(name, url, user, _certificate(pair.certificate, pair.key))

    def path(self, name: str) -> Path:
        """Name the kubeconfig file of somebody."""
        return self.folder / f"{name}.yaml"

    def user(self, url: str, user: str, groups: Sequence[str], namespace: str) -> Path:
        """Write a kubeconfig for any user, identified by a client certificate."""
        name = re.sub(r"[^A-Za-z0-9.-]", "_", user)
        details = "\0".join([user, namespace, *sorted(groups)])
        name += "-" + hashlib.sha256(details.encode()).hexdigest()[:8]
        pair = self._authority().client(user, groups)
        return self._write(name, url, user, _certificate(pair.certificate, pair.key), namespace)

    def service_account(self, url: str, namespace: str, name: str, token: str) -> Path:
        """Write a kubeconfig for a service account; its token is in a file, which running clients read again."""
        stem = f"serviceaccount-{namespace}-{name}"
        token_file = self.folder / f"{stem}.token"
        _write_private(token_file, token.encode())
        return self._write(stem, url, name, {"tokenFile": str(token_file)}, namespace)

    def admin_tls(self) -> ssl.SSLContext:
        """Make a TLS context that trusts the API server and is its administrator."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        context.load_cert_chain(self.pki / "admin.crt", self.pki / "admin.key")
        return context

    def _authority(self) -> CertificateAuthority:
        from gpu_tenancy.localcluster.certificates import CertificateAuthority  # noqa: PLC0415  # see below

        return CertificateAuthority.load(self.ca_file, self.pki / "ca.key")

    def _create_certificates(self) -> None:
        try:
            # The command line is part of the operator's image, which does without `cryptography`.
            from gpu_tenancy.localcluster import certificates  # noqa: PLC0415
        except ImportError as error:
            raise LocalClusterError("install gpu-tenancy[localcluster]; what is missing: cryptography") from error
        authority = certificates.CertificateAuthority.create()
        service_accounts = certificates.new_key()
        server = authority.server(
            "kube-apiserver",
            ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"),
            ("127.0.0.1", FIRST_SERVICE_ADDRESS),
        )
        admin = authority.client(ADMIN, ADMIN_GROUPS)
        for name, content in {
            "ca.crt": authority.pem.certificate,
            "ca.key": authority.pem.key,
            "apiserver.crt": server.certificate,
            "apiserver.key": server.key,
            "admin.crt": admin.certificate,
            "admin.key": admin.key,
            "service-accounts.key": certificates.private_pem(service_accounts),
            "service-accounts.pub": certificates.public_pem(service_accounts),
            "complete": b"",
        }.items():
            _write_private(self.pki / name, content)

    def _write(self, name: str, url: str, user: str, credentials: dict[str, str], namespace: str = "") -> Path:
        """Write a kubeconfig that only its owner can read; return its path."""
        context: dict[str, Any] = {"cluster": CLUSTER, "user": user}
        if namespace:
            context["namespace"] = namespace
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": f"{user}@{CLUSTER}",
            "contexts": [{"name": f"{user}@{CLUSTER}", "context": context}],
            "users": [{"name": user, "user": credentials}],
            "clusters": [
                {
                    "name": CLUSTER,
                    "cluster": {"server": url, "certificate-authority-data": _base64(self.ca_file.read_bytes())},
                }
            ],
        }
        path = self.path(name)
        _write_private(path, yaml.safe_dump(document, sort_keys=False).encode())
        return path


def _certificate(certificate: bytes, key: bytes) -> dict[str, str]:
    return {"client-certificate-data": _base64(certificate), "client-key-data": _base64(key)}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _write_private(path: Path, content: bytes) -> None:
    """Write a file in one step that nobody else can read."""
    temporary = path.with_name(path.name + ".new")
    temporary.touch(mode=0o600)
    temporary.write_bytes(content)
    temporary.replace(path)
