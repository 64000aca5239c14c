"""Runs independent pieces of work on a Ray cluster, by Ray Data. Needs the extra `ray`."""

import importlib.util
import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from pipelines.cli.startup import load_tensorflow_quietly, set_environment

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class _Actor:
    """A worker process. Ray Data calls it with one row at a time; starts it again, elsewhere, if it is lost."""

    def __init__(self, make_worker: bytes) -> None:
        set_environment()
        load_tensorflow_quietly()
        self._worker = pickle.loads(make_worker)()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        # Pickled, so that Ray Data does not look for columns in them.
        try:
            return {"result": pickle.dumps(self._worker(pickle.loads(row["item"]))), "error": ""}
        except (ValueError, OSError) as error:
            return {"result": b"", "error": str(error)}


def check_ray() -> None:
    """Raises ValueError if Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise ValueError("runner=ray: needs Ray: pip install 'keras-alexnet[ray]'")


def run_on_ray(
    make_worker: Callable[[], Callable[[_Item], _Result]], items: Sequence[_Item], cpus: int | None = None
) -> Iterator[_Result]:
    """Applies workers to all items, on the cluster that the environment variable RAY_ADDRESS names, or on this machine.

    There is one worker per GPU, or one per machine if the cluster has no GPU. Lost workers are replaced, and their
    items are repeated without limit: an item may be worked on twice.

    Args:
      make_worker: called once in every worker process; it and what it returns need not be the same in each. Must be
        possible to pickle.
      items: must be possible to pickle.
      cpus: start one worker per this many cores instead, without GPUs.

    Yields:
      The results, in any order.

    Raises:
      ValueError: Ray is missing, cannot be started, or a worker raised an error.
    """
    if not items:
        return
    check_ray()
    import ray
    import ray.data

    # Nothing is reported to Ray's authors unless the user wants that.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not ray.is_initialized():
        try:
            ray.init(logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ValueError(f"runner=ray: cannot be started: {error}") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    workers, resources = _workers(ray.nodes(), cpus)
    rows = [{"item": pickle.dumps(item)} for item in items]
    results = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        _Actor,
        fn_constructor_args=(pickle.dumps(make_worker),),
        concurrency=min(workers, len(rows)),
        **resources,
    )
    try:
        for row in results.iter_rows():
            if row["error"]:
                raise ValueError(f"runner=ray: a worker failed: {row['error']}")
            yield pickle.loads(row["result"])
    except ray.exceptions.RayError as error:
        lines = str(getattr(error, "cause", None) or error).strip().splitlines()
        raise ValueError(f"runner=ray: a worker failed: {lines[-1] if lines else type(error).__name__}") from error


def _workers(nodes: Sequence[dict[str, Any]], cpus: int | None) -> tuple[int, dict[str, float]]:
    """The number of workers, and what each of them takes of its machine."""
    machines = [node["Resources"] for node in nodes if node["Alive"] and node["Resources"].get("CPU")]
    if cpus:
        return sum(max(1, int(machine["CPU"]) // cpus) for machine in machines), {"num_cpus": cpus}
    gpus = int(sum(machine.get("GPU", 0) for machine in machines))
    if gpus:
        return gpus, {"num_gpus": 1}
    # All cores of a machine, because TensorFlow uses them.
    return len(machines), {"num_cpus": min(machine["CPU"] for machine in machines)}
