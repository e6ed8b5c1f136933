"""The generated CustomResourceDefinitions on a real API server, whose verdicts the models must share."""

from __future__ import annotations

import copy
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from api_examples import NAMES, SPECS, STATUSES, raw_object
from api_variants import combined_changes, left_to_the_model, model_refusal, single_changes
from cluster.operating import CRDS, install_kinds
from cluster.rest import Connection
from gpu_tenancy.api import GROUP, KINDS, VERSION
from gpu_tenancy.api.crd import UNSEEN
from gpu_tenancy.api.resource import parse
from gpu_tenancy.api.schema import ApiModel, Immutable
from gpu_tenancy.localcluster import ControlPlane

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator

    from gpu_tenancy.api.schema import Kind

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)


class ApiServer:
    """Speaks JSON with the API server as the administrator, over one connection per thread."""

    def __init__(self, url: str, tls: ssl.SSLContext) -> None:
        self._url = url
        self._tls = tls
        self._threads = threading.local()

    def send(self, method: str, path: str, body: Any = None, accept: str = "application/json") -> tuple[int, Any]:
        if not hasattr(self._threads, "connection"):
            self._threads.connection = Connection(self._url, self._tls)
        headers = {"Content-Type": "application/json", "Accept": accept}
        return self._threads.connection.request(method, path, body, headers)

    def write(self, method: str, path: str, raw: dict[str, Any], *, dry_run: bool = True) -> tuple[str | None, Any]:
        """Write an object strictly; give the refusal, or None and the object as stored."""
        status, answer = self.send(method, f"{path}?fieldValidation=Strict{'&dryRun=All' if dry_run else ''}", raw)
        if status in {200, 201}:
            return None, answer
        assert status in {400, 422}, f"no verdict: {answer}"
        return answer["message"], None

    def create(self, kind: Kind[Any, Any], raw: dict[str, Any], *, dry_run: bool = True) -> tuple[str | None, Any]:
        return self.write("POST", collection(kind), raw, dry_run=dry_run)


def collection(kind: Kind[Any, Any]) -> str:
    return f"/apis/{GROUP}/{VERSION}/{'namespaces/default/' if kind.namespaced else ''}{kind.plural}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane without CustomResourceDefinitions of anyone else's making, and with ours."""
    with ControlPlane(tmp_path_factory.mktemp("crds")) as running:
        install_kinds(running)
        yield running


@pytest.fixture(scope="module")
def server(cluster: ControlPlane) -> ApiServer:
    return ApiServer(cluster.url, cluster.admin_tls())


@pytest.fixture(scope="module")
def stored(server: ApiServer) -> dict[str, Any]:
    """An object of each kind with every field there is, status and all."""
    objects = {}
    for kind in KINDS:
        refusal, created = server.create(kind, raw_object(kind, SPECS[kind.kind][0], "stored"), dry_run=False)
        assert refusal is None
        path = f"{collection(kind)}/stored/status"
        refusal, objects[kind.kind] = server.write(
            "PUT", path, created | {"status": STATUSES[kind.kind][0]}, dry_run=False
        )
        assert refusal is None
    return objects


@pytest.fixture(scope="module")
def bare(server: ApiServer) -> dict[str, Any]:
    """An object of each kind that says as little as it may: what is stored is read at each write to its status."""
    objects = {}
    for kind in KINDS:
        least = min(SPECS[kind.kind], key=lambda spec: len(json.dumps(spec)))
        refusal, objects[kind.kind] = server.create(kind, raw_object(kind, least, "bare"), dry_run=False)
        assert refusal is None
    return objects


