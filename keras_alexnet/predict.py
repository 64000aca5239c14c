"""Command: predicts any number of images without a server, into a CSV, JSON lines or Parquet file.

    python -m keras_alexnet.predict --model=export/alexnet --images=photos --output=labels.csv
    python -m keras_alexnet.predict --model=runs/mine --images='archive/**/*.jpg' --features --output=fc7.parquet
    python -m keras_alexnet.predict --model=export/alexnet --images=list.txt --shard=3/16 --output=labels.csv

Images are JPEG or PNG files, directories, glob patterns, text files (.txt) with one of these per line, or one dataset:
a directory of pipelines.prepare, photos, folder:<dir>, ilsvrc:<dir>, or a TFDS name. An image that cannot be read is a
row with `valid` false and a reason; the exit code is 1 if there is one. Interrupted at any moment, the same command
resumes. With --shard=i/n it computes part i (from 0) of n of the work; --merge joins the parts when all shards are
done.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from keras_alexnet.model_flags import define_model_flags, model_arguments
from pipelines.choices import CROPS, RUNNERS
from pipelines.cli import UsageError, define_path, define_paths, run
from serving.signatures import TOP_K

if TYPE_CHECKING:
    from keras_alexnet.prediction.run import Summary


def define_flags() -> None:
    """Defines the flags of this command."""
    define_model_flags()
    define_paths("images", [], "file, directory, glob pattern, list of paths (.txt) or dataset; may be repeated")
    define_path("output", None, "file to write, ending in .csv, .jsonl or .parquet; must not exist", required=True)
    flags.DEFINE_string("split", None, "for a dataset: train, validation or test; all of them by default")
    define_path("data_dir", None, "where TFDS keeps datasets; ~/tensorflow_datasets if not set")
    flags.DEFINE_enum("crops", "ten", CROPS, "the paper's ten crops, or the center crop, at a tenth of the cost")
    flags.DEFINE_alias("views", "crops")
    flags.DEFINE_integer("top_k", TOP_K, "classes per image, best first", 1, 100_000)
    flags.DEFINE_boolean("features", False, "add the input of the classifier layer (fc7 of an AlexNet)")
    flags.DEFINE_integer("batch_size", 32, "images per batch", 1, 100_000)
    flags.DEFINE_string("shard", None, "i/n: compute only part i, from 0, of n parts of the work")
    flags.DEFINE_boolean("merge", False, "join what all shards have computed")
    flags.DEFINE_enum("runner", "local", RUNNERS, "this process, or the Ray cluster of RAY_ADDRESS")


def main(argv: Sequence[str]) -> int:
    """Predicts, and prints how many images; returns 1 if some could not be read."""
    from keras_alexnet.prediction import run as prediction
    from keras_alexnet.prediction.images import find_inputs
    from keras_alexnet.prediction.predictor import Settings

    options = flags.FLAGS
    output, shard = Path(options.output), parsed_shard(options.shard)
    if options.merge:
        if shard:
            raise UsageError(f"merge=true: joins all shards; expected no shard, found {options.shard}")
        return _report(prediction.merge(output), f"joined in {output}")
    images = [*options.images, *argv[1:]]
    if not images:
        raise UsageError("images is missing")
    summary = prediction.predict_to_file(
        model_arguments(options).load,
        find_inputs(images, split=options.split, data_dir=options.data_dir),
        output,
        Settings(options.crops, options.top_k, options.features),
        batch_size=options.batch_size,
        shard=shard,
        runner=options.runner,
    )
    where = f"are parts of {output} (shard {options.shard}; --merge joins them)" if shard else f"in {output}"
    code = _report(summary, where)
    # The parts are complete: a job that returns another code would be repeated.
    return 0 if shard else code


def parsed_shard(text: str | None) -> tuple[int, int] | None:
    """The two numbers of "i/n".

    Raises:
      UsageError: they are no such numbers.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not int(found[1]) < int(found[2]):
        raise UsageError(f"shard={text}: expected i/n with i from 0 to n - 1, such as 3/16")
    return int(found[1]), int(found[2])


def _report(summary: Summary, where: str) -> int:
    speed = f", {summary.computed / summary.seconds:.1f} images/s" if summary.computed else ""
    print(f"predictions of {summary.images} images {where}{speed}")
    if summary.invalid:
        print(f"{summary.invalid} of them could not be read or decoded; the column reason says why")
    return int(summary.invalid > 0)


def command() -> None:
    """Entry point of the command."""
    run(main, define_flags, takes_arguments=True)


if __name__ == "__main__":
    command()
