import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.images import crops

SIZES = [(300, 400), (400, 300), (257, 255), (256, 300), (100, 37), (600, 901), (1, 1), (2, 700), (700, 3)]


def photograph(height: int, width: int) -> np.ndarray:
    """Smooth and sharp structure in one uint8 [H,W,3] picture."""
    noise = np.random.default_rng(height * 1000 + width)
    coarse = Image.fromarray(noise.integers(0, 256, (5, 7, 3), np.uint8)).resize((width, height), Image.BICUBIC)
    return np.clip(np.asarray(coarse) + noise.integers(-40, 41, (height, width, 3)), 0, 255).astype(np.uint8)


def resized_size(height: int, width: int) -> tuple[int, int]:
    shorter = min(height, width)
    return round(height * 256 / shorter), round(width * 256 / shorter)


def center(resized: np.ndarray) -> np.ndarray:
    y, x = (resized.shape[0] - 256) // 2, (resized.shape[1] - 256) // 2
    return resized[y : y + 256, x : x + 256]


def grey_levels_apart(a, b) -> int:
    return np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max()


@pytest.mark.parametrize("size", SIZES)
def test_the_stored_view_is_the_centre_of_tensorflows_own_antialiased_resize(size):
    image = photograph(*size)
    resized = tf.image.resize(image, resized_size(*size), antialias=True)
    assert grey_levels_apart(crops.resize_image(tf.constant(image)), center(np.round(resized))) <= 1


@pytest.mark.parametrize("size", SIZES)
def test_the_stored_view_is_the_centre_of_pillows_bilinear_resize(size):
    image = photograph(*size)
    height, width = resized_size(*size)
    resized = np.asarray(Image.fromarray(image).resize((width, height), Image.BILINEAR))
    assert grey_levels_apart(crops.resize_image(tf.constant(image)), center(resized)) <= 1


def test_warp_brings_both_sides_to_256():
    image = photograph(300, 500)
    resized = np.asarray(Image.fromarray(image).resize((256, 256), Image.BILINEAR))
    assert grey_levels_apart(crops.resize_image(tf.constant(image), "warp"), resized) <= 1
    assert grey_levels_apart(crops.resize_image(tf.constant(image)), resized) > 10


@pytest.mark.parametrize("resize", crops.RESIZE_POLICIES)
def test_a_256_x_256_image_comes_out_bit_identical(resize):
    image = photograph(256, 256)
    np.testing.assert_array_equal(crops.resize_image(tf.constant(image), resize), image)


@pytest.mark.parametrize("size", [(10_000_000, 1), (1, 10_000_000)])
def test_an_extremely_long_image_is_no_larger_a_task_than_a_square_one(size):
    # Resized whole, it would have 256 x 2.56 thousand million pixels.
    image = tf.fill([*size, 3], tf.constant(7, tf.uint8))
    np.testing.assert_array_equal(crops.resize_image(image), np.full((256, 256, 3), 7))


def test_the_view_of_a_long_image_is_cut_at_its_centre():
    image = np.zeros((4, 10_000, 3), np.uint8)
    image[:, 5_000:] = 200
    view = crops.resize_image(tf.constant(image)).numpy()
    assert np.all(view[:, :96] == 0)
    assert np.all(view[:, 160:] == 200)


