"""What tests need of the processor."""

import os

import pytest

# TensorFlow asks the processor, not oneDNN, whether bfloat16 is available. A limited oneDNN then has no such kernel and
# operations fail: "could not create a primitive descriptor". A processor with AVX2 only does not show this.
needs_bfloat16 = pytest.mark.skipif(
    "ONEDNN_MAX_CPU_ISA" in os.environ, reason="ONEDNN_MAX_CPU_ISA takes bfloat16 away from oneDNN"
)
