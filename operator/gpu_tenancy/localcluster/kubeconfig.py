"""Kubeconfig files: how a user reaches the control plane and who they are."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

    from gpu_tenancy.localcluster.certificates import KeyPair

CLUSTER = "gpu-tenancy"


def certificate_user(pair: KeyPair) -> dict[str, str]:
    """Identify by a client certificate, which the file contains."""
    return {
        "client-certificate-data": base64.b64encode(pair.certificate).decode(),
        "client-key-data": base64.b64encode(pair.key).decode(),
    }


def token_user(token_file: Path) -> dict[str, str]:
    """Identify by a token, read from a file again and again so that it can be renewed."""
    return {"tokenFile": str(token_file)}


def write(path: Path, *, url: str, ca: bytes, user: str, credentials: dict[str, str], namespace: str = "") -> Path:
    """Write a kubeconfig that only its owner can read, and return its path."""
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
                "cluster": {"server": url, "certificate-authority-data": base64.b64encode(ca).decode()},
            }
        ],
    }
    write_private(path, yaml.safe_dump(document, sort_keys=False).encode())
    return path


def write_private(path: Path, content: bytes) -> None:
    """Write a file in one step that nobody else can read."""
    temporary = path.with_name(path.name + ".new")
    temporary.touch(mode=0o600)
    temporary.write_bytes(content)
    temporary.replace(path)
