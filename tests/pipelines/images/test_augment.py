import numpy as np
import pytest
import tensorflow as tf

from pipelines.images import augment

# Of ILSVRC-2012, in pixel values squared (eigenvectors are the columns).
EIGENVALUES = np.array([14830.4, 1375.96, 388.91])
EIGENVECTORS = np.array([[-0.56351, -0.71258, 0.41796], [-0.57618, -0.02354, -0.81698], [-0.59200, 0.70120, 0.39731]])


SEED = augment.epoch_seed(3, 1)


def keys(count: int) -> tf.Tensor:
    return tf.strings.as_string(tf.range(count))


def random_crops(count: int, resized_size: int = 256, size: int = 224) -> list[np.ndarray]:
    return [drawn.numpy() for drawn in augment.random_crop(keys(count), SEED, resized_size, size)]


def test_offsets_cover_0_to_32_evenly_on_both_axes_and_half_are_mirrored():
    count = 20_000
    y, x, flip = random_crops(count)
    for offsets in (y, x):
        share = np.bincount(offsets, minlength=33)
        assert share.shape == (33,)
        # Five standard deviations of a binomial count.
        assert np.all(np.abs(share - count / 33) < 5 * np.sqrt(count / 33))
    assert abs(flip.mean() - 0.5) < 5 * 0.5 / np.sqrt(count)


def test_offsets_and_reflection_are_independent():
    y, x, flip = random_crops(20_000)
    correlations = np.corrcoef([y, x, flip])[np.triu_indices(3, 1)]
    assert np.all(np.abs(correlations) < 5 / np.sqrt(20_000))


def test_every_window_of_a_small_image_is_drawn():
    y, x, flip = random_crops(2_000, resized_size=7, size=5)
    assert {*zip(y.tolist(), x.tolist(), flip.tolist(), strict=True)} == {
        (i, j, mirrored) for i in range(3) for j in range(3) for mirrored in (False, True)
    }


def test_a_crop_of_the_whole_image_has_one_place():
    y, x, _ = random_crops(50, resized_size=256, size=256)
    assert not y.any()
    assert not x.any()


def test_draws_depend_on_seed_epoch_and_example_and_on_nothing_else():
    def draw(seed: int, epoch: int, key: str) -> tuple:
        epoch_seed = augment.epoch_seed(seed, epoch)
        shift = augment.color_augmentation(tf.constant(key), epoch_seed, EIGENVALUES, EIGENVECTORS)
        crop, window = (draw(tf.constant(key), epoch_seed) for draw in (augment.random_crop, augment.random_window))
        return (*map(int, (*crop, *window)), *shift.numpy().tolist())

    first = draw(1, 2, "a.jpg")
    assert draw(1, 2, "a.jpg") == first
    others = [draw(2, 2, "a.jpg"), draw(1, 3, "a.jpg"), draw(1, 2, "b.jpg"), draw(2, 1, "a.jpg")]
    assert len({first, *others}) == 5


def test_a_batch_is_drawn_for_as_its_examples_are():
    y, x, flip = random_crops(5)
    shifts = augment.color_augmentation(keys(5), SEED, EIGENVALUES, EIGENVECTORS)
    for i, key in enumerate(keys(5)):
        assert [int(drawn) for drawn in augment.random_crop(key, SEED)] == [y[i], x[i], flip[i]]
        windows = augment.random_window(keys(5), SEED)
        assert [int(drawn) for drawn in augment.random_window(key, SEED)] == [int(drawn[i]) for drawn in windows]
        np.testing.assert_array_equal(augment.color_augmentation(key, SEED, EIGENVALUES, EIGENVECTORS), shifts[i])


def test_windows_have_35_to_100_percent_of_the_area_and_every_shape_that_fits():
    count = 20_000
    y, x, height, width, flip = (drawn.numpy() for drawn in augment.random_window(keys(count), SEED, 10_000))
    assert (y >= 0).all()
    assert (x >= 0).all()
    assert (y + height <= 10_000).all()
    assert (x + width <= 10_000).all()
    area, aspect = height * width / 1e8, np.log(width / height)
    # The empirical distribution of uniform numbers is that far from the true one in fewer than one of 10^6 draws.
    limit = 2.7 / np.sqrt(count)
    for uniform in (
        (area - 0.35) / 0.65,
        aspect / np.minimum(np.log(4 / 3), -np.log(area - 1e-9)) / 2 + 0.5,
        (y + 0.5) / (10_001 - height),
        (x + 0.5) / (10_001 - width),
    ):
        # Windows of nearly the whole image have no choice of shape and place.
        sorted_draws = np.sort(uniform[area < 0.999]) if uniform is not area else np.sort(uniform)
        assert np.abs(sorted_draws - (np.arange(len(sorted_draws)) + 0.5) / len(sorted_draws)).max() < limit + 0.003
    assert abs(flip.mean() - 0.5) < 5 * 0.5 / np.sqrt(count)
    correlations = np.corrcoef([area, aspect, y / (10_001 - height), x / (10_001 - width), flip])
    assert np.abs(correlations[np.triu_indices(5, 1)]).max() < 5 / np.sqrt(count)


