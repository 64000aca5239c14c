"""The page's server: static files, and requests that it forwards to TensorFlow Serving.

Each photograph arrives as the body of one request. Responses are JSON; an error is `{"error": "a sentence"}`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving.client import AsyncClient, ServingError

if TYPE_CHECKING:
    from keras_alexnet.demo.explanation import Explanation

# A request carries the whole file. TensorFlow Serving accepts larger messages, but no photograph needs them.
MAX_FILE_BYTES = 16_000_000
_PAGES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "favicon.svg": ("favicon.svg", "image/svg+xml"),
}
# Photographs and CSV files are made in the page itself: data: and blob: never leave it.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class PageError(ValueError):
    """What the page shows in place of a result; `status` is the HTTP status."""

    def __init__(self, message: str, status: int = 400):
        super().__init__(message)
        self.status = status


@dataclass
class Demo:
    """The page's state.

    Attributes:
      client: sends the photographs.
      server, model_name: what the page says about them.
      explanation: shows what happens inside the network; None without --model.
    """

    client: AsyncClient
    server: str
    model_name: str
    explanation: Explanation | None = None

    async def about(self, request: Request) -> dict[str, Any]:
        """What the page can show."""
        return {
            "server": self.server,
            "model_name": self.model_name,
            "max_file_bytes": MAX_FILE_BYTES,
            "layers": list(self.explanation.layers) if self.explanation else [],
            "neighbours": bool(self.explanation and self.explanation.has_neighbours),
        }

    async def classify(self, request: Request) -> dict[str, Any]:
        """The classes of the photograph in the body, best first, and the version of the model."""
        image = await _body(request)
        (prediction,) = await self.client.classify([image])
        if not prediction.valid:
            raise PageError("This file is not an image that the network can read: JPEG and PNG can be decoded.")
        return {"labels": prediction.labels, "scores": prediction.scores, "version": prediction.version}

    async def explain(self, request: Request) -> dict[str, Any]:
        """The ten crops of the photograph in the body with the best class of each, and its nearest neighbours."""
        image = await _body(request)
        return await self._in_thread(lambda explanation: explanation.crops(image))

    async def activations(self, request: Request) -> dict[str, Any]:
        """A picture of a layer's activations for the photograph in the body."""
        image, layer = await _body(request), request.path_params["layer"]
        return await self._in_thread(lambda explanation: {"picture": explanation.activations(image, layer)})

    async def kernels(self, request: Request) -> dict[str, Any]:
        """A picture of the first layer's kernels."""
        return await self._in_thread(lambda explanation: {"picture": explanation.kernels()})

    async def _in_thread(self, function: Callable[[Explanation], dict[str, Any]]) -> dict[str, Any]:
        if self.explanation is None:
            raise PageError("Start the page with --model to look inside the network.", 404)
        explanation = self.explanation
        # TensorFlow computes without the page's event loop having to wait.
        return await anyio.to_thread.run_sync(lambda: function(explanation))


def create_app(demo: Demo) -> Starlette:
    """The ASGI application.

    Args:
      demo: what it shows.

    Example:

    ```python
    app = create_app(Demo(AsyncClient("127.0.0.1:8500"), "127.0.0.1:8500", "alexnet"))
    uvicorn.run(app, host="127.0.0.1", port=8000)
    ```
    """
    return Starlette(
        routes=[
            *(Route(f"/{path}", _static(*page)) for path, page in _PAGES.items()),
            Route("/api/about", _json(demo.about)),
            Route("/api/classify", _json(demo.classify), methods=["POST"]),
            Route("/api/explain", _json(demo.explain), methods=["POST"]),
            Route("/api/activations/{layer}", _json(demo.activations), methods=["POST"]),
            Route("/api/kernels", _json(demo.kernels)),
        ]
    )


async def _body(request: Request) -> bytes:
    """The request's body, of which no more than MAX_FILE_BYTES are ever kept."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_FILE_BYTES:
            raise PageError(f"This file is larger than {MAX_FILE_BYTES // 1_000_000} MB.", 413)
        parts.append(part)
    if not size:
        raise PageError("This file is empty.")
    return b"".join(parts)


def _json(function: Callable[[Request], Awaitable[dict[str, Any]]]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return JSONResponse(await function(request), headers=_HEADERS)
        except ServingError as error:
            return JSONResponse({"error": f"The server did not respond. {error}"}, 502, headers=_HEADERS)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, getattr(error, "status", 400), headers=_HEADERS)

    return endpoint


def _static(name: str, media_type: str) -> Callable[[Request], Response]:
    content = resources.files(__package__).joinpath("static", name).read_bytes()

    def endpoint(request: Request) -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)

    return endpoint
