"""Parts on a cluster: the same work as an Apache Beam pipeline, one element a part.

All workers must see the originals, the output folder and, for TFDS names, --data_dir under the same paths (NFS or the
like), and have this package installed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pipelines.preparation.shard import Shard, ShardConfig, store

# Beam's "DirectRunner" would download a runner written in Go and hand the pipeline to it.
_DEFAULT_RUNNER = "--runner=FnApiRunner"


def store_on_beam(
    parts: Sequence[Shard],
    recipe: ShardConfig,
    folder: Path,
    options: str,
    check_interrupted: Callable[[], None] = lambda: None,
) -> None:
    """Stores `parts` in `folder`, as `parts.store` does, by a Beam pipeline.

    Args:
      parts, recipe, folder: see `parts.store`.
      options: Beam's own, as on a command line: "--runner=FlinkRunner --flink_master=host:8081". Without a runner the
        pipeline runs in this process.
      check_interrupted: raises KeyboardInterrupt if that is why the pipeline failed.

    Raises:
      ValueError: Beam is not installed, or the pipeline failed.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise ValueError("runner=beam: Apache Beam is missing: pip install 'keras-alexnet[beam]'") from None
    work = partial(_store_and_return_nothing, recipe=recipe, folder=folder.absolute())
    try:
        with beam.Pipeline(options=PipelineOptions([_DEFAULT_RUNNER, *shlex.split(options)])) as pipeline:
            # Reshuffle: otherwise one worker may get all parts, fused with their creation.
            _ = pipeline | beam.Create(list(parts)) | beam.Reshuffle() | "Store" >> beam.Map(work)
    except Exception as error:
        # Beam wraps that as it does any other error.
        check_interrupted()
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"runner=beam: the pipeline failed: {lines[-1]}") from error


def _store_and_return_nothing(part: Shard, recipe: ShardConfig, folder: Path) -> None:
    # The tally lies in the folder; it is large, and nothing in the pipeline asks for it.
    store(part, recipe, folder)
