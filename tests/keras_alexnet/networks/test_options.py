"""Options of networks as text."""

import pytest

from keras_alexnet.networks import parse_options


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, {}),
        ("", {}),
        ("depth=20", {"depth": 20}),
        ("order=pre, dropout=0.5,se=True", {"order": "pre", "dropout": 0.5, "se": True}),
        ("filters=(16, 32),levels=[1]", {"filters": [16, 32], "levels": [1]}),
        ("name='two words',none=None", {"name": "two words", "none": None}),
    ],
)
def test_values_are_numbers_words_and_lists(text, expected):
    assert parse_options(text) == expected


@pytest.mark.parametrize(
    "text", ["depth", "20", "a=1)(b=2", "a=f(1)", "a=1;b=2", "**{'a': 1}", "a={1: 2}", "a=", "a=1,a=2"]
)
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match=r"^network_options=.*expected name=value"):
        parse_options(text)
