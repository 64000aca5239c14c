"""Command: measures training steps, inference, training input, memory, strategies and servers against alternatives.

    python -m keras_alexnet.benchmark --part=train --batch=64
    python -m keras_alexnet.benchmark --part=all --peers --output_dir=build/benchmark
    python -m keras_alexnet.benchmark --part=input --batch=128
    python -m keras_alexnet.benchmark --part=inference
    python -m keras_alexnet.benchmark --part=memory --batch=128 --repeats=2
    python -m keras_alexnet.benchmark --part=strategies    (with two GPUs; otherwise add --virtual_devices=2)
    python -m keras_alexnet.benchmark --part=train --profile --batch=32 --output_dir=build/benchmark
    python -m keras_alexnet.benchmark --part=serving --server=127.0.0.1:8500 --model_name=alexnet

The contenders of a part take turns in one process, so compare the ratios. On a CPU those of processor time vary less
than those of wall-clock time. --peers adds Keras' own layers and pipelines, and PyTorch, torchvision, ONNX Runtime and
OpenVINO where they are installed (pip install 'keras-alexnet[benchmark]').
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from keras_alexnet.variants import VARIANTS, Variant, find_variant
from pipelines.atomic import writable_directory
from pipelines.choices import CROPS
from pipelines.cli import UsageError, define_path, run

if TYPE_CHECKING:
    from keras_alexnet.benchmark.report import Report

PARTS = ("train", "inference", "input", "memory", "strategies", "serving", "all")
# Flags that are not read by every part.
_PARTS_OF_FLAG = {
    "dataset": ("input", "all"),
    "batches": ("inference", "all"),
    "crops": ("inference", "all"),
    "devices": ("strategies", "all"),
    "virtual_devices": ("strategies", "all"),
    "peers": ("train", "inference", "input", "all"),
    "profile": ("train", "inference", "all"),
    "output_dir": tuple(part for part in PARTS if part != "serving"),
    "variant": tuple(part for part in PARTS if part not in ("serving", "input")),
    "width": tuple(part for part in PARTS if part not in ("serving", "input")),
    "server": ("serving",),
    "model_name": ("serving",),
}


def define_flags() -> None:
    """Defines the flags of this command."""
    flags.DEFINE_enum("part", "train", PARTS, "what to measure; all: everything but serving")
    flags.DEFINE_enum("variant", "paper", list(VARIANTS), "AlexNet variant")
    flags.DEFINE_float("width", 1.0, "multiplies the number of filters and units", 0.001, 16)
    flags.DEFINE_string("dataset", None, "input: a directory written by pipelines.prepare; synthetic images if not set")
    flags.DEFINE_integer("batch", 64, "images per training step, input batch or request", 1, 100_000)
    flags.DEFINE_list(
        "batches", None, "inference: images per request; if not set 1, 8, 32, and 1, 80 for the centre crop"
    )
    flags.DEFINE_enum("crops", None, CROPS, "inference: which crops; if not set ten, and with --peers both")
    flags.DEFINE_list("devices", None, "strategies: devices to use, such as GPU:0,GPU:2; all GPUs if not set")
    flags.DEFINE_integer(
        "virtual_devices", 0, "strategies: split the only GPU, or the CPU, into this many devices", 0, 64
    )
    flags.DEFINE_integer("repeats", 7, "timed runs of each contender, or requests per connection", 1, 1_000_000)
    flags.DEFINE_boolean("peers", False, "also measure Keras' own layers, PyTorch, ONNX Runtime and OpenVINO")
    flags.DEFINE_boolean(
        "profile", False, "train, inference: print time, GFLOP/s, bytes and share of the roofline per operation instead"
    )
    define_path("output_dir", None, "where benchmark.csv and, with matplotlib, benchmark.png are written")
    flags.DEFINE_string("server", None, "serving: host:port of TensorFlow Serving or serving.server")
    flags.DEFINE_string("model_name", "alexnet", "serving: name of the model on the server")


def _check_flags(options: flags.FlagValues) -> None:
    """Refuses flags that the part does not read."""
    for name, parts in _PARTS_OF_FLAG.items():
        if options[name].present and options.part not in parts:
            expected = ", ".join(part for part in parts if part != "all") + " or all" * ("all" in parts)
            raise UsageError(f"--{name} is for --part={expected}; found --part={options.part}")
    for name in ("batches", "peers", "dataset", "crops", "devices", "virtual_devices") if options.profile else ():
        if options[name].present:
            raise UsageError(f"--{name} has no effect with --profile")


def _devices(options: flags.FlagValues) -> list[str]:
    """Devices of part strategies: all GPUs unless flags select others. Called before TensorFlow starts."""
    if options.part not in ("strategies", "all"):
        return []
    from keras_alexnet.distribute.strategies import checked_devices, device_names, split_device

    kind = split_device(options.virtual_devices) if options.virtual_devices else "GPU"
    if options.devices:
        return checked_devices(options.devices)
    return device_names(kind)


def _batches(texts: Sequence[str] | None) -> list[int]:
    for text in texts or ():
        if not text.strip().isdecimal() or int(text) < 1:
            raise UsageError(f"--batches={','.join(texts or ())}: expected numbers of images from 1, such as 1,80")
    return [int(text) for text in texts or ()]


def _measure_training(variant: Variant, subject: str, options: flags.FlagValues, report: Report) -> None:
    from keras_alexnet.benchmark.strategies import training_flop
    from keras_alexnet.benchmark.timing import interleaved
    from keras_alexnet.benchmark.training import training_steps

    times = interleaved(training_steps(variant, options.batch, options.peers), options.repeats)
    title = f"{subject}, batch {options.batch}: one training step"
    report.add(title, times, options.batch, training_flop(variant))


def _measure_inference(variant: Variant, subject: str, options: flags.FlagValues, report: Report) -> None:
    from keras_alexnet.benchmark import inference
    from keras_alexnet.benchmark.timing import interleaved

    chosen = _batches(options.batches)
    for batch in (chosen or inference.BATCHES) if options.crops != "center" else ():
        times = interleaved(inference.inference_contenders(variant, batch), options.repeats)
        report.add(f"{subject}, {batch} images: ten crops", times, batch)
    has_center = options.crops == "center" or (options.peers and not options.crops)
    for batch in (chosen or inference.SINGLE_CROP_BATCHES) if has_center else ():
        times = interleaved(inference.single_crop_contenders(variant, batch, options.peers), options.repeats)
        report.add(f"{subject}, {batch} images: centre crop", times, batch, inference.forward_flop(variant))


def main(argv: Sequence[str]) -> int:
    """Measures and prints tables; returns 1 if training on several devices differs from training on one."""
    options = flags.FLAGS
    _check_flags(options)
    if options.output_dir:
        writable_directory("output_dir", options.output_dir)
    if options.part == "serving":
        if not options.server:
            raise UsageError("--server is missing: --part=serving measures the server at this address")
        from keras_alexnet.benchmark.serving import report_serving
        from keras_alexnet.provenance import processor

        print(f"client: {processor()}")
        report_serving(options.server, options.model_name, options.batch, options.repeats)
        return 0
    if options.profile:
        return _profile(options)
    _batches(options.batches)
    devices = _devices(options)
    from keras_alexnet.benchmark.machine import convolution_peak, header
    from keras_alexnet.benchmark.report import Report

    about = header()
    print(about)
    needs_peak = options.part in ("train", "inference", "all")
    report = Report(options.output_dir, convolution_peak() if needs_peak else None)
    is_equal = _measure(options, devices, report)
    for path in report.write(about):
        print(f"wrote {path}")
    return 0 if is_equal else 1


def _profile(options: flags.FlagValues) -> int:
    from keras_alexnet.benchmark.machine import convolution_peak, header, memory_bandwidth
    from keras_alexnet.benchmark.profile import ProfileReport, Roofline, profile_inference, profile_training

    roofline = Roofline(convolution_peak() * 1e9, memory_bandwidth() * 1e9)
    about = (
        f"{header()}\nroofline of one thread: {roofline.flops / 1e9:.0f} GFLOP/s, {roofline.bandwidth / 1e9:.1f} GB/s"
    )
    print(about)
    report = ProfileReport(roofline, options.output_dir)
    variant, subject = _subject(options)
    if options.part in ("train", "all"):
        profile_training(variant, subject, options.batch, options.repeats, report)
    if options.part in ("inference", "all"):
        profile_inference(variant, subject, options.batch, options.repeats, report)
    for path in report.write(about):
        print(f"wrote {path}")
    return 0


def _subject(options: flags.FlagValues) -> tuple[Variant, str]:
    variant = find_variant(options.variant).scaled(options.width)
    return variant, f"{variant.name}, width {options.width:g}"


def _measure(options: flags.FlagValues, devices: Sequence[str], report: Report) -> bool:
    variant, subject = _subject(options)
    if options.part == "strategies" or (options.part == "all" and len(devices) > 1):
        from keras_alexnet.benchmark.strategies import report_strategies

        if not report_strategies(variant, subject, options.batch, options.repeats, devices, report):
            return False
    if options.part in ("train", "all"):
        _measure_training(variant, subject, options, report)
    if options.part in ("input", "all"):
        from keras_alexnet.benchmark.input import report_input

        report_input(options.dataset, options.batch, options.repeats, report, options.peers)
    if options.part in ("inference", "all"):
        _measure_inference(variant, subject, options, report)
    if options.part in ("memory", "all"):
        from keras_alexnet.benchmark.memory import report_memory

        report_memory(variant, subject, options.batch, options.repeats, report)
    return True


def command() -> None:
    """Entry point of the command."""
    run(main, define_flags)


if __name__ == "__main__":
    command()