def test_the_stored_view_has_a_static_shape_in_a_graph():
    @tf.function(input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    def view(image):
        stored = crops.resize_image(image)
        assert stored.shape == (256, 256, 3)
        return stored

    assert view(photograph(300, 400)).dtype == tf.uint8


def test_an_unknown_resize_policy_is_refused_by_its_flag():
    with pytest.raises(ValueError, match=r"resize=squash: expected one of shorter_side, warp"):
        crops.resize_image(tf.zeros([300, 300, 3], tf.uint8), "squash")


@pytest.mark.parametrize(("size", "start"), [(224, 16), (227, 14)])
def test_the_centre_crop_starts_at_half_the_border(size, start):
    images = np.stack([photograph(256, 256), photograph(256, 256)[::-1]])
    expected = images[:, start : start + size, start : start + size]
    np.testing.assert_array_equal(crops.center_crop(tf.constant(images), size), expected)


@pytest.mark.parametrize(("size", "middle", "end"), [(224, 16, 32), (227, 14, 29)])
def test_ten_crops_are_corners_and_centre_then_their_mirror_images(size, middle, end):
    images = np.stack([photograph(256, 256), photograph(256, 256)[::-1]])
    # Top left, top right, centre, bottom left, bottom right.
    corners = [(0, 0), (0, end), (middle, middle), (end, 0), (end, end)]
    five = [images[:, y : y + size, x : x + size] for y, x in corners]
    expected = np.stack(five + [crop[:, :, ::-1] for crop in five], axis=1)
    np.testing.assert_array_equal(crops.ten_crops(tf.constant(images), size), expected)


def test_select_crops_names_one_or_ten_crops():
    images = tf.constant(photograph(256, 256)[None])
    np.testing.assert_array_equal(crops.select_crops(images, "center")[:, 0], crops.center_crop(images))
    np.testing.assert_array_equal(crops.select_crops(images, "ten", 227), crops.ten_crops(images, 227))
    with pytest.raises(ValueError, match=r"crops=eleven: expected one of center, ten, nine"):
        crops.select_crops(images, "eleven")


def torchvision_crop(image: np.ndarray, size: int = 224) -> np.ndarray:
    """torchvision's Resize(256) and CenterCrop(224) of a Pillow image: int() of the longer side, round() of margins."""
    height, width = image.shape[:2]
    sides = (256, int(256 * height / width)) if width <= height else (int(256 * width / height), 256)
    resized = np.asarray(Image.fromarray(image).resize(sides, Image.Resampling.BILINEAR))
    top, left = (round((side - size) / 2) for side in resized.shape[:2])
    return resized[top : top + size, left : left + size]


# Longer sides 341.3, 384.8 (rounded down), 343 (margin 59.5, to 60), 341 (58.5, to 58), 257 (16.5, to 16), 259 (17.5).
@pytest.mark.parametrize("size", [(375, 500), (300, 451), (256, 343), (341, 256), (257, 256), (256, 259), (700, 501)])
def test_the_policy_torchvision_rounds_as_torchvision(size):
    image = photograph(*size)
    stored = crops.resize_image(tf.constant(image), "torchvision")
    assert grey_levels_apart(crops.center_crop(stored[tf.newaxis])[0], torchvision_crop(image)) <= 1


# In a process of its own: TensorFlow and PyTorch in one may crash.
TORCHVISION = """
import sys
import numpy as np
from PIL import Image
from torchvision import transforms
both = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
images = np.load(sys.argv[1])
np.savez(sys.argv[2], **{name: np.asarray(both(Image.fromarray(images[name]))) for name in images})
"""


@pytest.mark.subprocess
@pytest.mark.medium
@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="needs torchvision")
def test_the_policy_torchvision_is_torchvision(tmp_path):
    images = {str(index): photograph(300 + index, 500 - index) for index in range(24)}
    np.savez(tmp_path / "images.npz", **images)
    files = [str(tmp_path / name) for name in ("images.npz", "crops.npz")]
    subprocess.run([sys.executable, "-c", TORCHVISION, *files], check=True)
    expected = np.load(tmp_path / "crops.npz")
    for name, image in images.items():
        stored = crops.resize_image(tf.constant(image), "torchvision")
        assert grey_levels_apart(crops.center_crop(stored[tf.newaxis])[0], expected[name]) <= 1


def test_nine_crops_are_a_grid_and_not_flipped():
    images = np.arange(2 * 32 * 32 * 3, dtype=np.int32).reshape(2, 32, 32, 3)
    found = crops.select_crops(images, "nine", 24)
    assert found.shape == (2, 9, 24, 24, 3)
    starts = [(y, x) for y in (0, 4, 8) for x in (0, 4, 8)]
    for index, (y, x) in enumerate(starts):
        np.testing.assert_array_equal(found[:, index], images[:, y : y + 24, x : x + 24])
