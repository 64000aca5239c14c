"""What a result was made with: the processor and the revision of the project. Standard library only."""

import os
import platform
import subprocess
from pathlib import Path


def processor() -> str:
    """The processor's name, the cores that this process may use, and the instructions that decide the speed.

    Returns:
      Such as "Intel Xeon Platinum 8481C, 2 cores, AVX-512, bfloat16"; what is unknown is left out.
    """
    instructions = processor_instructions()
    vectors = [label for name, label in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if name in instructions][:1]
    halves = ["bfloat16"] if has_bfloat16(instructions) else []
    cores = usable_cores()
    return ", ".join([processor_name(), f"{cores} core{'s' if cores != 1 else ''}", *vectors, *halves])


def processor_name() -> str:
    """The name in /proc/cpuinfo, or what Python knows."""
    return " ".join(_cpuinfo("model name").split()) or platform.processor() or platform.machine()


def processor_instructions() -> frozenset[str]:
    """The instruction sets in /proc/cpuinfo, such as "avx2"; empty if unknown."""
    return frozenset(_cpuinfo("flags").split())


def has_bfloat16(instructions: frozenset[str]) -> bool:
    """Whether `processor_instructions` contain bfloat16 products and ONEDNN_MAX_CPU_ISA lets oneDNN use them."""
    # Of oneDNN's documentation: AVX2, AVX512_CORE, AVX512_CORE_BF16, AVX512_CORE_AMX, AVX10_1_512, ...
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    is_allowed = limit in ("", "DEFAULT", "ALL") or any(name in limit for name in ("BF16", "FP16", "AMX", "AVX10"))
    return is_allowed and not instructions.isdisjoint(("avx512_bf16", "amx_bf16"))


def usable_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def git_revision() -> str | None:
    """The commit of the source tree, 40 hexadecimal digits, with "-dirty" after it if files differ; None outside."""
    source = Path(__file__)
    commands = (
        # Installed into an environment that lies in somebody else's repository, this file is not known there.
        ["git", "-C", str(source.parent), "ls-files", "--error-unmatch", source.name],
        ["git", "-C", str(source.parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
    )
    try:
        for command in commands:
            found = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def _cpuinfo(key: str) -> str:
    """The first value of a key in /proc/cpuinfo; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in pairs if name.strip() == key), "")
