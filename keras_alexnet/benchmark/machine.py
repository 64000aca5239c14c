"""The machine and the versions that a measurement belongs to."""

import importlib.metadata
import os
import platform
import time

import numpy as np
import tensorflow as tf

from keras_alexnet.provenance import processor_instructions, processor_name

_INSTRUCTIONS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
_PACKAGES = ("tensorflow", "keras", "torch", "torchvision", "onnxruntime", "openvino")

# Maps, kernel: shapes of the paper's conv2, conv3 and conv4 at batch 64, and one with many channels.
_CONVOLUTIONS = (
    ((64, 27, 27, 48), (5, 5, 48, 128)),
    ((64, 13, 13, 256), (3, 3, 256, 384)),
    ((64, 13, 13, 192), (3, 3, 192, 192)),
    ((32, 28, 28, 256), (3, 3, 256, 256)),
)


def instruction_sets() -> list[str]:
    """Those of this processor that matter for convolutions, according to /proc/cpuinfo."""
    found = processor_instructions()
    return [name for name in _INSTRUCTIONS if name in found]


def header() -> str:
    """Processor, instruction sets, state of oneDNN, versions: one line each."""
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{package} not installed")
    state = "off" if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0" else "on"
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "none")
    gpus = tf.config.list_physical_devices("GPU")
    names = [str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)) for gpu in gpus]
    return "\n".join(
        (
            f"{processor_name()}, {os.cpu_count()} cores" + "".join(f", {name}" for name in names),
            f"instruction sets: {', '.join(instruction_sets()) or 'unknown'}",
            f"oneDNN: {state}, limit ONEDNN_MAX_CPU_ISA: {limit}; load of the machine: {os.getloadavg()[0]:.1f}",
            f"Python {platform.python_version()}, {', '.join(versions)}",
        )
    )


def convolution_peak(turns: int = 5) -> float:
    """GFLOP per CPU second of the fastest float32 convolution of a few shapes: a limit that networks can approach."""
    best = 0.0
    for maps_shape, kernel_shape in _CONVOLUTIONS:
        maps, kernel = tf.random.normal(maps_shape), tf.random.normal(kernel_shape)
        flop = 2.0 * np.prod(maps_shape[:3]) * np.prod(kernel_shape)
        for _ in range(turns):
            started = time.process_time()
            np.asarray(tf.nn.conv2d(maps, kernel, 1, "SAME")[0, 0, 0, 0])
            best = max(best, flop / (time.process_time() - started) / 1e9)
    return best


def memory_bandwidth(turns: int = 5) -> float:
    """GB per CPU second that one thread reads and writes when it copies an array larger than the caches."""
    source = np.ones(32_000_000, np.float32)
    target, best = np.empty_like(source), 0.0
    for _ in range(turns):
        started = time.process_time()
        np.copyto(target, source)
        best = max(best, 2 * source.nbytes / (time.process_time() - started) / 1e9)
    return best
