"""Throughput and latency of a server, over gRPC."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from rich.table import Table

from keras_alexnet.benchmark.synthetic import synthetic_jpeg
from pipelines.cli.tables import print_table
from serving.client import Client

# Requests in flight at the same time.
CONCURRENCY = (1, 4, 16)


def report_serving(server: str, model_name: str, batch: int, repeats: int) -> None:
    """Sends requests for classes of synthetic JPEG images and prints a table.

    Args:
      server: host:port.
      model_name: name of the model on the server.
      batch: images per request.
      repeats: requests per connection, after one that is not timed.

    Raises:
      OSError, ValueError: the server does not answer, or refuses a request.
    """
    images = [synthetic_jpeg(seed) for seed in range(batch)]
    table = Table(title=f"{server}, model {model_name}, {batch} images per request", title_justify="left")
    for heading in ("in flight", "requests/s", "images/s", "median ms", "95 % ms"):
        table.add_column(heading, justify="right")
    with Client(server, model_name=model_name) as client:
        for concurrency in CONCURRENCY:
            latencies, seconds = measure(client, images, concurrency, repeats)
            rate = len(latencies) / seconds
            median, slow = np.percentile(latencies, [50, 95]) * 1e3
            table.add_row(str(concurrency), f"{rate:.1f}", f"{rate * batch:.1f}", f"{median:.0f}", f"{slow:.0f}")
    print_table(table)


def measure(client: Client, images: list[bytes], concurrency: int, repeats: int) -> tuple[list[float], float]:
    """Seconds of each of `concurrency * repeats` requests, and of all together; `concurrency` are in flight."""

    def request(_: int) -> float:
        started = time.perf_counter()
        client.classify(images)
        return time.perf_counter() - started

    request(0)
    with ThreadPoolExecutor(concurrency) as threads:
        started = time.perf_counter()
        latencies = list(threads.map(request, range(concurrency * repeats)))
        return latencies, time.perf_counter() - started
