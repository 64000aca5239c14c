"""The server and model that requests go to, and the errors that describe why there is no response."""

import re
import ssl
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import grpc

from pipelines.cli.regular_files import MAX_TEXT_BYTES, open_file
from pipelines.cli.safe_text import one_line

_LOOPBACK = re.compile(r"(https?://|dns:///|ipv[46]:)?(localhost|127\.[0-9.]+|\[::1\])(:|/|$)")
_MOST_PORT = 65535
_MOST_DETAILS = 300
# How a connection ends if the server required a certificate: TLS 1.3 requests it after the client's handshake.
_CLOSED = re.compile("Socket closed|reset by peer|Broken pipe|certificate required", re.IGNORECASE)


class ServingError(OSError):
    """The server cannot be reached, refuses a request, or sends an unusable response. The message is one line.

    Attributes:
        code: the gRPC status; over REST, the one that corresponds to the HTTP status.
    """

    def __init__(self, message: str, code: grpc.StatusCode = grpc.StatusCode.UNKNOWN):
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Endpoint:
    """A model at a server.

    Attributes:
        server: "host:port" of the gRPC port, or "http://host:port" (https://) of the REST port.
        model_name: name under which the server serves the model.
        timeout_s: seconds for one request, its retries included.
        version: number of the version; None for the newest.
        version_label: label of the version ("stable"); None for the newest.
        ca_certificate: PEM file with the certificates that the server's own must be signed by. Turns TLS on over gRPC;
            over REST, https:// does, with the system's certificates if there is no file.
        client_certificate: PEM file with the certificate for servers that require one.
        client_key: PEM file with the key of that certificate, without a password.

    Raises:
        ValueError: version and label both given, or the certificates cannot be read or do not go together.
    """

    server: str
    model_name: str = "alexnet"
    timeout_s: float = 60.0
    version: int | None = None
    version_label: str | None = None
    ca_certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None

    def __post_init__(self) -> None:
        if self.version is not None and self.version_label is not None:
            raise ValueError(f"version={self.version}: expected no version_label with it ({self.version_label})")
        if not self.timeout_s > 0:
            raise ValueError(f"timeout_s={self.timeout_s}: expected more than 0")
        port = re.search(r":([0-9]+)/?$", self.server)
        if port and int(port[1]) > _MOST_PORT:
            raise ValueError(f"server={self.server}: expected a port of at most {_MOST_PORT}")
        if (self.client_certificate is None) != (self.client_key is None):
            given = "client_certificate" if self.client_key is None else "client_key"
            raise ValueError(f"{given}={getattr(self, given)}: expected both client_certificate and client_key")
        if self.client_certificate is not None and self.ca_certificate is None and not self.is_rest:
            raise ValueError(
                f"client_certificate={self.client_certificate}: expected a ca_certificate with it, for TLS"
            )
        if self.ca_certificate is not None or self.client_certificate is not None:
            self.tls_context()

    @property
    def is_rest(self) -> bool:
        """Whether `server` is a REST address."""
        return self.server.startswith(("http://", "https://"))

    @property
    def is_local(self) -> bool:
        """Whether `server` is this machine, which no proxy can reach."""
        return bool(_LOOPBACK.match(self.server))

    def tls_context(self) -> ssl.SSLContext:
        """The certificates to check the server against and to present to it.

        Raises:
            ValueError: the certificates cannot be read.
        """
        try:
            _check_file(self.ca_certificate)
            context = ssl.create_default_context(cafile=self.ca_certificate)
        except OSError as error:  # SSLError is one
            reason = "no PEM certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
            raise ValueError(f"ca_certificate={self.ca_certificate}: {reason}; expected a PEM file") from error
        if self.client_certificate is not None:
            try:
                _check_file(self.client_certificate)
                _check_file(self.client_key)
                # Without a password argument, OpenSSL would prompt for one on the terminal.
                context.load_cert_chain(self.client_certificate, self.client_key, password=lambda: b"")
            except OSError as error:
                given = f"client_certificate={self.client_certificate}: (client_key={self.client_key})"
                reason = "not a certificate and its key" if isinstance(error, ssl.SSLError) else error.strerror
                raise ValueError(f"{given} {reason}; expected PEM files that go together") from error
        return context

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """The same for a gRPC channel."""
        files = (self.ca_certificate, self.client_key, self.client_certificate)
        return grpc.ssl_channel_credentials(*(Path(file).read_bytes() if file else None for file in files))

    def error(
        self, code: grpc.StatusCode, details: str | None, signature: str = "", offered: Collection[str] = ()
    ) -> ServingError:
        """The error to raise for a status.

        Args:
            code: the status.
            details: the message of the server or of the channel.
            signature: the signature of the request.
            offered: the signatures of the model, if known.
        """
        text = one_line(details or "")[:_MOST_DETAILS]
        return ServingError(self._message(code, text, signature, offered), code)

    def _message(self, code: grpc.StatusCode, details: str, signature: str, offered: Collection[str]) -> str:
        if code == grpc.StatusCode.UNAVAILABLE:
            return f"server={self.server}: not available ({details}); {self._remedy(details)}"
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"timeout_s={self.timeout_s:g}: no response from {self.server} in time ({details}); set a larger one"
        if code == grpc.StatusCode.NOT_FOUND:
            version = "" if self.version is None else f" (version {self.version})"
            return f"model_name={self.model_name}: {self.server} does not serve it{version} ({details})"
        if code == grpc.StatusCode.INVALID_ARGUMENT and self.version_label and "label" in details:
            return f"version_label={self.version_label}: {self.server} has no such version ({details})"
        if offered and signature not in offered:
            names = one_line(", ".join(offered))[:_MOST_DETAILS]
            return f"signature={signature}: {self.model_name} at {self.server} has no such signature; expected {names}"
        return f"server={self.server}: {code.name}: {details}"

    def _remedy(self, details: str) -> str:
        if self.ca_certificate is not None and self.client_certificate is None and _CLOSED.search(details):
            return "if the server requires a certificate, set client_certificate and client_key"
        if self.ca_certificate is not None and re.search("handshake|certificate", details, re.IGNORECASE):
            return f"expected a TLS server whose certificate is signed by ca_certificate={self.ca_certificate}"
        if "Socket closed" in details:
            return "if the server uses TLS, set ca_certificate"
        if self.is_rest:
            return "start TensorFlow Serving with a REST port, or use that port (8501, not 8500, by default)"
        return "start one with `python -m serving.server`, or use its gRPC port (8500, not 8501, by default)"


def _check_file(path: str | None) -> None:
    """Raises OSError for a file that OpenSSL would not come to the end of, such as a named pipe."""
    if path is not None:
        open_file(path, MAX_TEXT_BYTES).close()
