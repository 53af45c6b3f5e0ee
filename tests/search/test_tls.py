"""TLS to Elasticsearch is always verified."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.contract.errors import ConfigError, UnreachableError
from sidecar.search.upstream import Upstream


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is missing: it makes the test's certificate")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out",
         str(cert), "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return key, cert


@pytest.fixture
def port(certificate: tuple[Path, Path]) -> Iterator[int]:
    key, cert = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                raw, _ = listener.accept()
                with context.wrap_socket(raw, server_side=True) as sock:
                    while sock.recv(65_536):
                        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            except ssl.SSLError:
                continue
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    yield int(listener.getsockname()[1])
    listener.close()


def test_a_known_authority_is_trusted(port: int, certificate: tuple[Path, Path]) -> None:
    upstream = Upstream(f"https://localhost:{port}", ca_certs=str(certificate[1]))
    for _ in range(3):
        answer = upstream.request("GET", "/", [("Host", "localhost")])
        assert answer.read() == b"{}"
    upstream.close()


def test_an_unknown_authority_is_not(port: int) -> None:
    with pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
        Upstream(f"https://localhost:{port}").request("GET", "/", [("Host", "localhost")])


def test_a_certificate_for_another_name_is_not(port: int, certificate: tuple[Path, Path]) -> None:
    upstream = Upstream(f"https://127.0.0.1:{port}", ca_certs=str(certificate[1]))
    with pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
        upstream.request("GET", "/", [("Host", "localhost")])


def test_a_file_of_certificates_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Upstream("https://localhost", ca_certs=str(tmp_path / "none"))
    with pytest.raises(ConfigError):
        Upstream("ftp://localhost")
    with pytest.raises(ConfigError):
        Upstream("http://localhost:port")
