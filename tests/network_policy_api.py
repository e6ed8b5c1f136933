"""The kind ClusterNetworkPolicy as its makers release it: fetched by Go, and nothing of it is kept here."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

MODULE = "sigs.k8s.io/network-policy-api@v0.3.0"
SUM = "h1:RL6fVXiix9IW1pj0ImkW645m+EWmb3dBGCiW19bg5+k="
CRD = "config/crd/standard/policy.networking.k8s.io_clusternetworkpolicies.yaml"


@functools.cache
def _download() -> tuple[Path | None, str]:
    """Fetch the module, once; say where it is, or why it cannot be had."""
    if (go := shutil.which("go")) is None:
        return None, "there is no Go"
    with tempfile.TemporaryDirectory() as outside_any_module:
        done = subprocess.run(
            [go, "mod", "download", "-json", MODULE],
            cwd=outside_any_module,
            env=os.environ | {"GOWORK": "off", "GOFLAGS": "-mod=mod"},
            capture_output=True,
            text=True,
            check=False,
        )
    said = json.loads(done.stdout) if done.stdout else {}
    if done.returncode or "Dir" not in said:
        return None, said.get("Error") or done.stderr.strip()
    assert said["Sum"] == SUM, "this is not what was released"
    return Path(said["Dir"]), ""


def crd() -> Path:
    """Give the CustomResourceDefinition; skips the test, and says so, where it cannot be had."""
    folder, problem = _download()
    if folder is None:
        pytest.skip(f"NOT tried with ClusterNetworkPolicies, whose definition cannot be had here: {problem}")
    return folder / CRD
