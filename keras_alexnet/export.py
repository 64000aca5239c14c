"""Command: exports a network as a SavedModel for TensorFlow Serving, or as an ONNX file for Triton and other runtimes.

    python -m keras_alexnet.export --model=build/photos --export_base=build/export/alexnet
    python -m keras_alexnet.export --model=build/photos --export_base=build/triton/alexnet --format=onnx
    python -m keras_alexnet.export --model=model.keras --class_names=names.txt --export_base=build/export/mine
    python -m keras_alexnet.export --model=runs/0 --model=runs/1 --export_base=build/export/average

The version appears as `<export_base>/<version>/` by one rename, complete, and is never overwritten. Before that it is
loaded in a fresh process, as TensorFlow Serving loads it, and its predictions are compared with the Keras model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from keras_alexnet.model_flags import define_model_flags, load_models
from keras_alexnet.saved_model import FORMATS, PRECISIONS
from pipelines.choices import CROPS, MAX_PIXELS
from pipelines.cli import UsageError, define_path, run
from serving.signatures import TOP_K

if TYPE_CHECKING:
    from keras_alexnet.pretrained import LoadedNetwork


def define_flags() -> None:
    """Defines the flags of this command."""
    define_model_flags(several=True)
    define_path("export_base", None, "directory of the model's versions, for TensorFlow Serving", required=True)
    flags.DEFINE_enum("format", FORMATS[0], list(FORMATS), "onnx: model.onnx in the layout of Triton's repository")
    flags.DEFINE_enum("crops", "ten", list(CROPS), "onnx: the crops whose probabilities are averaged")
    flags.DEFINE_integer("version", None, "version number; by default one more than the highest", 1, 2**63 - 1)
    flags.DEFINE_enum(
        "precision",
        "float32",
        list(PRECISIONS),
        "bfloat16: half the size, and faster where the processor computes in it",
    )
    flags.DEFINE_integer("top_k", TOP_K, "number of classes in a prediction, best first", 1, 100_000)
    flags.DEFINE_integer("max_pixels", MAX_PIXELS, "larger images count as not decodable", 1, 2**31 - 1)


# Flags of one format only.
_OF_FORMAT = {"saved_model": ("precision", "top_k", "max_pixels"), "onnx": ("crops",)}


def _export(networks: Sequence[LoadedNetwork], options: flags.FlagValues) -> str:
    for form, names in _OF_FORMAT.items():
        for name in names:
            if form != options.format and options[name].present:
                raise UsageError(f"--{name} is for --format={form}; found --format={options.format}")
    network, *others = networks
    if others and options.format != "saved_model":
        raise UsageError(f"--format={options.format}: exports one model; found {len(networks)}")
    served: dict[str, Any] = {name: options[name].value for name in _OF_FORMAT["saved_model"]}
    if others:
        from keras_alexnet.pretrained.error_rates import read_error_rates
        from keras_alexnet.saved_model.average import export_average

        steps = " + ".join(str(each.steps) for each in networks)
        # Where `keras_alexnet.evaluate` writes the error of several networks.
        rates = read_error_rates(Path("results.csv"), steps, " + ".join(options.model))
        return export_average(networks, options.export_base, options.version, error_rates=rates, **served)
    arguments = (network.model, options.export_base, network.class_names, options.version)
    inferred: dict[str, Any] = {
        "preprocessing": network.preprocessing,
        "from_logits": network.from_logits,
        "resize": network.resize,
        "resize_size": network.resized_size,
        "labels": network.display_names,
    }
    if options.format == "onnx":
        from keras_alexnet.saved_model.onnx import export_onnx

        return export_onnx(*arguments, **inferred, crops=options.crops)
    from keras_alexnet.saved_model.export import export_model

    return export_model(*arguments, **inferred | served | {"training": network.training})


def main(argv: Sequence[str]) -> None:
    """Exports, and prints where and how large."""
    options = flags.FLAGS
    networks = load_models(options)
    for name, network in zip(options.model, networks, strict=True):
        if network.model is None:
            raise UsageError(f"model={name}: is an export already; expected a run directory or a file")
        if not network.class_names:
            classes = network.model.output_shape[-1]
            raise UsageError(f"class_names is missing: {name} does not contain the names of its {classes} classes")

    path = _export(networks, options)
    exported = " + ".join(
        f"{name} (step {network.steps})" if network.steps else name
        for name, network in zip(options.model, networks, strict=True)
    )
    size = sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())
    models = "the Keras model" if len(networks) == 1 else f"the average of the {len(networks)} Keras models"
    print(f"exported {exported} to {path}: {size / 1e6:.1f} MB; verified: its predictions match {models}")


def command() -> None:
    """Entry point of the command."""
    run(main, define_flags)


if __name__ == "__main__":
    command()
