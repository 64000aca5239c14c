"""The library clients: images in, named classes out, in threads and in asyncio."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Self

import numpy as np

from serving import signatures as wire
from serving.connection import AsyncConnection, Connection
from serving.questions import (
    BYTES_PER_REQUEST,
    IMAGES_PER_REQUEST,
    Photograph,
    Question,
    Result,
    check_classifying,
    questions_about,
    read_features,
    read_results,
)
from serving.rest import RestConnection
from serving.target import Target

__all__ = ["BYTES_PER_REQUEST", "IMAGES_PER_REQUEST", "AsyncClient", "Client", "Result"]


class Client:
    """Asks a server for the classes or the features of images; a context manager that closes its channel.

    Args:
        server: "host:port" of the gRPC port, or "http://host:port" (https://) of TensorFlow Serving's REST port.
        model_name: name under which the server serves the model.
        timeout_s: seconds that each request may take, attempts and waiting included. A request carries at most
            IMAGES_PER_REQUEST images or BYTES_PER_REQUEST bytes, whichever is reached first.
        version: version of the model to ask, the newest if None.
        version_label: label of the version to ask, instead of its number.
        ca_certificate: PEM file; talk TLS, to a server whose certificate is signed by one in it.
        client_certificate, client_key: PEM files; the certificate to show to a server that asks for one, and its key.

    Every method raises ServingError when the server cannot be reached or refuses. A request that finds the server
    unavailable is sent again, twice at most. Nothing is sent before the first call. Safe to share between threads.

    Raises:
        ValueError: an argument that cannot be used.
    """

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
        target = Target(server, model_name, timeout_s, version, version_label, *certificates)
        self._connection = RestConnection(target) if target.is_rest else Connection(target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channel; the client cannot be used any more."""
        self._connection.close()

    def classify(
        self, images: Sequence[Photograph], signature: str = wire.SIGNATURE_TEN_CROP, top_k: int = wire.TOP_K
    ) -> list[Result]:
        """The best classes of each image.

        Args:
            images: JPEG or PNG files' contents (bytes) or paths, any number. Contents are sent as they are; a path
                is read when its turn comes, and must name a JPEG or PNG file.
            signature: SIGNATURE_TEN_CROP, SIGNATURE_CENTER, or SIGNATURE_IMAGES, for which the images are decoded
                and cut to 256 x 256 here.
            top_k: how many classes, 1 or more; an export that names fewer (its own --top_k, 5 by default) answers
                with those.

        Returns:
            One Result per image, in order.

        Raises:
            ValueError: a file that is no image, by name; a signature or `top_k` that gives no classes.
        """
        check_classifying(signature, top_k)
        results = []
        for question in questions_about(images, signature):
            results += read_results(question, self._connection.predict(question), top_k)
        return results

    def features(self, images: Sequence[Photograph]) -> tuple[np.ndarray, np.ndarray]:
        """The fc7 activations of each image's centre view.

        Args:
            images: JPEG or PNG files' contents (bytes) or paths, any number.

        Returns:
            features float32 [N,4096] (fewer columns from a narrower network) and valid bool [N]; a row that is not
            valid holds zeros.

        Raises:
            ValueError: a file that is no image, by name.
        """
        questions = questions_about(images, wire.SIGNATURE_FEATURES)
        return read_features([self._connection.predict(question) for question in questions])

    def signatures(self) -> list[str]:
        """Names of the signatures that the model offers, sorted."""
        return self._connection.signatures()


class AsyncClient:
    """Client for asyncio, over gRPC: the same arguments and methods, to be awaited; an asynchronous context manager.

    Requests of one call follow each other; `asyncio.gather` several calls to have more under way. A client belongs to
    the event loop of its first call.
    """

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
        self._connection = AsyncConnection(Target(server, model_name, timeout_s, version, version_label, *certificates))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """As Client.close."""
        await self._connection.close()

    async def classify(
        self, images: Sequence[Photograph], signature: str = wire.SIGNATURE_TEN_CROP, top_k: int = wire.TOP_K
    ) -> list[Result]:
        """As Client.classify. Files are read and decoded beside the event loop."""
        check_classifying(signature, top_k)
        results = []
        async for question in _beside_the_loop(questions_about(images, signature)):
            results += read_results(question, await self._connection.predict(question), top_k)
        return results

    async def features(self, images: Sequence[Photograph]) -> tuple[np.ndarray, np.ndarray]:
        """As Client.features."""
        questions = _beside_the_loop(questions_about(images, wire.SIGNATURE_FEATURES))
        return read_features([await self._connection.predict(question) async for question in questions])

    async def signatures(self) -> list[str]:
        """As Client.signatures."""
        return await self._connection.signatures()


async def _beside_the_loop(questions: Iterator[Question]) -> AsyncIterator[Question]:
    while (question := await asyncio.to_thread(next, questions, None)) is not None:
        yield question
