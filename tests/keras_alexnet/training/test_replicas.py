"""Batch normalization and random masks on two mirrored replicas."""

import pytest

from tests.helpers.two_replicas import on_two_replicas

pytestmark = [pytest.mark.subprocess, pytest.mark.medium]


@pytest.fixture(scope="module")
def step():
    return on_two_replicas("one_step")


@pytest.mark.slow
def test_a_run_on_two_replicas_that_is_cut_equals_one_that_is_not(prepared, tmp_path):
    found = on_two_replicas("resumed", prepared, tmp_path)
    assert found["moved"] > 1e-4
    assert found["difference"] == 0


def test_moving_statistics_are_the_mean_of_the_replicas(step):
    """Not those of the first replica, and not those of the whole batch, whose variance is larger."""
    assert step["mean"] == pytest.approx(step["expected_mean"], rel=1e-5)
    assert step["variance"] == pytest.approx(step["expected_variance"], rel=1e-4)
    assert max(step["expected_variance"]) < 2


def test_replicas_and_steps_draw_different_masks(step):
    # Of 2,000 images; six standard deviations.
    assert len(step["masks"]) == 6 and all(abs(share - 0.5) < 0.07 for share in step["masks"]), step["masks"]
