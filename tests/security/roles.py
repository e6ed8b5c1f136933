"""What people may do: as the API server lists it, and as requests that were seen."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cluster.policy_scenarios import EDDA, OLGA
from cluster.rest import create
from gpu_tenancy.kube.resource import Resource
from security.world import OWN, ROSA, VERA

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cluster.rest import Api

_RULES_REVIEW = Resource(
    "authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", namespaced=False
)
GOLDEN = Path(__file__).with_name("roles.yaml")
NOBODY = "nobody-in-particular"
PEOPLE = {"owner": OLGA, "editor": EDDA, "viewer": VERA, "reservation-user": ROSA}
Right = tuple[str, str, str]
"""A group, a resource with its subresource, and a verb."""


def changed(api: Api, build: Path) -> str:
    """Compare what each role may do with what is written down; say so if it is not the same."""
    everybody = may(api, NOBODY, OWN)
    found = {"everybody": everybody} | {role: beyond(may(api, user, OWN), everybody) for role, user in PEOPLE.items()}
    text = yaml.safe_dump(
        {role: {title: " ".join(verbs) for title, verbs in rights.items()} for role, rights in found.items()},
        width=1000,
    )
    if text == GOLDEN.read_text():
        return ""
    build.mkdir(exist_ok=True)
    proposal = build / GOLDEN.name
    proposal.write_text(text)
    return f"what tenants may do has changed: compare {GOLDEN} with {proposal}, and copy it if it is meant"


def may(api: Api, user: str, namespace: str) -> dict[str, list[str]]:
    """List the verbs that somebody may use in a namespace, by resource and, where there is one, name."""
    review = api.must(create(_RULES_REVIEW, {"spec": {"namespace": namespace}}), user)["status"]
    assert not review.get("incomplete"), review
    rights: dict[str, set[str]] = defaultdict(set)
    for rule in review["resourceRules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames") or [""]:
                    rights[_title(group, resource, name)] |= set(rule["verbs"])
    return {title: sorted(verbs) for title, verbs in sorted(rights.items())}


def beyond(rights: dict[str, list[str]], everybody: dict[str, list[str]]) -> dict[str, list[str]]:
    """Leave out what everybody may."""
    more = {title: [verb for verb in verbs if verb not in everybody.get(title, [])] for title, verbs in rights.items()}
    return {title: verbs for title, verbs in more.items() if verbs}


def _title(group: str, resource: str, name: str) -> str:
    plural, _, subresource = resource.partition("/")
    return f"{plural}{group and '.'}{group}{subresource and '/'}{subresource}{name and ' '}{name}"


def granted(rules: Iterable[dict[str, Any]]) -> set[Right]:
    """Spell out the rules of a role."""
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def seen(audit_log: Path) -> set[Right]:
    """Read what was asked and allowed; what was forbidden is asked in vain, and a fault as well."""
    written, _, _ = audit_log.read_text().rpartition("\n")  # the last line may be half written
    entries = [json.loads(line) for line in written.splitlines()]
    references = [(entry["objectRef"], entry["verb"]) for entry in entries if "objectRef" in entry]
    return {
        (reference.get("apiGroup", ""), _with_subresource(reference), verb)
        for reference, verb in references
        if "resource" in reference
    }


def _with_subresource(reference: dict[str, Any]) -> str:
    subresource = reference.get("subresource")
    return f"{reference['resource']}/{subresource}" if subresource else reference["resource"]
