"""The library clients: images in, predictions out, for threads and for asyncio."""

import abc
import asyncio
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from serving import signatures as wire
from serving.client.endpoint import Endpoint
from serving.client.image_inputs import Images
from serving.client.requests import (
    Prediction,
    Request,
    Response,
    build_requests,
    check_classifying,
    read_features,
    read_predictions,
)

if TYPE_CHECKING:
    from serving.client.grpc_connection import AsyncGrpcConnection

__all__ = ["AsyncClient", "Client"]


class _Connection(Protocol):
    def predict(self, request: Request) -> Response: ...
    def signatures(self) -> list[str]: ...
    def close(self) -> None: ...


class _ClientArguments(abc.ABC):
    """The arguments of both clients; see `Client`."""

    def __init__(
        self,
        server: str,
        model_name: str = "alexnet",
        timeout_s: float = 60.0,
        version: int | None = None,
        version_label: str | None = None,
        ca_certificate: str | None = None,
        client_certificate: str | None = None,
        client_key: str | None = None,
    ):
        certificates = (ca_certificate, client_certificate, client_key)
        self._connect(Endpoint(server, model_name, timeout_s, version, version_label, *certificates))

    @abc.abstractmethod
    def _connect(self, endpoint: Endpoint) -> None:
        """Creates the connection, which sends nothing yet."""


class Client(_ClientArguments):
    """Predicts the classes or the features of images at a server; a context manager that closes its channel.

    Safe to share between threads. Nothing is sent before the first call.

    Args:
        server: "host:port" of the gRPC port, or "http://host:port" (https://) of TensorFlow Serving's REST port. Of
            several addresses ("dns:///name:8500", "ipv4:10.0.0.1:8500,10.0.0.2:8500") are used round-robin.
        model_name: name under which the server serves the model.
        timeout_s: seconds for each request, retries included. A request carries at most 16 images or 64 MB, whichever
            is reached first. It is sent again, with backoff, where the server is unavailable (twice) or all its threads
            are taken (until the deadline).
        version: version of the model; None for the newest.
        version_label: label of the version, instead of its number.
        ca_certificate: PEM file with CA certificates; turns TLS on and verifies the server with them.
        client_certificate, client_key: PEM files; the certificate for servers that require one, and its key.

    Raises:
        ValueError: an argument that cannot be used.

    Every method raises `ServingError`, an OSError, when there is no usable response.

    Examples:
        >>> with Client("127.0.0.1:8500") as client:
        ...     for prediction in client.classify(["cat.jpg", "dog.png"], top_k=1):
        ...         print(prediction.labels, prediction.scores)
    """

    def _connect(self, endpoint: Endpoint) -> None:
        self._connection = _connection(endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channel; the client cannot be used any more."""
        self._connection.close()

    def classify(self, images: Images, signature: str | None = None, top_k: int = wire.TOP_K) -> list[Prediction]:
        """Predicts the best classes of each image.

        Args:
            images: a list of JPEG or PNG files, any number: contents (bytes, bytearray, memoryview), paths, files
                opened for reading bytes; PIL images, which are sent as PNG; or pixels, uint8 [N,R,R,3] or [R,R,3].
                Nothing is resized here: R must be that of the export's signature `images`. Paths are read when their
                turn comes and must be JPEG or PNG files; contents are sent as they are.
            signature: SIGNATURE_TEN_CROP, SIGNATURE_CENTER or SIGNATURE_IMAGES. None chooses SIGNATURE_IMAGES for
                pixels and SIGNATURE_TEN_CROP otherwise. Pixels are sent as PNG to the first two.
            top_k: number of classes, 1 or more; at most those of the export (its own top_k, 5 by default) are returned.

        Returns:
            One Prediction per image, in order.

        Raises:
            ValueError: a file that is not an image, images that do not go with the signature, a signature without
                classes.
            ServingError: no usable response.
        """
        check_classifying(signature, top_k)
        predictions: list[Prediction] = []
        for request in build_requests(images, signature):
            predictions += read_predictions(self._connection.predict(request), top_k)
        return predictions

    def features(self, images: Images) -> tuple[np.ndarray, np.ndarray]:
        """The input of the classifier layer (fc7 of AlexNet) for the centre crop of each image.

        Args:
            images: as for `classify`; pixels are sent as PNG.

        Returns:
            features float32 [N,F], F = 4096 for AlexNet, and valid bool [N]; invalid rows are zero.

        Raises:
            ValueError: a file that is not an image.
            ServingError: no usable response.
        """
        requests = build_requests(images, wire.SIGNATURE_FEATURES)
        return read_features([self._connection.predict(request) for request in requests])

    def signatures(self) -> list[str]:
        """Names of the signatures of the model, sorted."""
        return self._connection.signatures()


class AsyncClient(_ClientArguments):
    """Client for asyncio, over gRPC: same arguments as `Client`, methods are coroutines; an async context manager.

    The requests of one call follow each other; use `asyncio.gather` to run calls concurrently. A client belongs to the
    event loop of its first call.
    """

    def _connect(self, endpoint: Endpoint) -> None:
        self._connection = _async_connection(endpoint)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """As Client.close."""
        await self._connection.close()

    async def classify(self, images: Images, signature: str | None = None, top_k: int = wire.TOP_K) -> list[Prediction]:
        """As Client.classify. Files are read in a thread, beside the event loop."""
        check_classifying(signature, top_k)
        predictions: list[Prediction] = []
        async for request in _in_thread(build_requests(images, signature)):
            predictions += read_predictions(await self._connection.predict(request), top_k)
        return predictions

    async def features(self, images: Images) -> tuple[np.ndarray, np.ndarray]:
        """As Client.features."""
        requests = _in_thread(build_requests(images, wire.SIGNATURE_FEATURES))
        return read_features([await self._connection.predict(request) async for request in requests])

    async def signatures(self) -> list[str]:
        """As Client.signatures."""
        return await self._connection.signatures()


def _connection(endpoint: Endpoint) -> _Connection:
    if endpoint.is_rest:
        from serving.client.rest_connection import RestConnection

        return RestConnection(endpoint)
    from serving.client.grpc_connection import GrpcConnection

    return GrpcConnection(endpoint)


def _async_connection(endpoint: Endpoint) -> "AsyncGrpcConnection":
    from serving.client.grpc_connection import AsyncGrpcConnection

    return AsyncGrpcConnection(endpoint)


async def _in_thread(requests: Iterator[Request]) -> AsyncIterator[Request]:
    while (request := await asyncio.to_thread(next, requests, None)) is not None:
        yield request