@pytest.mark.parametrize("side", [1, 2, 32])
def test_windows_of_small_images_are_inside_and_not_empty(side):
    y, x, height, width, _ = (drawn.numpy() for drawn in augment.random_window(keys(2_000), SEED, side))
    for start, length in ((y, height), (x, width)):
        assert start.min() == 0
        assert length.min() >= 1
        assert (start + length).max() == side


def test_padding_is_the_mean_colour_and_leaves_the_pixels():
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    padded = augment.padded(tf.constant(image), [0.4, 254.6, 100]).numpy()
    expected = np.empty((13, 14, 3), np.uint8)
    expected[:] = [0, 255, 100]
    expected[4:9, 4:10] = image
    np.testing.assert_array_equal(padded, expected)


def test_epoch_seeds_differ_and_fit_an_int64():
    drawn = {augment.epoch_seed(seed, epoch) for seed in (-1, 0, 1, 2**63) for epoch in range(50)}
    assert len(drawn) == 200
    assert min(drawn) >= 0
    assert max(drawn) < 2**63


def test_the_paper_shift_is_its_formula_on_intensities_of_0_to_1():
    # Unit eigenvalues and axes leave the draws themselves; the algebra is the paper's, in NumPy float64.
    alpha = augment.color_augmentation(keys(5), SEED, np.full(3, 255.0), np.eye(3)).numpy().astype(np.float64)
    in_unit_range = sum(EIGENVECTORS[:, i] * alpha[:, i, None] * (EIGENVALUES[i] / 255**2) for i in range(3))
    shift = augment.color_augmentation(keys(5), SEED, EIGENVALUES, EIGENVECTORS, "paper")
    assert shift.dtype == tf.float32
    np.testing.assert_allclose(shift, 255 * in_unit_range, rtol=1e-5, atol=1e-5)


def test_the_source2012_shift_has_standard_deviations_in_place_of_eigenvalues():
    normal = (
        augment.color_augmentation(keys(5), SEED, np.ones(3), np.eye(3), "source2012").numpy().astype(np.float64) / 0.1
    )
    expected = sum(0.1 * EIGENVECTORS[:, i] * normal[:, i, None] * np.sqrt(EIGENVALUES[i]) for i in range(3))
    shift = augment.color_augmentation(keys(5), SEED, EIGENVALUES, EIGENVECTORS, "source2012")
    np.testing.assert_allclose(shift, expected, rtol=1e-5, atol=1e-5)


# 12.18 is the figure of the 2012 code on ImageNet: 0.1 times 121.7801.
@pytest.mark.parametrize(
    ("mode", "stds", "first"),
    [("paper", 0.1 * EIGENVALUES / 255, 5.816), ("source2012", 0.1 * np.sqrt(EIGENVALUES), 12.178)],
)
def test_the_shifts_covariance_is_that_of_the_formula(mode, stds, first):
    count = 20_000
    shifts = augment.color_augmentation(keys(count), SEED, EIGENVALUES, EIGENVECTORS, mode).numpy().astype(np.float64)
    basis = np.linalg.inv(EIGENVECTORS) @ shifts.T
    assert stds[0] == pytest.approx(first, abs=1e-3)
    # Five standard errors each: of a mean, of a standard deviation, of a correlation.
    assert np.all(np.abs(basis.mean(axis=1)) < 5 * stds / np.sqrt(count))
    assert np.all(np.abs(basis.std(axis=1) / stds - 1) < 5 / np.sqrt(2 * count))
    assert np.all(np.abs(np.corrcoef(basis)[np.triu_indices(3, 1)]) < 5 / np.sqrt(count))


def test_the_shifts_factors_are_normally_distributed():
    count = 20_000
    factors = augment.color_augmentation(keys(count), SEED, np.ones(3), np.eye(3), "source2012").numpy() / 0.1
    for bound, share in ((-1.959964, 0.025), (0.0, 0.5), (1.0, 0.841345), (2.575829, 0.995)):
        below = (factors < bound).mean(axis=0)
        assert np.all(np.abs(below - share) < 5 * np.sqrt(share * (1 - share) / count))


def test_no_shift_is_zero():
    np.testing.assert_array_equal(
        augment.color_augmentation(keys(2), SEED, EIGENVALUES, EIGENVECTORS, "none"), np.zeros([2, 3])
    )


def test_an_unknown_shift_is_refused_by_its_flag():
    with pytest.raises(ValueError, match=r"color_augmentation=fancy: expected one of paper, source2012, none"):
        augment.color_augmentation(keys(2), SEED, EIGENVALUES, EIGENVECTORS, "fancy")
