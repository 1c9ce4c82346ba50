"""The run's certificate is believed for this machine's names, by its own CA only, for a bounded time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtensionOID

from decision.cli import certificates


def test_names_chain_and_validity() -> None:
    tls = certificates.make("run-1")
    ca, cert = x509.load_pem_x509_certificate(tls.ca.encode()), x509.load_pem_x509_certificate(tls.cert.encode())
    cert.verify_directly_issued_by(ca)
    names = cert.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    assert isinstance(names, x509.SubjectAlternativeName)
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert {str(address) for address in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}
    assert cert.not_valid_after_utc - datetime.now(UTC) < timedelta(days=91)
    assert cert.not_valid_before_utc < datetime.now(UTC)


def test_another_run_is_not_believed() -> None:
    one, other = certificates.make("run-1"), certificates.make("run-1")
    cert = x509.load_pem_x509_certificate(other.cert.encode())
    with pytest.raises(InvalidSignature):
        cert.verify_directly_issued_by(x509.load_pem_x509_certificate(one.ca.encode()))


def test_the_server_s_certificate_signs_nothing_and_the_ca_s_key_is_gone() -> None:
    tls = certificates.make("run-1")
    cert = x509.load_pem_x509_certificate(tls.cert.encode())
    assert cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert tls.key.count("PRIVATE KEY") == 2  # begin and end of one key
    assert "PRIVATE" not in tls.ca + tls.cert
    assert "PRIVATE" not in repr(tls)
