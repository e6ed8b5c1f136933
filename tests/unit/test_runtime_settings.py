from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

import pytest

from gpu_tenancy.reconcile.views import Platform
from gpu_tenancy.runtime.settings import PREFIX, Settings, SettingsError


def test_the_defaults_are_valid():
    settings = Settings.from_environment({})
    assert settings.namespace == "gpu-tenancy-system"
    assert settings.lease_timings.longest_write == 5


def test_every_setting_says_what_it_is():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_setting_can_be_given_as_a_variable():
    environment = {
        "GPU_TENANCY_NAMESPACE": "elsewhere",
        "GPU_TENANCY_WORKERS": "4",
        "GPU_TENANCY_MAX_CONCURRENT_WRITES": "7",
        "GPU_TENANCY_LEASE_ENABLED": "false",
        "GPU_TENANCY_LEASE_NAME": "other",
        "GPU_TENANCY_LEASE_DURATION": "1.5",
        "GPU_TENANCY_LEASE_RENEW_DEADLINE": "1",
        "GPU_TENANCY_LEASE_RETRY_PERIOD": "0.2",
        "GPU_TENANCY_HTTP_HOST": "::",
        "GPU_TENANCY_HTTP_PORT": "0",
        "GPU_TENANCY_LOG_FORMAT": "json",
        "GPU_TENANCY_LOG_LEVEL": "DEBUG",
        "GPU_TENANCY_RESIDENCY_AUDIT_INTERVAL": "60",
        "GPU_TENANCY_CONTROL_VERIFICATION_INTERVAL": "3600",
        "GPU_TENANCY_CLOSED_NETWORKS": "100.64.0.0/10, 2001:db8::/32",
        "GPU_TENANCY_DNS_NAMESPACE_LABELS": "kubernetes.io/metadata.name=dns",
        "GPU_TENANCY_DNS_POD_LABELS": "app=coredns, tier=core",
        "GPU_TENANCY_DNS_ADDRESSES": "169.254.20.10",
        "GPU_TENANCY_CLUSTER_NETWORK_POLICY_PRIORITY": "0",
    }
    assert {name.removeprefix(PREFIX).lower() for name in environment} == set(Settings.model_fields)
    assert Settings.from_environment(environment).model_dump() == {
        "namespace": "elsewhere",
        "workers": 4,
        "max_concurrent_writes": 7,
        "lease_enabled": False,
        "lease_name": "other",
        "lease_duration": 1.5,
        "lease_renew_deadline": 1.0,
        "lease_retry_period": 0.2,
        "http_host": "::",
        "http_port": 0,
        "log_format": "json",
        "log_level": "DEBUG",
        "residency_audit_interval": 60.0,
        "control_verification_interval": 3600.0,
        "closed_networks": (IPv4Network("100.64.0.0/10"), IPv6Network("2001:db8::/32")),
        "dns_namespace_labels": {"kubernetes.io/metadata.name": "dns"},
        "dns_pod_labels": {"app": "coredns", "tier": "core"},
        "dns_addresses": (IPv4Network("169.254.20.10/32"),),
        "cluster_network_policy_priority": 0,
    }


def test_the_platform_is_what_the_settings_say_and_by_default_its_own_defaults():
    assert Settings.from_environment({}).platform == Platform()
    settings = Settings(
        namespace="elsewhere",
        closed_networks="100.64.0.0/10",
        dns_namespace_labels="ns=dns",
        dns_pod_labels="a=b,c=d",
        dns_addresses="169.254.20.10,fd00::10",
    )
    assert settings.platform == Platform(
        operator_namespace="elsewhere",
        closed_networks=("100.64.0.0/10",),
        dns_namespace_labels=(("ns", "dns"),),
        dns_pod_labels=(("a", "b"), ("c", "d")),
        dns_addresses=("169.254.20.10/32", "fd00::10/128"),
    )


def test_an_option_wins_over_a_variable_and_one_that_was_not_given_does_not():
    settings = Settings.from_environment(
        {"GPU_TENANCY_WORKERS": "4", "GPU_TENANCY_HTTP_PORT": "9000"}, workers=8, http_port=None
    )
    assert (settings.workers, settings.http_port) == (8, 9000)


def test_an_empty_variable_counts_as_not_set():
    assert Settings.from_environment({"GPU_TENANCY_WORKERS": ""}).workers == 16


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("WORKERS", "many", "valid integer"),
        ("WORKERS", "0", "greater than or equal to 1"),
        ("HTTP_PORT", "65536", "less than or equal to 65535"),
        ("LEASE_ENABLED", "perhaps", "valid boolean"),
        ("LEASE_DURATION", "nan", "finite number"),
        ("LOG_FORMAT", "xml", "'json' or 'text'"),
        ("NAMESPACE", "Not_A_Name", "match pattern"),
        ("CLOSED_NETWORKS", "10.0.0.0/33", "not a valid IPv4 or IPv6 network"),
        ("CLOSED_NETWORKS", "10.0.0.1/8", "not a valid IPv4 or IPv6 network"),
        ("DNS_POD_LABELS", "coredns", "key=value"),
        ("DNS_POD_LABELS", ",", "key=value"),
        ("DNS_ADDRESSES", "dns", "not a valid IPv4 or IPv6 network"),
    ],
)
def test_a_wrong_value_is_refused_with_the_variable_and_the_reason(name: str, text: str, says: str):
    with pytest.raises(SettingsError, match=f"^GPU_TENANCY_{name}.*: .*{says}"):
        Settings.from_environment({f"GPU_TENANCY_{name}": text})


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(
            {"GPU_TENANCY_WORKERS": "x", "GPU_TENANCY_HTTP_PORT": "y", "GPU_TENANCY_LOG_LEVL": "z"}
        )
    assert len(str(caught.value).splitlines()) == 3


def test_a_lease_that_would_be_renewed_too_late_is_refused():
    with pytest.raises(SettingsError, match=r"2 \* retry period <= renew deadline < duration"):
        Settings.from_environment({"GPU_TENANCY_LEASE_DURATION": "10"})


def test_a_slip_of_the_pen_is_refused_with_the_right_name():
    with pytest.raises(SettingsError, match=r"GPU_TENANCY_WORKER: .* did you mean GPU_TENANCY_WORKERS"):
        Settings.from_environment({"GPU_TENANCY_WORKER": "4"})


def test_variables_that_kubernetes_adds_for_services_do_no_harm():
    environment = {
        "GPU_TENANCY_SERVICE_HOST": "10.0.0.1",
        "GPU_TENANCY_SERVICE_PORT": "8080",
        "GPU_TENANCY_SERVICE_PORT_HTTP": "8080",
        "GPU_TENANCY_PORT": "tcp://10.0.0.1:8080",
        "GPU_TENANCY_PORT_8080_TCP": "tcp://10.0.0.1:8080",
        "GPU_TENANCY_PORT_8080_TCP_PROTO": "tcp",
        "GPU_TENANCY_PORT_8080_TCP_PORT": "8080",
        "GPU_TENANCY_PORT_8080_TCP_ADDR": "10.0.0.1",
        "GPU_TENANCY_METRICS_PORT": "tcp://10.0.0.1:8080",
        "GPU_TENANCY_METRICS_SERVICE_HOST": "10.0.0.1",
    }
    assert Settings.from_environment(environment) == Settings.from_environment({})


def test_settings_never_change():
    with pytest.raises(ValueError, match="frozen"):
        Settings.from_environment({}).workers = 3
