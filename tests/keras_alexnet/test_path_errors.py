import os

import pytest

from keras_alexnet.path_errors import errors_of_path


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("init: found nothing", "weights=init: found nothing"),
        ("path=init: found nothing", "weights=init: found nothing"),
        (f"init{os.sep}1: found\nnothing", f"weights=init{os.sep}1: found\nnothing"),
        ("init is missing: expected 'he'", "init is missing: expected 'he'"),
        ("initial: found nothing", "initial: found nothing"),
        ("classes=0: expected 1", "classes=0: expected 1"),
    ],
)
def test_errors_about_a_path_have_the_name_of_the_argument(message, expected):
    with pytest.raises(UnicodeError) as raised, errors_of_path("weights", "./init"):
        raise UnicodeError(message)
    assert str(raised.value) == expected
