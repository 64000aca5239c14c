"""Only tests marked `numeric` let TensorFlow optimize graphs: it takes a third of the time of a small graph.

What it changes is speed, and the last bits of numbers. `make test-all` leaves it on everywhere (--optimize_graphs).
"""

import sys

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--optimize_graphs", action="store_true", help="optimize graphs in tests that are not numeric too")


# First of all, so that fixtures run like the test that they are made for.
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    # Not imported here: the tests of the client need no TensorFlow.
    if tensorflow := sys.modules.get("tensorflow"):
        optimize = item.config.getoption("--optimize_graphs") or item.get_closest_marker("numeric") is not None
        tensorflow.config.optimizer.set_experimental_options({"disable_meta_optimizer": not optimize})
