"""The official release files: where they are, what their checksums are, and how they come into the cache."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gpu_tenancy.localcluster.progress import counted
from gpu_tenancy.localcluster.versions import cache_root, go_platform

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from gpu_tenancy.localcluster.versions import Program

# A machine without a way out must not wait: the next way in, a build, is long enough.
CONNECT_TIMEOUT = 5.0
STALL_TIMEOUT = 30.0
CHUNK = 1 << 20
TEMPORARY = ".download-"
MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Release:
    """A file that its makers publish, where its SHA-256 is published, and which member of the archive is wanted."""

    url: str
    checksum_url: str
    member: str = ""


def release(program: Program) -> Release:
    """Say where a program's release file for this machine is."""
    system, architecture = go_platform()
    version, target = f"v{program.version}", f"{system}-{architecture}"
    match program.distribution:
        case "kubernetes":
            url = f"https://dl.k8s.io/{version}/bin/{system}/{architecture}/{program.name}"
            return Release(url, f"{url}.sha256")
        case "etcd":
            folder = f"https://github.com/etcd-io/etcd/releases/download/{version}"
            archive = f"etcd-{version}-{target}"
            return Release(f"{folder}/{archive}.tar.gz", f"{folder}/SHA256SUMS", f"{archive}/etcd")
        case "kwok":
            # kwok publishes no list of checksums; GitHub states the digest of every release file.
            repository = "kubernetes-sigs/kwok"
            return Release(
                f"https://github.com/{repository}/releases/download/{version}/kwok-{target}",
                f"https://api.github.com/repos/{repository}/releases/tags/{version}",
            )
        case "helm":
            url = f"https://get.helm.sh/helm-{version}-{target}.tar.gz"
            return Release(url, f"{url}.sha256sum", f"{target}/helm")
        case other:
            raise ValueError(f"no release files are known of {other}")


def published_checksum(text: str, file_name: str) -> str:
    """Find a file's SHA-256 in what its makers publish: the sum alone, a list as of sha256sum, or GitHub's JSON.

    Raises:
        ValueError: There is none for this file.
    """
    if text.startswith("{"):
        digests = {asset["name"]: asset.get("digest") or "" for asset in json.loads(text)["assets"]}
        algorithm, _, found = digests.get(file_name, "").partition(":")
        if algorithm == "sha256":
            return str(found)
    for words in map(str.split, text.splitlines()):
        if len(words) == 1 or (words and words[-1].lstrip("*") == file_name):
            return words[0]
    raise ValueError(f"no checksum of {file_name} is published")


def download(wanted: Sequence[Program], console: Console) -> list[str]:
    """Bring release files into the cache, each checked against its published checksum.

    Returns:
        Why those that did not come did not.
    """
    with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
        sums = dict(zip([program.name for program in wanted], pool.map(_checksum, wanted), strict=True))
    refused = [f"download: {reason}" for reason in sums.values() if isinstance(reason, _Unreachable)]
    for program in wanted:
        checksum = sums[program.name]
        if isinstance(checksum, str):
            try:
                _download(program, checksum, console)
            except (OSError, ValueError, tarfile.TarError) as error:
                refused.append(f"download: {program.name}: {error}")
    return refused


@dataclass(frozen=True, slots=True)
class _Unreachable:
    reason: str

    def __str__(self) -> str:
        return self.reason


def _checksum(program: Program) -> str | _Unreachable:
    """Read a published checksum, or say why that is not possible, soon."""
    wanted = release(program)
    answer: list[str | Exception] = []

    def ask() -> None:
        try:
            with _open(wanted.checksum_url, CONNECT_TIMEOUT) as response:
                answer.append(response.read().decode())
        except (OSError, ValueError) as error:
            answer.append(error)

    # Resolving a name has no timeout of its own, so the whole question gets one; a daemon does not hold up the exit.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(CONNECT_TIMEOUT)
    host = urlsplit(wanted.checksum_url).hostname
    match answer:
        case [str(text)]:
            try:
                return published_checksum(text, Path(urlsplit(wanted.url).path).name)
            except ValueError as error:
                return _Unreachable(str(error))
        case [urllib.error.HTTPError() as error]:
            return _Unreachable(f"{host} has no {program.name} {program.version}: {error}")
        case [Exception() as error]:
            return _Unreachable(f"{host} cannot be reached: {getattr(error, 'reason', error)}")
        case _:
            return _Unreachable(f"{host} cannot be reached: no answer within {CONNECT_TIMEOUT:.0f} s")


def _download(program: Program, checksum: str, console: Console) -> None:
    wanted = release(program)
    folder = program.cached.parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_root(), prefix=TEMPORARY) as temporary:
        file = Path(temporary) / "file"
        with _open(wanted.url, STALL_TIMEOUT) as response:
            size = int(response.headers.get("Content-Length") or 0)
            title = f"Downloading {program.name} {program.version}"
            with counted(console, title, size // MEBIBYTE, "MiB") as advance:
                actual = _copy(response, file, advance)
        if actual != checksum:
            raise ValueError(f"{wanted.url} has the SHA-256 {actual}, published is {checksum}")
        if wanted.member:
            file = _extract(file, wanted.member)
        file.chmod(0o755)
        file.replace(program.cached)


def _copy(response: Any, file: Path, advance: Callable[[int], None]) -> str:
    """Write what comes to a file; return its SHA-256."""
    digest, rest = hashlib.sha256(), 0
    with file.open("wb") as target:
        while chunk := response.read(CHUNK):
            target.write(chunk)
            digest.update(chunk)
            done, rest = divmod(rest + len(chunk), MEBIBYTE)
            advance(done)
    return digest.hexdigest()


def _extract(archive: Path, member: str) -> Path:
    with tarfile.open(archive) as tar:
        source = tar.extractfile(member)
        if source is None:
            raise ValueError(f"{member} is not a file")
        target = archive.with_name("member")
        target.write_bytes(source.read())
    return target


def _open(url: str, timeout: float) -> Any:
    return urllib.request.urlopen(url, timeout=timeout)  # noqa: S310  # every URL is one of `release`, all https
