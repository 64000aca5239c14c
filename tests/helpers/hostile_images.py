"""Image files made to cost time or memory, and what decoding each of them costs in the served graph.

    python -m tests.helpers.hostile_images --count=3000

prints the most processor time and memory that one file took, and the slowest files.
"""

import ctypes
import io
import itertools
import os
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

MOST_BYTES = 16_000_000
MOST_SIDE = 8160, 6120  # just below 50 million pixels

# Four deflate blocks without data, each with codes of its own, the costliest per byte (RFC 1951, 3.2.7).
EMPTY_BLOCKS = bytes.fromhex(
    "04c081000000000090ff6b100007020000000040feaf41001c080000000000f9bf060170200000000000e4ff1a"
)

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# x, y, and steps of the seven passes (PNG specification, 8.2).
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def zeros(count: int) -> bytes:
    """A zlib stream of so many zeros, without making them all at once."""
    compressor = zlib.compressobj(9)
    block = bytes(1_000_000)
    parts = [compressor.compress(block) for _ in range(count // len(block))]
    parts += [compressor.compress(bytes(count % len(block))), compressor.flush()]
    return b"".join(parts)


def rows(width: int, height: int, bits: int, color: int, interlaced: bool, filter_type: int) -> bytes:
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    compressor, parts = zlib.compressobj(9), []
    for x, y, step_x, step_y in passes:
        columns, lines = -(-(width - x) // step_x), -(-(height - y) // step_y)
        row = bytes([filter_type]) + bytes(-(-columns * bits * _CHANNELS[color] // 8))
        parts += [compressor.compress(row) for _ in range(lines if columns > 0 else 0)]
    return b"".join([*parts, compressor.flush()])


def png(
    width: int = 100,
    height: int = 100,
    bits: int = 8,
    color: int = 2,
    interlaced: bool = False,
    *,
    filter_type: int = 0,
    before: bytes = b"",
    after: bytes = b"",
    pixels: bytes | None = None,
    chunk_bytes: int = 2**31 - 1,
) -> bytes:
    """A PNG file; `before` and `after` are chunks around the pixels, which are in chunks of `chunk_bytes`."""
    if pixels is None:
        pixels = rows(width, height, bits, color, interlaced, filter_type)
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, interlaced)
    data = b"".join(chunk(b"IDAT", pixels[at : at + chunk_bytes]) for at in range(0, len(pixels), chunk_bytes))
    palette = chunk(b"PLTE", bytes(768)) if color == 3 else b""
    return _SIGNATURE + chunk(b"IHDR", header) + palette + before + data + after + chunk(b"IEND", b"")


def encoded(image: Image.Image, file_format: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def flat(width: int, height: int, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (width, height), (90, 60, 30, 200)[: len(Image.new(mode, (1, 1)).getbands())])


def with_segments(data: bytes, marker: int, content: bytes, count: int) -> bytes:
    """A JPEG file with more segments before all others."""
    return data[:2] + (bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content) * count + data[2:]


def with_scans(data: bytes, count: int) -> bytes:
    """A progressive JPEG file with its last scan repeated."""
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * count + data[-2:]


def png_metadata(random: np.random.Generator) -> bytes:
    """Texts, profiles, palettes, unknown chunks, before or behind the pixels; few large or many small ones."""
    size = int(10 ** random.uniform(1, 7.3))
    kind = ["zTXt", "iTXt", "iCCP", "tEXt", "sPLT", "eXIf", "fdAT", "acTL", "vpAg", "hIST"][random.integers(10)]
    name = b"n\0"
    contents: dict[str, Callable[[], bytes]] = {
        "zTXt": lambda: name + b"\0" + zeros(size),
        "iTXt": lambda: name + b"\1\0\0\0" + zeros(size),
        "iCCP": lambda: name + b"\0" + zeros(size),
        "sPLT": lambda: name + b"\10" + bytes(size // 100 // 6 * 6),
    }
    one = chunk(kind.encode(), contents.get(kind, lambda: bytes(min(size, 100_000)))())
    if random.random() < 0.3:  # sizes that differ
        one = b"".join(one[:4] + one[4:] if index % 2 else chunk(b"tEXt", b"a\0" * index) for index in range(1, 9))
    count = int(min(10 ** random.uniform(0, 6.1), (MOST_BYTES - 1000) // len(one)))
    place = "before" if random.random() < 0.6 else "after"
    return png(**{place: one * count})


def png_surplus(random: np.random.Generator) -> bytes:
    """More compressed data than pixels: up to 16 GB behind them."""
    side, color = int(10 ** random.uniform(0, 3.5)), (0, 2, 6)[random.integers(3)]
    surplus = int(10 ** random.uniform(5, 9.3))
    compressor, raw = zlib.compressobj(9), bytes((side * _CHANNELS[color] + 1) * side)
    noise = random.bytes(len(raw) // int(random.integers(1, 30)))
    # Filter bytes have to be small, so noise stays below them.
    raw = bytes(np.frombuffer(noise, np.uint8) % 5) + raw[len(noise) :]
    block = bytes(1_000_000)
    parts = [compressor.compress(raw), *(compressor.compress(block) for _ in range(surplus // len(block)))]
    pixels = b"".join([*parts, compressor.flush()])[: MOST_BYTES - 1000]
    return png(side, side, 8, color, pixels=pixels, chunk_bytes=int(10 ** random.uniform(3, 7)))


def png_chunks_of_pixels(random: np.random.Generator) -> bytes:
    """Pixels in very many or empty chunks, or in very many empty blocks, behind some that are not."""
    if random.random() < 0.3:
        noise = bytes(1) + random.bytes(int(10 ** random.uniform(1, 3.85)))
        first = zlib.compressobj(9)
        pixels = first.compress(noise * 200) + first.flush(zlib.Z_FULL_FLUSH)
        return png(2400, 2400, pixels=pixels + EMPTY_BLOCKS * ((MOST_BYTES - 1000 - len(pixels)) // len(EMPTY_BLOCKS)))
    empty = chunk(b"IDAT", b"") * int(min(10 ** random.uniform(1, 6.1), MOST_BYTES // 13))
    if random.random() < 0.5:
        return png(before=empty)
    noise = random.integers(0, 2**8, int(10 ** random.uniform(2, 6.5)), np.uint8).tobytes()
    return png(2000, 2000, pixels=zlib.compress(noise), chunk_bytes=int(random.integers(1, 100)))


def png_layout(random: np.random.Generator) -> bytes:
    """Every size, depth, colour type, filter and interlacing, up to the most pixels."""
    bits, color = [(1, 0), (8, 0), (16, 0), (8, 2), (16, 2), (1, 3), (8, 3), (8, 4), (16, 4), (8, 6), (16, 6)][
        random.integers(11)
    ]
    scale = random.random() if random.random() < 0.7 else 1
    width, height = (int(side * scale) + 1 for side in MOST_SIDE)
    if random.random() < 0.2:
        width, height = [(1, 10**6), (10**6, 1), (50, 10**6), (10**6, 50)][random.integers(4)]
    return png(width, height, bits, color, bool(random.random() < 0.4), filter_type=int(random.integers(5)))


def jpeg_layout(random: np.random.Generator) -> bytes:
    """Every mode, size, number of scans, sampling and orientation, up to the most pixels."""
    scale = random.random() if random.random() < 0.7 else 1
    sides = [int(side * scale) + 1 for side in MOST_SIDE]
    if random.random() < 0.2:
        sides = [(1, 65_000), (65_000, 1), (760, 65_000), (65_000, 760)][random.integers(4)]
    exif = Image.Exif()
    exif[0x0112] = int(random.integers(1, 9))
    mode = ("RGB", "L", "CMYK")[random.integers(3)]
    progressive = bool(random.random() < 0.6)
    subsampling = {} if mode == "L" else {"subsampling": int(random.integers(3))}
    data = encoded(flat(*sides, mode), progressive=progressive, exif=exif, **subsampling)
    return with_scans(data, int(random.integers(0, 60))) if progressive else data


def jpeg_segments(random: np.random.Generator) -> bytes:
    """Comments, tables and application data without end."""
    data = encoded(flat(64, 64), progressive=bool(random.random() < 0.5))
    marker = [0xFE, 0xE0, 0xE1, 0xE2, 0xED, 0xDB, 0xC4, 0xDD][random.integers(8)]
    tables = {0xDB: b"\0" + bytes(range(1, 65)), 0xC4: b"\0\0\1" + bytes(14) + b"\0", 0xDD: b"\0\1", 0xE1: b"Exif\0\0"}
    content = tables.get(marker, bytes(int(10 ** random.uniform(0, 4.8))))
    count = int(min(10 ** random.uniform(0, 6.6), (MOST_BYTES - len(data)) // (len(content) + 4)))
    if random.random() < 0.2:
        return data[:2] + b"\xff" * count + data[2:]
    return with_segments(data, marker, content, count)


def mutation(random: np.random.Generator) -> bytes:
    """A file of another kind, with bytes changed, cut or repeated."""
    data = bytearray(_KINDS[random.integers(len(_KINDS) - 1)](random))
    for at in random.integers(0, len(data), int(random.integers(1, 9))):
        data[at] = random.integers(256)
    if random.random() < 0.3:
        del data[int(random.integers(len(data))) :]
    return bytes(data)


_KINDS = (png_metadata, png_surplus, png_chunks_of_pixels, png_layout, jpeg_layout, jpeg_segments, mutation)


def hostile_files(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """(kind, content) of so many files of at most MOST_BYTES, the same for the same seed."""
    for index, kind in enumerate(itertools.islice(itertools.cycle(_KINDS), count)):
        data = kind(np.random.default_rng([seed, index]))
        yield f"{kind.__name__} {index}", data[:MOST_BYTES]


_MMAP_THRESHOLD = -3  # mallopt(3)


class Cost:
    """Measures the processor time and memory, in MB, of what is called; memory on Linux only, otherwise 0."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None)
        self._trim = getattr(libc, "malloc_trim", lambda padding: None)
        if hasattr(libc, "mallopt"):  # memory of a million bytes and more goes back to the system at once
            libc.mallopt(_MMAP_THRESHOLD, 1_000_000)

    def of(self, function: Callable[[], object]) -> tuple[float, float]:
        self._trim(0)
        if os.path.exists("/proc/self/clear_refs"):
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")  # the peak begins again here
        memory, started = self._memory("VmRSS"), time.process_time()
        function()
        return time.process_time() - started, self._memory("VmHWM") - memory

    def _memory(self, field: str) -> float:
        if not os.path.exists("/proc/self/status"):
            return 0
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(field)) / 1024


def main(count: int) -> None:
    """Decodes so many files and prints the most that one costs."""
    import tensorflow as tf

    from pipelines.images import decode

    cost, costs = Cost(), []
    spec = [tf.TensorSpec([None], tf.string)]
    served = tf.function(decode.resized_images_or_zeros, input_signature=spec, autograph=False)
    for warm in (encoded(flat(300, 200)), png(), png(interlaced=True), b""):
        served(tf.constant([warm]))
    for name, data in hostile_files(count):
        file, valid = tf.constant([data]), []
        seconds, megabytes = cost.of(lambda file=file, valid=valid: valid.append(bool(served(file)[1][0])))
        costs.append((seconds, megabytes, f"{name}, {len(data) / 1e6:.1f} MB, {'decoded' if valid[0] else 'refused'}"))
    for label, key in (("processor time", 0), ("memory", 1)):
        print(f"most {label} of {count} files:")
        for seconds, megabytes, name in sorted(costs, key=lambda entry: -entry[key])[:8]:
            print(f"  {seconds:5.2f} s  {megabytes:5.0f} MB  {name}")


if __name__ == "__main__":
    main(int(sys.argv[-1].removeprefix("--count=")) if len(sys.argv) > 1 else 3000)
