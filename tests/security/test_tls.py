"""TLS: with certificates made for the test, replaced while the server runs, and asked of clients."""

from __future__ import annotations

import signal
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from qdrant_client import QdrantClient

from tests.http.running_server import RunningServer, serving, until
from tests.security.conftest import API_KEY
from vdb.config import load_settings
from vdb.errors import Misconfigured
from vdb.tls import Certificates

HOST = "127.0.0.1"


class Files:
    """A certificate authority and the files that a server is given."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.cert, self.key, self.ca_cert = folder / "cert.pem", folder / "key.pem", folder / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca_cert)
        self.serial = self.renew()

    def renew(self) -> int:
        """Writes another certificate in the place of the last; its serial number."""
        from cryptography import x509

        issued = self.authority.issue_cert(HOST)
        self.cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(self.key)
        return x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).serial_number

    @property
    def environment(self) -> dict[str, str]:
        return {
            "VDB__SERVICE__ENABLE_TLS": "true",
            "VDB__TLS__CERT": str(self.cert),
            "QDRANT__TLS__KEY": str(self.key),
            "VDB__TLS__CA_CERT": str(self.ca_cert),
        }

    def trusting(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def served_serial(self, server: RunningServer) -> int:
        """The serial number of the certificate that a new connection is shown."""
        from cryptography import x509

        address = httpx.URL(server.url)
        pem = ssl.get_server_certificate((address.host, address.port or 0), timeout=20)
        return x509.load_pem_x509_certificate(pem.encode()).serial_number


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Files]]:
    folder = tmp_path_factory.mktemp("tls")
    files = Files(folder)
    with serving(folder / "storage", VDB__SERVICE__API_KEY=API_KEY, **files.environment) as server:
        yield server, files


def test_it_speaks_https_and_nothing_else(served: tuple[RunningServer, Files]) -> None:
    server, files = served
    assert server.url.startswith(f"https://{HOST}:")
    with httpx.Client(verify=files.trusting(), base_url=server.url, headers={"api-key": API_KEY}) as client:
        assert client.get("/collections").json()["result"] == {"collections": []}
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(server.url)
    with pytest.raises(httpx.TransportError):
        httpx.get(server.url.replace("https", "http"))


def test_qdrants_own_client_works_over_tls(served: tuple[RunningServer, Files]) -> None:
    server, files = served
    # Its check of versions does not use the context, and fails in a thread.
    client = QdrantClient(server.url, api_key=API_KEY, verify=files.trusting(), check_compatibility=False)
    assert client.get_collections().collections == []
    client.close()


def test_versions_of_tls_that_are_broken_are_refused(served: tuple[RunningServer, Files]) -> None:
    server, files = served
    context = files.trusting()
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url, verify=context)


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGHUP")
def test_a_new_certificate_is_read_on_sighup_and_a_wrong_one_is_not(files: Files, tmp_path: Path) -> None:
    with serving(tmp_path / "storage", **files.environment) as server:
        assert files.served_serial(server) == files.serial
        with httpx.Client(verify=files.trusting(), base_url=server.url) as kept:
            kept.get("/healthz")
            renewed = files.renew()
            server.process.send_signal(signal.SIGHUP)
            until(lambda: files.served_serial(server) == renewed)
            assert kept.get("/healthz").status_code == 200  # on the connection that it had
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "have not changed" in server.log)
        files.key.write_text("no key", encoding="utf-8")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: "keeping the certificate that was read before: cannot use tls.cert" in server.log)
        assert files.served_serial(server) == renewed


def test_a_new_certificate_is_found_without_being_told(files: Files, tmp_path: Path) -> None:
    with serving(tmp_path / "storage", VDB__TLS__CERT_TTL="1", **files.environment) as server:
        renewed = files.renew()
        until(lambda: files.served_serial(server) == renewed)


def test_clients_without_a_certificate_of_the_authority_are_refused(files: Files, tmp_path: Path) -> None:
    environment = {**files.environment, "VDB__SERVICE__VERIFY_HTTPS_CLIENT_CERTIFICATE": "true"}
    with serving(tmp_path / "storage", **environment) as server:
        known = files.trusting()
        files.authority.issue_cert("client@example.org").configure_cert(known)
        assert httpx.get(server.url, verify=known).status_code == 200
        stranger = files.trusting()
        trustme.CA().issue_cert("client@example.org").configure_cert(stranger)
        for context in (files.trusting(), stranger):
            with pytest.raises(httpx.TransportError):
                httpx.get(server.url, verify=context)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [("cert", r"cert\.pem: No such file"), ("key", r"key\.pem: No such file"), ("other key", "cannot use tls.cert")],
)
def test_files_that_are_wrong_keep_the_server_from_starting(files: Files, broken: str, complaint: str) -> None:
    if broken == "other key":
        trustme.CA().issue_cert(HOST).private_key_pem.write_to_path(files.key)
    else:
        getattr(files, broken).unlink()
    settings = load_settings((), files.environment)
    with pytest.raises(Misconfigured, match=complaint):
        Certificates(settings.service, settings.tls)


def test_a_key_with_a_password_is_refused_and_not_asked_for(files: Files) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    files.key.write_bytes(encrypted)
    settings = load_settings((), files.environment)
    with pytest.raises(Misconfigured, match=r"cannot use tls\.cert"):
        Certificates(settings.service, settings.tls)
