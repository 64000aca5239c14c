"""What a result was made with."""

import pytest

from keras_alexnet import provenance
from keras_alexnet.provenance import has_bfloat16

INSTRUCTIONS = frozenset({"avx2", "avx512f", "avx512_bf16"})


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        *((None, True), ("", True), ("DEFAULT", True), ("AVX512_CORE_BF16", True), ("avx512_core_amx", True)),
        *(("AVX2", False), ("AVX512_CORE", False), ("AVX512_CORE_VNNI", False)),
    ],
)
def test_a_limit_of_onednn_takes_bfloat16_away(limit, expected, monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if limit is not None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert has_bfloat16(INSTRUCTIONS) is expected
    assert not has_bfloat16(INSTRUCTIONS - {"avx512_bf16"})


@pytest.mark.parametrize("cores, text", [(1, "1 core"), (2, "2 cores")])
def test_the_processor_and_its_cores(cores, text, monkeypatch):
    monkeypatch.setattr(provenance, "_cpuinfo", {"model name": "A  Processor", "flags": "fma avx2"}.get)
    monkeypatch.setattr(provenance, "usable_cores", lambda: cores)
    assert provenance.processor() == f"A Processor, {text}, AVX2"
