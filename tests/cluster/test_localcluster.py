"""The embedded control plane starts, knows its users, and leaves nothing behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpu_tenancy.localcluster import ControlPlane


def test_a_user_certificate_gives_its_user_and_groups(control_plane: ControlPlane) -> None:
    anna = control_plane.kubeconfig("anna", ["neura-admins"])
    answer = json.loads(control_plane.kubectl("auth", "whoami", "--output=json", kubeconfig=anna))
    assert answer["status"]["userInfo"]["username"] == "anna"
    assert answer["status"]["userInfo"]["groups"] == ["neura-admins", "system:authenticated"]
