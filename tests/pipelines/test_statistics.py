import numpy as np
import pytest

from pipelines.datasets.registry import open_source
from pipelines.preparation.compute_statistics import compute_statistics
from pipelines.statistics import Accumulator, Statistics
from tests.helpers.image_files import encode, image_folder, photograph, pixels, write_files


def random_images(count: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    tint = random.integers(0, 200, (count, 1, 1, 3))
    return (tint + random.integers(0, 56, (count, 256, 256, 1))).astype(np.uint8)


def accumulate(*groups: np.ndarray) -> Accumulator:
    accumulator = Accumulator()
    for group in groups:
        accumulator.update(group)
    return accumulator


def fields(statistics: Statistics) -> dict[str, np.ndarray]:
    return {name: getattr(statistics, name) for name in ("count", "mean_image", "rgb_mean", "rgb_covariance")}


def assert_identical(one: Statistics, other: Statistics) -> None:
    for name, value in fields(one).items():
        np.testing.assert_array_equal(value, getattr(other, name), err_msg=name, strict=True)


def test_they_are_those_of_numpy_over_the_whole_set():
    images = random_images(7)
    result = accumulate(images).result()
    flat = images.reshape(-1, 3).astype(np.float64)
    assert result.count == 7
    assert (result.mean_image.dtype, result.rgb_mean.dtype) == (np.float64, np.float64)
    np.testing.assert_allclose(result.mean_image, images.astype(np.float64).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(result.rgb_mean, flat.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(result.rgb_covariance, np.cov(flat.T, bias=True), rtol=1e-9)


def test_one_image_at_a_time_or_many_at_once_gives_the_same_bits():
    images = random_images(6)
    assert_identical(accumulate(images).result(), accumulate(*images).result())


def test_neither_order_nor_sharding_changes_a_bit():
    images = random_images(9)
    merged = accumulate(images[[8, 2, 5]])
    merged.merge(accumulate(images[[0]]))
    merged.merge(accumulate(images[[7, 6, 1, 4, 3]]))
    assert_identical(merged.result(), accumulate(images).result())


def test_a_tiny_variance_on_a_bright_ground_is_not_lost():
    images = np.full((3, 256, 256, 3), 255, np.uint8)
    images[1, 17, 4, 0] = 254
    covariance = accumulate(images).result().rgb_covariance
    share = 1 / images[..., 0].size
    np.testing.assert_allclose(covariance[0, 0], share * (1 - share), rtol=1e-12)
    assert np.count_nonzero(covariance) == 1


def test_an_axis_without_red_points_towards_green():
    green_and_blue = random_images(4)
    green_and_blue[..., 0] = 100
    vectors = accumulate(green_and_blue).result().eigenvectors
    np.testing.assert_allclose(vectors[0], [0, 0, 1], atol=1e-12)
    assert np.all(vectors[1, :2] > 0)


def test_a_saved_file_has_the_axes_for_other_readers(tmp_path):
    result = accumulate(random_images(3)).result()
    result.save(tmp_path / "statistics.npz")
    with np.load(tmp_path / "statistics.npz") as archive:
        np.testing.assert_array_equal(archive["eigenvalues"], result.eigenvalues)
        np.testing.assert_array_equal(archive["eigenvectors"], result.eigenvectors)


def test_eigenvectors_are_columns_in_descending_order_with_red_not_negative():
    result = accumulate(random_images(8, seed=3)).result()
    values, vectors = result.eigenvalues, result.eigenvectors
    assert np.all(np.diff(values) <= 0)
    assert np.all(vectors[0] >= 0)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, result.rgb_covariance, atol=1e-8)


def test_grey_images_vary_along_one_axis_only():
    grey = np.repeat(random_images(2)[..., :1], 3, axis=3)
    result = accumulate(grey).result()
    assert result.eigenvalues[0] > 1
    np.testing.assert_allclose(result.eigenvalues[1:], 0, atol=1e-8)
    assert np.all(result.eigenvalues >= 0)
    np.testing.assert_allclose(result.eigenvectors[:, 0], 3**-0.5, atol=1e-12)


@pytest.mark.parametrize("image", [np.zeros((255, 256, 3), np.uint8), np.zeros((256, 256, 3), np.float32)])
def test_other_shapes_and_types_are_refused(image: np.ndarray):
    with pytest.raises(ValueError, match=r"expected uint8 \[N,256,256,3\]"):
        Accumulator().update(image)


def test_there_are_none_of_nothing():
    with pytest.raises(ValueError, match="no image"):
        Accumulator().result()


def test_they_survive_saving(tmp_path):
    result = accumulate(random_images(2)).result()
    result.save(tmp_path / "statistics.npz")
    assert_identical(Statistics.load(tmp_path / "statistics.npz"), result)


def test_a_file_that_holds_something_else_is_named(tmp_path):
    whole = tmp_path / "whole.npz"
    accumulate(random_images(1)).result().save(whole)
    good = fields(Statistics.load(whole))
    paths = {
        name: tmp_path / name for name in ("text", "empty", "cut", "array.npy", "foreign.npz", "shape.npz", "nan.npz")
    }
    paths["text"].write_text("hello")
    paths["empty"].write_bytes(b"")
    paths["cut"].write_bytes(whole.read_bytes()[:5000])
    np.save(paths["array.npy"], np.zeros(3))
    np.savez(paths["foreign.npz"], weights=np.zeros(3))
    np.savez(paths["shape.npz"], **{**good, "rgb_mean": np.zeros(4)})
    np.savez(paths["nan.npz"], **{**good, "rgb_mean": np.full(3, np.nan)})
    for path in [*paths.values(), tmp_path / "missing", tmp_path]:
        with pytest.raises(ValueError) as raised:
            Statistics.load(path)
        assert str(raised.value).startswith(f"{path}: ")
        assert "\n" not in str(raised.value)


def test_a_scan_counts_the_stored_views_and_returns_the_bad_keys(tmp_path, capsys):
    stored = [encode(photograph(256, 256, seed)) for seed in range(4)]
    files = {f"train/cat/{index}.jpg": content for index, content in enumerate(stored)}
    write_files(tmp_path, {**files, "train/cat/bad.jpg": b"no image"})
    statistics, bad = compute_statistics(open_source(f"folder:{tmp_path}"), max_bad_fraction=0.2)
    assert bad == {"train/cat/bad.jpg"}
    assert "skipped train/cat/bad.jpg: not an image file" in capsys.readouterr().err
    assert_identical(statistics, accumulate(np.stack([pixels(content) for content in stored])).result())


def test_the_resize_policy_changes_what_a_scan_counts(tmp_path):
    source = open_source(f"folder:{image_folder(tmp_path, training=2)}")
    cut, warped = (compute_statistics(source, resize=resize)[0] for resize in ("shorter_side", "warp"))
    assert cut.count == warped.count == 4
    assert not np.array_equal(cut.mean_image, warped.mean_image)


def test_a_scan_stops_above_the_ceiling(tmp_path):
    files = {f"train/cat/{seed}.jpg": encode(photograph(seed=seed)) for seed in range(3)}
    write_files(tmp_path, {**files, "train/cat/bad.jpg": b""})
    with pytest.raises(ValueError, match=r"max_bad_fraction=0.2: 1 of 4 images .*train/cat/bad.jpg.*; 0.25 would"):
        compute_statistics(open_source(f"folder:{tmp_path}"), max_bad_fraction=0.2)
