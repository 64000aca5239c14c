"""Encrypted connections, with certificates made for these tests (tls/: valid for 127.0.0.1 until 2126)."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from serving.client import AsyncClient, Client, ServingError
from tests.helpers.fake_service import FakeService, serving_at

CERTIFICATES = Path(__file__).parent / "tls"
TRUSTED, OTHER, KEY = (str(CERTIFICATES / name) for name in ("server.crt", "other.crt", "server.key"))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    pair = (CERTIFICATES / "server.key").read_bytes(), Path(TRUSTED).read_bytes()
    with serving_at(FakeService(), grpc.ssl_server_credentials([pair])) as address:
        yield address


def test_a_server_with_a_trusted_certificate_answers(address):
    with Client(address, ca_certificate=TRUSTED) as client:
        assert client.classify([b"x"])[0].valid


def test_a_server_with_a_trusted_certificate_answers_asyncio_too(address):
    async def ask():
        async with AsyncClient(address, ca_certificate=TRUSTED) as client:
            return await client.classify([b"x"])

    assert asyncio.run(ask())[0].valid


def test_a_server_with_a_certificate_of_another_authority_is_not_asked(address):
    with Client(address, ca_certificate=OTHER) as client, pytest.raises(ServingError) as caught:
        client.classify([b"x"])
    assert f"signed by ca_certificate={OTHER}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_talks_tls_does_not_answer_without(address):
    with Client(address) as client, pytest.raises(ServingError, match="if the server uses TLS, set ca_certificate"):
        client.classify([b"x"])


def test_a_server_without_tls_is_told_so():
    with (
        serving_at(FakeService()) as address,
        Client(address, ca_certificate=TRUSTED) as client,
        pytest.raises(ServingError, match="expected a TLS server"),
    ):
        client.classify([b"x"])


@pytest.mark.parametrize(
    "content, reason", [(None, "No such file"), (b"", "no PEM certificate"), (b"junk", "no PEM certificate")]
)
def test_a_file_without_certificates_is_named(tmp_path, content, reason):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"ca_certificate={path}: {reason}"):
        Client("127.0.0.1:8500", ca_certificate=str(path))


@pytest.mark.parametrize(
    "given, reason",
    [
        ({"client_certificate": TRUSTED}, "client_certificate=.*: expected both client_certificate and client_key"),
        (
            {"client_certificate": TRUSTED, "client_key": KEY},
            "expected a ca_certificate with it",
        ),
        ({"ca_certificate": TRUSTED, "client_certificate": OTHER, "client_key": KEY}, "expected PEM files that go"),
        ({"ca_certificate": TRUSTED, "client_certificate": "none.pem", "client_key": KEY}, "No such file"),
    ],
    ids=["no key", "no TLS", "of another key", "no file"],
)
def test_a_certificate_of_the_client_that_cannot_be_shown_is_told(given, reason):
    with pytest.raises(ValueError, match=reason):
        Client("127.0.0.1:8500", **given)
