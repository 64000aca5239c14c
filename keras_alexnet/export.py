"""Command: exports a trained network as a SavedModel that TensorFlow Serving can serve.

    python -m keras_alexnet.export --model_dir=build/photos --export_base=build/export/alexnet

The folder appears as `<export_base>/<version>/` by one rename, complete, and is never overwritten.
"""

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf
from absl import flags

from keras_alexnet.checkpoints import load_trained
from keras_alexnet.serving_graph import ServingModule
from keras_alexnet.warmup import write_warmup
from pipelines.command import InputError, reason_of, run
from serving.signatures import CLASS_NAMES_ASSET


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_string("model_dir", None, "what keras_alexnet.train has written", required=True)
    flags.DEFINE_string(
        "export_base", None, "folder of the model's versions, as TensorFlow Serving wants it", required=True
    )
    flags.DEFINE_integer("version", None, "number of the new version; the next free one if not set", lower_bound=1)


def export_model(
    model: keras.Model, export_base: str | os.PathLike, class_names: Sequence[str], version: int | None = None
) -> str:
    """Writes `<export_base>/<version>/` with the signatures of `serving.signatures`.

    Args:
      model: an `AlexNet`, giving logits or probabilities, on any placement; it is left as it is.
      export_base: folder of the model's versions; made if it does not exist.
      class_names: one a class, without line breaks.
      version: 1 or more; one above the highest there is by default.

    Returns:
      The path of the new folder.

    Raises:
      InputError: if the version exists, the names do not fit the model, or the folder cannot be written. Nothing is
        left behind then.
    """
    base = Path(export_base)
    target = base / str(_next_version(base) if version is None else version)
    _refuse_existing(target)
    module = ServingModule(model, class_names)
    try:
        base.mkdir(parents=True, exist_ok=True)
        # No number: TensorFlow Serving looks past it. In the same folder: renaming cannot cross file systems.
        part = Path(tempfile.mkdtemp(prefix=f"part-{target.name}-", dir=base))
        os.chmod(part, 0o755)
    except OSError as error:
        raise InputError(f"--export_base={base}: {reason_of(error)}; expected a folder that can be written") from error
    try:
        signatures = module.trace()
        tf.saved_model.save(module, str(part), signatures=signatures)
        (part / "assets").mkdir(exist_ok=True)
        (part / "assets" / CLASS_NAMES_ASSET).write_text("".join(f"{name}\n" for name in class_names))
        write_warmup(part, base.name, signatures)
        _publish(part, target)
    except (OSError, tf.errors.OpError) as error:
        raise InputError(f"--export_base={base}: writing version {target.name} failed: {reason_of(error)}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return str(target)


def _next_version(base: Path) -> int:
    versions = [int(entry.name) for entry in base.iterdir() if entry.name.isdecimal()] if base.is_dir() else []
    return max(versions, default=0) + 1


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise InputError(
            f"--version={target.name}: found {target}; expected a version that does not exist yet "
            f"(the next free one is {_next_version(target.parent)})"
        )


def _publish(part: Path, target: Path) -> None:
    """Renames `part` to `target`; of two exporters at once, one gets the number and the other an error."""
    try:
        os.rename(part, target)
    except OSError:
        _refuse_existing(target)
        raise


def main(argv: list[str]) -> None:
    """Exports, and says where and how large."""
    options = flags.FLAGS
    model, description, steps = load_trained(options.model_dir)
    path = export_model(model, options.export_base, description.class_names, options.version)
    size = sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())
    parameters = 4 * model.count_params()
    print(
        f"exported {options.model_dir} (step {steps}) to {path}: {size / 1e6:.1f} MB, of which parameters "
        f"{parameters / 1e6:.1f} MB, each once"
    )


if __name__ == "__main__":
    run(main, define_flags)
