"""Which model at which server is asked, and what is said when it does not answer."""

import re
import ssl
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import grpc

_LOOPBACK = re.compile(r"(https?://)?(localhost|127\.[0-9.]+|\[::1\])(:|/|$)")
_GREATEST_PORT = 65535
# What is seen of a server that wanted a certificate: TLS 1.3 asks for it when the client thinks that all is well.
_CLOSED = re.compile("Socket closed|reset by peer|Broken pipe|certificate required", re.IGNORECASE)


class ServingError(ValueError):
    """The server was not reached or refused: one line that says why and what to do.

    Attributes:
        code: the gRPC status; over REST the one that the HTTP status stands for.
    """

    def __init__(self, message: str, code: grpc.StatusCode = grpc.StatusCode.UNKNOWN):
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Target:
    """A model at a server.

    Attributes:
        server: "host:port" of the gRPC port, or "http://host:port" (https://) of the REST port.
        model_name: name under which the server serves the model.
        timeout_s: seconds that one request may take, its retries included.
        version: number of the version to ask; None asks the newest.
        version_label: label of the version to ask ("stable"); None asks the newest.
        ca_certificate: PEM file with the certificates that the server's own must be signed by. It turns TLS on over
            gRPC; over REST https:// does, and takes the system's certificates if there is no file.
        client_certificate: PEM file with the certificate that is shown to a server which asks for one.
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

    def __post_init__(self):
        if self.version is not None and self.version_label is not None:
            raise ValueError(
                f"version={self.version} and --version_label={self.version_label}: expected at most one of them"
            )
        port = re.search(r":([0-9]+)/?$", self.server)
        if port and int(port[1]) > _GREATEST_PORT:
            raise ValueError(f"server={self.server}: expected a port of at most {_GREATEST_PORT}")
        if (self.client_certificate is None) != (self.client_key is None):
            raise ValueError("client_certificate and --client_key: expected both or none of them")
        if self.client_certificate is not None and self.ca_certificate is None and not self.is_rest:
            raise ValueError("client_certificate without --ca_certificate: expected both, to talk TLS")
        if self.ca_certificate is not None or self.client_certificate is not None:
            self.tls_context()

    @property
    def is_rest(self) -> bool:
        """Whether `server` is a REST address."""
        return self.server.startswith(("http://", "https://"))

    @property
    def is_local(self) -> bool:
        """Whether `server` is this machine, which a proxy meant for the internet would not find."""
        return bool(_LOOPBACK.match(self.server))

    def tls_context(self) -> ssl.SSLContext:
        """What the server's certificate is checked against, and the certificate to show to it.

        Raises:
            ValueError: the certificates cannot be read.
        """
        context = self._trusting_context()
        if self.client_certificate is not None:
            try:
                # Without a password of ours, OpenSSL would ask for one on the terminal.
                context.load_cert_chain(self.client_certificate, self.client_key, password=lambda: b"")
            except OSError as error:
                given = f"--client_certificate={self.client_certificate} --client_key={self.client_key}"
                reason = "no certificate and its key" if isinstance(error, ssl.SSLError) else error.strerror
                raise ValueError(f"{given}: {reason}; expected PEM files that go together") from error
        return context

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """The same for a gRPC channel."""
        files = (self.ca_certificate, self.client_key, self.client_certificate)
        return grpc.ssl_channel_credentials(*(file and Path(file).read_bytes() for file in files))

    def _trusting_context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca_certificate)
        except OSError as error:  # an SSLError is one
            reason = "no PEM certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
            raise ValueError(f"ca_certificate={self.ca_certificate}: {reason}; expected a PEM file") from error

    def explained(
        self, code: grpc.StatusCode, details: str, signature: str = "", offered: Collection[str] = ()
    ) -> ServingError:
        """The error to raise for a status.

        Args:
            code: the status.
            details: what the server or the channel said.
            signature: the signature that was asked for.
            offered: the signatures that the model has, if it was asked.
        """
        return ServingError(self._message(code, " ".join(details.split()), signature, offered), code)

    def _message(self, code: grpc.StatusCode, details: str, signature: str, offered: Collection[str]) -> str:
        if code == grpc.StatusCode.UNAVAILABLE:
            return f"--server={self.server}: no server answers ({details}); {self._remedy(details)}"
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"--timeout_s={self.timeout_s:g}: {self.server} did not answer in time ({details}); allow more"
        if code == grpc.StatusCode.NOT_FOUND:
            version = "" if self.version is None else f" --version={self.version}"
            return f"--model_name={self.model_name}{version}: {self.server} does not serve it ({details})"
        if code == grpc.StatusCode.INVALID_ARGUMENT and self.version_label and "label" in details:
            return f"--version_label={self.version_label}: {self.server} has no such version ({details})"
        if offered and signature not in offered:
            return (
                f"--signature={signature}: {self.model_name} at {self.server} has no such signature; "
                f"expected one of {', '.join(offered)}"
            )
        return f"--server={self.server}: {code.name}: {details}"

    def _remedy(self, details: str) -> str:
        if self.ca_certificate is not None and self.client_certificate is None and _CLOSED.search(details):
            return "if the server asks for a certificate, name a --client_certificate and its --client_key"
        if self.ca_certificate is not None and re.search("handshake|certificate", details, re.IGNORECASE):
            return f"expected one that talks TLS, its certificate signed by --ca_certificate={self.ca_certificate}"
        if "Socket closed" in details:
            return "if the server talks TLS, name its --ca_certificate"
        if self.is_rest:
            return "start TensorFlow Serving with --rest_api_port, or name its REST port (8501, not 8500, by default)"
        return "start one with `python -m serving.server`, or name its gRPC port (8500, not 8501, by default)"
