"""The control plane's authority signs what the API server and its users need, and nothing more."""

from __future__ import annotations

import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gpu_tenancy.localcluster.certificates import CertificateAuthority


@pytest.fixture(scope="module")
def authority():
    return CertificateAuthority.create()


def read(pair):
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    assert load_pem_private_key(pair.key, None).public_key() == certificate.public_key()
    return certificate


def extended_usage(certificate):
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_a_client_certificate_names_the_user_and_the_groups(authority):
    certificate = read(authority.client("anna@example.com", ["neura-admins", "neura-users"]))
    assert [name.value for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [
        "anna@example.com"
    ]
    assert [name.value for name in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == [
        "neura-admins",
        "neura-users",
    ]
    assert extended_usage(certificate) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate.verify_directly_issued_by(authority.certificate)


def test_a_server_certificate_is_for_its_names_and_cannot_be_a_client(authority):
    certificate = read(authority.server("api", ["localhost"], ["127.0.0.1"]))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("127.0.0.1")]
    assert extended_usage(certificate) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_only_the_authority_can_sign(authority):
    def is_authority(certificate):
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca

    assert is_authority(authority.certificate)
    assert not is_authority(read(authority.client("anna")))


def test_an_authority_read_from_files_signs_like_before(authority, tmp_path):
    (tmp_path / "ca.crt").write_bytes(authority.pem.certificate)
    (tmp_path / "ca.key").write_bytes(authority.pem.key)
    loaded = CertificateAuthority.load(tmp_path / "ca.crt", tmp_path / "ca.key")
    read(loaded.client("anna")).verify_directly_issued_by(authority.certificate)
