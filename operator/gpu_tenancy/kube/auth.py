"""Whom we talk to and as whom, kept fresh while the process runs.

Kubeconfigs (with exec plugins, auth providers and token files) and the in-cluster files are read by the `kubernetes`
library, anew each time: tokens and certificates rotate, and a process that runs for months must follow them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

from gpu_tenancy.kube.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubernetes.client import Configuration

logger = logging.getLogger(__name__)

_REFRESH_SECONDS = 60.0
_RENEW_SECONDS = 1.0
"""A token that the server refuses is read again at most this often: an exec plugin is a whole process."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What makes up a TLS context, by content, so that a rotated file is noticed.

    Attributes:
        files: paths of CA bundle, client certificate and client key; empty where there is none.
        contents: the same files' contents.
        verify: whether the server's certificate is checked.
    """

    files: tuple[str, str, str]
    contents: tuple[bytes, bytes, bytes] = field(repr=False)
    verify: bool

    @classmethod
    def read(cls, ca: str, certificate: str, key: str, *, verify: bool) -> Trust:
        """Read the files."""
        files = (ca, certificate, key)
        ca_bytes, certificate_bytes, key_bytes = (Path(name).read_bytes() if name else b"" for name in files)
        return cls(files, (ca_bytes, certificate_bytes, key_bytes), verify)

    def context(self) -> ssl.SSLContext:
        """Build the TLS context."""
        ca, certificate, key = self.files
        context = ssl.create_default_context(cafile=ca or None)
        # Python 3.13 turns this on; the CAs of many clusters lack the extensions that it asks for, and no other
        # Kubernetes client does.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if certificate:
            context.load_cert_chain(certificate, key or None)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True, slots=True)
class Login:
    """What a kubeconfig or a service account says at one moment.

    Attributes:
        server: base URL without a trailing slash.
        authorization: value of the HTTP header, empty with client certificates.
        trust: None if the server speaks plain HTTP.
        server_name: name to expect in the server's certificate, if not that of the URL.
        proxy: URL of an HTTP proxy, if any.
    """

    server: str
    authorization: str = field(default="", repr=False)
    trust: Trust | None = None
    server_name: str | None = None
    proxy: str | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """A login made ready for HTTP requests; replaced as a whole when anything in it changes."""

    login: Login
    ssl: ssl.SSLContext | None

    @property
    def server(self) -> str:
        """Base URL without a trailing slash."""
        return self.login.server

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that authenticate a request."""
        return {"Authorization": self.login.authorization} if self.login.authorization else {}


class Credentials:
    """Access to one API server that follows rotated tokens, certificates and CAs; belongs to one event loop."""

    def __init__(self, load: Callable[[], Login], *, refresh_seconds: float = _REFRESH_SECONDS) -> None:
        """Take a blocking function that reads the login; it runs in a thread."""
        self._load = load
        self._refresh_seconds = refresh_seconds
        self._access: Access | None = None
        self._loaded_at = 0.0
        self._loading = asyncio.Lock()

    @classmethod
    def from_kubeconfig(cls, path: str | Path | None = None, context: str | None = None) -> Credentials:
        """Use a kubeconfig; by default what kubectl would use."""
        return cls(lambda: load_kubeconfig(path, context))

    @classmethod
    def in_cluster(cls) -> Credentials:
        """Use the service account of the pod that this process runs in."""
        return cls(load_in_cluster)

    async def access(self) -> Access:
        """Give what a request needs, read anew if it is older than a minute.

        Raises:
            CredentialsError: if there never was a usable login; later failures keep the last one.
        """
        if self._access is None or time.monotonic() - self._loaded_at > self._refresh_seconds:
            async with self._loading:
                if self._access is None or time.monotonic() - self._loaded_at > self._refresh_seconds:
                    return await self._reload()
        return self._access

    async def renew(self, refused: Access) -> Access:
        """Read the login again because the server refused this one (401), unless that has just been done."""
        async with self._loading:
            if self._access is refused and time.monotonic() - self._loaded_at > _RENEW_SECONDS:
                return await self._reload()
            return self._access or refused

    async def _reload(self) -> Access:
        try:
            self._access = await asyncio.to_thread(self._read, self._access)
        except (CredentialsError, OSError) as error:
            if self._access is None:
                raise CredentialsError(f"cannot read the credentials: {error}") from error
            logger.warning("Cannot read the credentials again, keeping the last ones: %s", error)
        self._loaded_at = time.monotonic()
        return self._access

    def _read(self, before: Access | None) -> Access:
        login = self._load()
        if before is not None and login == before.login:
            return before
        # A TLS context of its own means connections of its own: keep it while the certificates are the same.
        if before is not None and login.trust == before.login.trust:
            return Access(login, before.ssl)
        return Access(login, login.trust.context() if login.trust else None)


def load_kubeconfig(path: str | Path | None = None, context: str | None = None) -> Login:
    """Read a kubeconfig, running its exec plugin if it has one. Blocks.

    Args:
        path: a file, or several joined as in KUBECONFIG; by default KUBECONFIG or ~/.kube/config.
        context: by default the file's current one.

    Raises:
        CredentialsError: if it cannot be read or yields no way to authenticate.
    """
    # Half a second and 20 MiB to import: only who connects pays.
    from kubernetes.client import Configuration  # noqa: PLC0415  # see above
    from kubernetes.config import ConfigException, load_kube_config  # noqa: PLC0415  # see above

    configuration = Configuration()
    source = str(path or os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    try:
        load_kube_config(config_file=source, context=context, client_configuration=configuration)  # type: ignore[no-untyped-call]  # the library's
    except ConfigException as error:
        raise CredentialsError(f"{source}: {error}") from error
    login = _login(configuration)
    # The library logs a failing exec plugin and goes on without; as an anonymous user nothing would work.
    if login.trust and not login.authorization and not login.trust.files[1]:
        raise CredentialsError(f"{source}: the user of this context yields neither a token nor a certificate")
    return login


def load_in_cluster() -> Login:
    """Read the service account's token and CA. Blocks.

    Raises:
        CredentialsError: if this is no pod, or it mounts no token.
    """
    from kubernetes.client import Configuration  # noqa: PLC0415  # as above
    from kubernetes.config import ConfigException, load_incluster_config  # noqa: PLC0415  # as above

    configuration = Configuration()
    try:
        load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # the library's
    except ConfigException as error:
        raise CredentialsError(str(error)) from error
    return _login(configuration)


def _login(configuration: Configuration) -> Login:
    url = urlsplit(configuration.host)
    trust = Trust.read(
        configuration.ssl_ca_cert or "",
        configuration.cert_file or "",
        configuration.key_file or "",
        verify=configuration.verify_ssl,
    )
    return Login(
        server=configuration.host.rstrip("/"),
        # A token file may end in a newline, which no header may.
        authorization=(configuration.api_key.get("BearerToken") or "").strip(),
        trust=trust if url.scheme == "https" else None,
        server_name=configuration.tls_server_name,
        proxy=None if proxy_bypass(url.hostname or "") else configuration.proxy,
    )
