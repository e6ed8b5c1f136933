"""What the supervisor is to run and what it runs: two files in the data directory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from gpu_tenancy.localcluster.components import Component
from gpu_tenancy.localcluster.errors import LocalClusterError
from gpu_tenancy.localcluster.processes import ProcessId

if TYPE_CHECKING:
    from pathlib import Path

PLAN_FILE = "plan.json"
STATE_FILE = "state.json"
LOGS = "logs"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: the components in their order, the API server's port, where all programs are, and whose end is theirs too."""

    components: tuple[Component, ...]
    port: int
    kubernetes: str
    binaries: dict[str, str]
    owner: ProcessId | None

    @property
    def url(self) -> str:
        """Where the API server listens."""
        return f"https://127.0.0.1:{self.port}"

    def save(self, data_dir: Path) -> None:
        """Write it where the supervisor reads it."""
        _write_json(data_dir / PLAN_FILE, asdict(self))

    @classmethod
    def load(cls, data_dir: Path) -> Plan:
        """Read what `save` wrote."""
        raw = json.loads((data_dir / PLAN_FILE).read_text())
        return cls(
            components=tuple(Component(item["name"], tuple(item["command"])) for item in raw["components"]),
            port=raw["port"],
            kubernetes=raw["kubernetes"],
            binaries=raw["binaries"],
            owner=raw["owner"] and ProcessId(**raw["owner"]),
        )


@dataclass(frozen=True, slots=True)
class Child:
    """One process of the control plane."""

    process: ProcessId
    restarts: int


@dataclass(frozen=True, slots=True)
class State:
    """What runs. `phase` is starting, ready, failed or stopped; `error` says why it failed."""

    supervisor: ProcessId
    phase: str
    port: int
    kubernetes: str
    components: dict[str, Child] = field(default_factory=dict)
    error: str = ""

    @property
    def url(self) -> str:
        """Where the API server listens."""
        return f"https://127.0.0.1:{self.port}"

    def save(self, data_dir: Path) -> None:
        """Write it for everyone who asks."""
        _write_json(data_dir / STATE_FILE, asdict(self))

    @classmethod
    def load(cls, data_dir: Path) -> State | None:
        """Read what a supervisor last wrote, or None if there never was one.

        Raises:
            LocalClusterError: It cannot be read.
        """
        path = data_dir / STATE_FILE
        try:
            raw = json.loads(path.read_text())
            children = {
                name: Child(ProcessId(**child["process"]), child["restarts"])
                for name, child in raw["components"].items()
            }
            return cls(**{**raw, "supervisor": ProcessId(**raw["supervisor"]), "components": children})
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LocalClusterError(
                f"{path} is damaged, so nothing is known of what runs there; end that, and delete the folder"
            ) from error


def _write_json(path: Path, value: Any) -> None:
    """Replace a file in one step, so that a reader never sees half of it."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(value, indent=1))
    temporary.replace(path)
