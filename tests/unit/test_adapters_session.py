"""What the session does for kopf that a real API server cannot be brought to show."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from gpu_tenancy.adapters import session as module
from gpu_tenancy.adapters.session import PatientSession
from gpu_tenancy.kube.auth import Credentials, Login, Trust
from gpu_tenancy.kube.resource import Resource

GADGETS = Resource("things.example", "v1", "gadgets", "Gadget")
WIDGETS = Resource("things.example", "v1", "widgets", "Widget")
TIMEOUT = aiohttp.ClientTimeout(total=7)


class Connection:
    """One that is its own transport."""

    def __init__(self) -> None:
        self.transport = self
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


class Answer:
    """What aiohttp gives, as far as it is looked at."""

    def __init__(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        self.connection = Connection() if not body else None
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._body = body

    async def read(self) -> bytes:
        return self._body


class Http:
    """Gives the answers one after the other as it was told, and keeps what it was asked."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.headers: dict[str, str] = {}
        self.closed = False

    async def get(self, url: str, **options: Any) -> Answer:
        self.asked.append((url, options))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        self.closed = True


class Reading:
    """A session and what it told."""

    def __init__(self, *answers: Answer | Exception, logins: list[Login] | None = None) -> None:
        self.http = Http(*answers)
        self.told: list[tuple[str, bool, str]] = []
        logins = logins or [Login("http://server")]
        self.credentials = Credentials(lambda: logins.pop(0) if len(logins) > 1 else logins[0])
        self.session = PatientSession(
            self.http,  # type: ignore[arg-type]
            self.credentials,
            (GADGETS, WIDGETS),
            lambda *answer: self.told.append(answer),
        )

    async def get(self, url: str) -> Answer:
        return await self.session.request(method="get", url=url, timeout=TIMEOUT, json=None)  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let no time pass, and keep how much would have."""
    kept: list[float] = []

    async def sleep(seconds: float) -> None:
        kept.append(seconds)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    monkeypatch.setattr(module.random, "uniform", lambda _low, high: high)
    return kept


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
async def test_nothing_is_ever_written(method: str) -> None:
    reading = Reading()
    with pytest.raises(ValueError, match=f"not to write: {method} /apis/things.example/v1/x"):
        await reading.session.request(method=method, url="/apis/things.example/v1/x", timeout=TIMEOUT)
    assert not reading.http.asked


async def test_each_attempt_is_made_as_whoever_we_are_at_the_time(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    trust = Trust(("", "", ""), (b"", b"", b""), verify=True)
    first = Login("https://first", "Bearer 1", trust, server_name="kubernetes", proxy="http://proxy")
    reading = Reading(Answer(401), Answer(), logins=[first, Login("http://second", "Bearer 2")])
    context = (await reading.credentials.access()).ssl
    monkeypatch.setattr("gpu_tenancy.kube.auth._RENEW_SECONDS", -1.0)
    assert (await reading.get("/apis/things.example/v1/x?limit=500")).status == 200
    common = {"timeout": TIMEOUT, "allow_redirects": False}
    assert reading.http.asked == [
        (
            "https://first/apis/things.example/v1/x?limit=500",
            {
                "headers": {"Authorization": "Bearer 1"},
                "ssl": context,
                "server_hostname": "kubernetes",
                "proxy": "http://proxy",
            }
            | common,
        ),
        (
            "http://second/apis/things.example/v1/x?limit=500",
            {"headers": {"Authorization": "Bearer 2"}, "ssl": False, "server_hostname": None, "proxy": None} | common,
        ),
    ]
    assert len(pauses) == 1


async def test_every_failure_is_tried_again_with_growing_pauses_and_told(pauses: list[float]) -> None:
    failures = [
        aiohttp.ClientConnectionError("refused"),
        TimeoutError(),
        OSError("no route"),
        *(Answer(status) for status in (301, 400, 403, 404, 500, 503)),
    ]
    reading = Reading(*failures, Answer())
    await reading.get("/apis/things.example/v1/x?watch=true")
    assert [problem for *_, problem in reading.told] == [
        *("refused", "TimeoutError", "no route"),
        *("301: ", "400: ", "403: ", "404: ", "500: ", "503: "),
        "",
    ]
    assert {(path, watch) for path, watch, _ in reading.told} == {("/apis/things.example/v1/x", True)}
    assert pauses[1:] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]  # the first is that of watches


async def test_no_attempt_is_made_earlier_than_the_server_asks(pauses: list[float]) -> None:
    reading = Reading(Answer(429, Retry_After="7"), Answer(503, Retry_After="86400"), Answer())
    await reading.get("/apis/things.example/v1/x")
    assert pauses == [7.5, 31.0]


async def test_that_a_version_has_expired_is_for_kopf_to_know() -> None:
    reading = Reading(Answer(410))
    assert (await reading.get("/apis/things.example/v1/x?watch=true")).status == 410
    assert reading.told == [("/apis/things.example/v1/x", True, "")]


async def test_what_is_not_served_yet_is_waited_for() -> None:
    some, both = b'{"name": "gadgets"}, {"name": "widgets/status"}', b'{"name":"gadgets"},{"name":"widgets"}'
    reading = Reading(Answer(body=b'{"groups": []}'), Answer(body=b'"things.example"'))
    await reading.get("/apis")
    reading.http.answers += [Answer(404), Answer(body=some), Answer(body=both)]
    await reading.get("/apis/things.example/v1")
    assert [problem for *_, problem in reading.told] == [
        *("things.example is not served (yet)", ""),
        *("404: ", "widgets is not served (yet)", ""),
    ]


async def test_kopf_may_hear_that_a_group_of_others_is_gone(pauses: list[float]) -> None:
    reading = Reading(Answer(404))
    assert (await reading.get("/apis/kopf.dev/v1")).status == 404
    assert not pauses


async def test_watches_of_one_kind_begin_at_most_once_a_second(pauses: list[float]) -> None:
    reading = Reading(*[Answer() for _ in range(4)])
    for url in (
        "/apis/things.example/v1/x?watch=true",
        "/apis/things.example/v1/x?watch=true",
        "/apis/things.example/v1/y?watch=true",
        "/apis/things.example/v1/x?limit=500",
    ):
        await reading.get(url)
    assert [max(0.0, round(pause, 1)) for pause in pauses] == [0.0, 1.0, 0.0]


async def test_when_kopf_closes_it_no_connection_is_left() -> None:
    watch, listed = Answer(), Answer(body=b"{}")
    reading = Reading(watch, listed)
    await reading.get("/apis/things.example/v1/x?watch=true")
    await reading.get("/apis/things.example/v1/x?limit=500")
    assert reading.session.headers is reading.http.headers
    assert not reading.session.closed
    await reading.session.close()
    assert reading.session.closed
    assert watch.connection is not None
    assert watch.connection.aborted