@each_kind
def test_the_api_server_has_no_complaint_about_a_definition(server: ApiServer, kind: Kind[Any, Any]) -> None:
    _, crd = server.send("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind.plural}.{GROUP}")
    conditions = {condition["type"]: condition["status"] for condition in crd["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}, "NonStructuralSchema would be listed here"


@each_kind
def test_a_definition_needs_little_room(kind: Kind[Any, Any]) -> None:
    assert (CRDS / f"{kind.plural}.{GROUP}.yaml").stat().st_size < 200_000


def test_examples_are_applied_and_applied_again_without_a_change(cluster: ControlPlane) -> None:
    manifests = yaml.safe_dump_all(
        raw_object(kind, spec, f"applied-{number}") for kind in KINDS for number, spec in enumerate(SPECS[kind.kind])
    )
    cluster.kubectl("apply", "-f", "-", input=manifests)
    again = cluster.kubectl("apply", "-f", "-", input=manifests)
    assert [line.split()[-1] for line in again.splitlines()] == ["unchanged"] * sum(map(len, SPECS.values()))


class Comparison:
    """Holds the verdicts of the API server against those of a model."""

    def __init__(
        self, model: type[ApiModel], write: Callable[[dict[str, Any]], tuple[str | None, Any]], part: str
    ) -> None:
        self.model = model
        self.write = write
        self.part = part
        self.accepted = self.refused = 0

    def compare(self, raw: dict[str, Any], model_says: str | None) -> None:
        self.hold(raw, model_says, self.write(raw))

    def compare_all(self, objects: Iterable[dict[str, Any]]) -> None:
        objects = list(objects)
        with ThreadPoolExecutor(8) as threads:
            for raw, answer in zip(objects, threads.map(self.write, objects), strict=True):
                self.hold(raw, model_refusal(self.model, raw[self.part]), answer)

    def hold(self, raw: dict[str, Any], model_says: str | None, answer: tuple[str | None, Any]) -> None:
        server_says, written = answer

        def shown() -> str:
            return json.dumps(raw.get(self.part), ensure_ascii=False)[:3000]

        assert (server_says is None) == (model_says is None), (
            f"the API server says: {server_says or 'accepted'}\nthe model says: {model_says or 'accepted'}\n{shown()}"
        )
        if server_says is not None:
            self.refused += 1
            return
        self.accepted += 1
        read = self.model.model_validate(written[self.part])
        assert read == self.model.model_validate(raw[self.part]), f"reads differently when stored: {shown()}"
        assert not list(left_to_the_model(read)), f"the API server filled in less than the model: {shown()}"


@each_kind
def test_both_agree_on_every_single_change_to_a_spec(server: ApiServer, kind: Kind[Any, Any]) -> None:
    verdicts = Comparison(kind.spec, lambda raw: server.create(kind, raw), "spec")
    verdicts.compare_all(raw_object(kind, spec) for spec in single_changes(SPECS[kind.kind]))
    assert verdicts.accepted > 25
    assert verdicts.refused > 200


@each_kind
def test_both_agree_on_every_single_change_to_a_status(
    server: ApiServer, bare: dict[str, Any], kind: Kind[Any, Any]
) -> None:
    path = f"{collection(kind)}/bare/status"
    verdicts = Comparison(kind.status, lambda raw: server.write("PUT", path, raw), "status")
    changes = [status for status in single_changes(STATUSES[kind.kind]) if status is not None]
    verdicts.compare_all(bare[kind.kind] | {"status": status} for status in changes)
    assert verdicts.accepted > 25
    assert verdicts.refused > 200


@each_kind
def test_both_agree_on_changes_combined(server: ApiServer, kind: Kind[Any, Any]) -> None:
    verdicts = Comparison(kind.spec, lambda raw: server.create(kind, raw), "spec")

    @settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(spec=combined_changes(kind.spec, SPECS[kind.kind]))
    def compare(spec: Any) -> None:
        verdicts.compare(raw_object(kind, spec), model_refusal(kind.spec, spec))

    compare()
    assert verdicts.accepted > 15
    assert verdicts.refused > 15


@each_kind
def test_both_agree_on_names(server: ApiServer, kind: Kind[Any, Any]) -> None:
    verdicts = {}
    for name in NAMES:
        refusal, _ = server.create(kind, raw_object(kind, SPECS[kind.kind][0], name))
        verdicts[name] = refusal is None
        assert verdicts[name] == all(rule.holds is None or rule.holds(name) for rule in kind.name_rules), name
    assert set(verdicts.values()) == {True, False}


@each_kind
def test_an_object_has_a_spec_and_nothing_unknown_beside_it(server: ApiServer, kind: Kind[Any, Any]) -> None:
    good = raw_object(kind, SPECS[kind.kind][0])
    assert server.create(kind, good)[0] is None
    for bad in ({key: good[key] for key in good if key != "spec"}, good | {"surplus": 1}):
        assert server.create(kind, bad)[0] is not None


def test_a_tenant_at_all_of_its_limits_is_within_the_cost_limit_of_rules(server: ApiServer) -> None:
    kind = next(kind for kind in KINDS if kind.kind == "IndustrialTenant")
    names = [f"{'n' * 58}-{number:04}" for number in range(256)]
    selector = {"matchLabels": {f"{'x' * 180}/{'y' * 60}{number:02}": "v" * 63 for number in range(16)}}
    shares = [{"name": name, "guaranteed": 1, "spot": 1} for name in names]
    spec = {
        "namespaces": [{"name": name, "defaultPool": "p" * 40} for name in names],
        "gpus": [
            {"pool": f"{'p' * 36}-{number:03}", "guaranteed": 256, "spot": 256, "namespaces": shares}
            for number in range(32)
        ],
        "owners": [
            {"kind": "ServiceAccount", "name": f"{'o' * 250}{number:03}", "namespace": "n" * 63} for number in range(64)
        ],
        "residency": {
            "jurisdictions": [f"J{number:015}" for number in range(16)],
            "regions": [f"{'r' * 37}{number:03}" for number in range(32)],
        },
        "quota": {f"count/{'q' * 60}{number:02}": "1" for number in range(64)},
        "network": {"allowFromNamespaces": [selector] * 16, "allowToNamespaces": [selector] * 16},
    }
    assert server.create(kind, raw_object(kind, spec))[0] is None
    spec["gpus"][-1]["namespaces"] = [*shares[1:], {"name": "elsewhere"}]
    assert "a namespace that the tenant does not have" in str(server.create(kind, raw_object(kind, spec))[0])


@pytest.mark.parametrize(
    ("kind", "field", "other"),
    [
        (kind, name, {"resourceName": "nvidia.com/gpu", "exclusivity": "Node"}.get(name, "another"))
        for kind in KINDS
        for name, info in kind.spec.model_fields.items()
        if any(isinstance(mark, Immutable) for mark in info.metadata)
    ],
    ids=lambda value: getattr(value, "kind", value),
)
def test_an_immutable_field_is_neither_changed_nor_removed(
    server: ApiServer, stored: dict[str, Any], kind: Kind[Any, Any], field: str, other: str
) -> None:
    hint = next(mark.hint for mark in kind.spec.model_fields[field].metadata if isinstance(mark, Immutable))
    path = f"{collection(kind)}/stored"
    update = copy.deepcopy(stored[kind.kind])
    assert server.write("PUT", path, update)[0] is None
    update["spec"][field] = other
    assert hint in str(server.write("PUT", path, update)[0])
    del update["spec"][field]
    assert f"spec.{field}" in str(server.write("PUT", path, update)[0])


def test_of_a_recurrence_only_its_end_and_its_acceptance_can_be_changed(server: ApiServer) -> None:
    kind = next(kind for kind in KINDS if kind.kind == "GpuReservation")
    recurrence = {"rule": "FREQ=WEEKLY;BYDAY=TU;COUNT=4", "timeZone": "Europe/Berlin"}
    spec = {
        "pool": "b200",
        "gpus": 8,
        "window": {"start": "2026-12-01T20:00:00Z", "duration": "2h"},
        "recurrence": recurrence,
    }
    _, created = server.create(kind, raw_object(kind, spec, "recurring"), dry_run=False)
    path = f"{collection(kind)}/recurring"

    def change(**fields: Any) -> str | None:
        return server.write("PUT", path, created | {"spec": {**spec, **fields}})[0]

    for good in ({"rule": "FREQ=WEEKLY;BYDAY=TU;UNTIL=20270101T000000Z"}, {"acceptance": "BestEffort"}):
        assert change(recurrence={**recurrence, **good}) is None
    assert change(window={"start": "2026-12-01T20:00:00Z", "end": "2026-12-01T21:00:00Z"}) is None
    hint = "create another reservation for other times"
    for bad in ({"rule": "FREQ=WEEKLY;BYDAY=WE;COUNT=4"}, {"rule": "FREQ=DAILY;COUNT=4"}, {"timeZone": "UTC"}):
        assert hint in str(change(recurrence={**recurrence, **bad}))
    assert hint in str(change(window={"start": "2026-12-01T19:00:00Z", "duration": "2h"}))
    assert hint in str(change(recurrence=None))
    once = {key: value for key, value in spec.items() if key != "recurrence"}
    assert server.create(kind, raw_object(kind, once, "once"), dry_run=False)[0] is None
    _, stored = server.send("GET", f"{collection(kind)}/once")
    assert hint in str(server.write("PUT", f"{collection(kind)}/once", stored | {"spec": spec})[0])


def test_other_fields_can_be_changed(server: ApiServer, stored: dict[str, Any]) -> None:
    for kind, field, value in (("GpuPool", "headroom", 17), ("GpuReservation", "gpus", 65)):
        update = stored[kind] | {"spec": stored[kind]["spec"] | {field: value}}
        path = collection(next(known for known in KINDS if known.kind == kind))
        assert server.write("PUT", f"{path}/stored", update)[0] is None


@each_kind
def test_a_stored_object_is_read_whole(stored: dict[str, Any], kind: Kind[Any, Any]) -> None:
    raw = stored[kind.kind]
    resource = parse(kind, raw)
    assert resource.spec == kind.spec.model_validate(SPECS[kind.kind][0])
    assert resource.status == kind.status.model_validate(STATUSES[kind.kind][0])
    assert (resource.name, resource.namespace) == ("stored", "default" if kind.namespaced else "")
    assert (resource.uid, resource.generation, resource.deleting) == (raw["metadata"]["uid"], 1, False)
    assert abs(resource.creation_timestamp.timestamp() - time.time()) < 300


@each_kind
def test_an_object_that_nobody_has_judged_says_so_whatever_its_author_claims(
    server: ApiServer, kind: Kind[Any, Any]
) -> None:
    claimed = {"observedGeneration": 1, "conditions": [UNSEEN["conditions"][0] | {"status": "True"}]}
    raw = raw_object(kind, SPECS[kind.kind][0], "unjudged") | {"status": claimed}
    assert server.create(kind, raw, dry_run=False)[0] is None
    _, read = server.send("GET", f"{collection(kind)}/unjudged")
    assert kind.status.model_validate(read["status"]) == kind.status.model_validate(UNSEEN)
    assert read["status"]["observedGeneration"] != read["metadata"]["generation"], "kstatus would count it as done"


@each_kind
@pytest.mark.usefixtures("stored")
def test_every_column_of_kubectl_get_shows_something(
    cluster: ControlPlane, server: ApiServer, kind: Kind[Any, Any]
) -> None:
    accept = "application/json;as=Table;g=meta.k8s.io;v=v1"
    _, table = server.send("GET", f"{collection(kind)}/stored", accept=accept)
    shown = dict(zip((column["name"] for column in table["columnDefinitions"]), table["rows"][0]["cells"], strict=True))
    assert list(shown) == ["Name", *(column.name for column in kind.columns)]
    assert all(cell not in {None, "", "<unknown>"} for cell in shown.values()), shown
    for name in (kind.kind, *kind.short_names):
        assert "stored" in cluster.kubectl("get", name, "stored", "-n", "default")


@pytest.mark.usefixtures("stored")
def test_one_category_lists_all_kinds(cluster: ControlPlane) -> None:
    listed = cluster.kubectl("get", "gputenancy", "-n", "default", "-o", "name").split()
    assert {f"{kind.kind.lower()}.{GROUP}/stored" for kind in KINDS} <= set(listed)


@each_kind
def test_kubectl_explain_describes_every_field(cluster: ControlPlane, server: ApiServer, kind: Kind[Any, Any]) -> None:
    schema = published_schema(server, kind)
    fields = list(properties(schema))
    assert [path for path, field in fields if not field.get("description")] == []
    explained = cluster.kubectl("explain", kind.plural, "--recursive")
    assert {path.rpartition(".")[2] for path, _ in fields} <= set(explained.replace("\t", " ").split())


def published_schema(server: ApiServer, kind: Kind[Any, Any]) -> dict[str, Any]:
    """Wait for the schema that kubectl explain reads; it is published some time after a definition is established."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status, document = server.send("GET", f"/openapi/v3/apis/{GROUP}/{VERSION}")
        for schema in document.get("components", {}).get("schemas", {}).values() if status == 200 else ():
            if any(known["kind"] == kind.kind for known in schema.get("x-kubernetes-group-version-kind", ())):
                return schema
        time.sleep(0.2)
    pytest.fail(f"no schema of {kind.kind} was published")


def properties(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """List the fields of our own making; what metadata holds is Kubernetes' own."""
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from properties(field, f"{path}.{name}")
    for nested in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(nested, dict):
            yield from properties(nested, path)
