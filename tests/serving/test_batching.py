"""Requests of several threads, merged into one run of a function."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format

from serving.batching import Batcher, BatchingOptions, batching_options
from serving.configuration import BatchingParameters
from serving.request_errors import RequestError
from tests.helpers.backends import WAIT_S, wait_until


class Doubler:
    """Doubles numbers, after `opened`; remembers the sizes of its batches."""

    def __init__(self):
        self.entered, self.opened, self.sizes = threading.Event(), threading.Event(), []

    def __call__(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        self.entered.set()
        assert self.opened.wait(WAIT_S)
        self.sizes.append(int(inputs["x"].shape[0]))
        if any(number < 0 for number in inputs["x"].numpy()):
            raise RequestError(None, "a negative number")
        return {"y": inputs["x"] * 2, "text": tf.strings.as_string(inputs["x"])}


def batcher(function: Doubler, **options: object) -> Batcher:
    chosen = BatchingOptions(**({"max_batch_size": 4, "max_execution_batch_size": 4} | options))
    return Batcher(function, chosen, threading.Semaphore(chosen.num_batch_threads))


def numbers(*values: int) -> dict[str, tf.Tensor]:
    return {"x": tf.constant(values, tf.int32)}


def waiting(ask: Batcher) -> int:
    return sum(batch.rows for batch in ask._waiting)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(16) as threads:
        yield threads


def test_requests_that_wait_run_together_and_each_gets_its_own_rows(pool):
    function = Doubler()
    ask = batcher(function)
    first = pool.submit(ask, numbers(1))
    assert function.entered.wait(WAIT_S)  # it holds the only thread
    later = [pool.submit(ask, numbers(*values)) for values in ((2, 3), (4,), (5,))]
    wait_until(lambda: waiting(ask) == 4)
    function.opened.set()
    assert first.result()["y"].numpy().tolist() == [2]
    assert [answer.result()["y"].numpy().tolist() for answer in later] == [[4, 6], [8], [10]]
    assert [answer.result()["text"].numpy().tolist() for answer in later] == [[b"2", b"3"], [b"4"], [b"5"]]
    assert function.sizes == [1, 4]


def test_a_batch_is_padded_to_the_next_allowed_size(pool):
    function = Doubler()
    function.opened.set()
    ask = batcher(function, allowed_batch_sizes=(2, 4))
    assert ask(numbers(7))["y"].numpy().tolist() == [14]
    assert ask(numbers(1, 2, 3))["y"].numpy().tolist() == [2, 4, 6]
    assert ask(numbers())["y"].numpy().tolist() == []
    assert function.sizes == [2, 4, 0]


def test_a_full_queue_refuses_and_forgets_nobody(pool):
    function = Doubler()
    ask = batcher(function, max_enqueued_batches=2)
    answers = [pool.submit(ask, numbers(0, 0, 0, 0))]
    assert function.entered.wait(WAIT_S)
    answers += [pool.submit(ask, numbers(1, 1, 1, 1)) for _ in range(2)]
    wait_until(lambda: waiting(ask) == 8)
    with pytest.raises(RequestError, match="is full") as refused:
        ask(numbers(1))
    assert refused.value.code.name == "UNAVAILABLE"
    function.opened.set()
    assert [answer.result()["y"].numpy().sum() for answer in answers] == [0, 8, 8]


def test_a_request_of_more_rows_than_a_batch_is_refused():
    with pytest.raises(RequestError, match="Task size 5 is larger than maximum input batch size 4") as refused:
        batcher(Doubler())(numbers(1, 2, 3, 4, 5))
    assert refused.value.code.name == "INVALID_ARGUMENT"


def test_a_large_request_is_split_where_that_is_asked_for():
    function = Doubler()
    function.opened.set()
    ask = batcher(function, max_batch_size=10, max_execution_batch_size=4)
    np.testing.assert_array_equal(ask(numbers(*range(10)))["y"], np.arange(10) * 2)
    assert function.sizes == [4, 4, 2]


def test_a_failure_reaches_all_of_its_batch_and_nobody_else(pool):
    function = Doubler()
    ask = batcher(function)
    before = pool.submit(ask, numbers(1))
    assert function.entered.wait(WAIT_S)
    together = [pool.submit(ask, numbers(number)) for number in (-1, 2)]
    wait_until(lambda: waiting(ask) == 2)
    function.opened.set()
    assert before.result()["y"].numpy().tolist() == [2]
    for answer in together:
        with pytest.raises(RequestError, match="a negative number"):
            answer.result()
    assert ask(numbers(3))["y"].numpy().tolist() == [6]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": tf.constant(1)}, "at least one dimension"),
        ({"x": tf.constant([1]), "z": tf.constant([1, 2])}, "equal 0th-dimension size"),
    ],
)
def test_inputs_that_are_no_rows_are_refused(inputs, message):
    with pytest.raises(RequestError, match=message):
        batcher(Doubler())(inputs)


def test_an_output_that_has_not_one_row_an_input_row_is_refused():
    ask = Batcher(lambda inputs: {"names": tf.constant(["a", "b"])}, BatchingOptions(), threading.Semaphore())
    with pytest.raises(RequestError, match="0th dimension"):
        ask(numbers(1))


def parsed(text: str, threads: int = 2) -> BatchingOptions:
    return batching_options(text_format.Parse(text, BatchingParameters()), "--file", threads)


def test_parameters_that_are_not_given_have_tensorflow_servings_defaults():
    assert parsed("") == BatchingOptions(
        max_batch_size=1000, batch_timeout_micros=0, max_enqueued_batches=10, num_batch_threads=2
    )


def test_splitting_takes_its_own_size():
    text = "max_batch_size { value: 64 } max_execution_batch_size { value: 16 } allowed_batch_sizes: [8, 16]"
    options = parsed(text + " enable_large_batch_splitting { value: true }")
    assert (options.max_batch_size, options.max_execution_batch_size) == (64, 16)
    with pytest.raises(ValueError, match="the greatest batch, 64"):
        parsed(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_batch_size { value: 0 }", "max_batch_size is 0"),
        ("num_batch_threads { value: -1 }", "num_batch_threads is -1"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros is -1"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [1, 4]", "the greatest batch, 8"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [8, 4, 8]", "ascending"),
        ("pad_variable_length_inputs: true", "pad_variable_length_inputs"),
    ],
)
def test_parameters_that_make_no_sense_are_named(text, message):
    with pytest.raises(ValueError, match=f"file: .*{message}"):
        parsed(text)
