import queue
import threading

import pytest

from pipelines.preparation.convert import BadImages, report_ignored
from pipelines.thread_map import ordered_thread_map


def test_only_a_share_above_the_limit_is_a_failure():
    bad = BadImages(0.1)
    bad.seen = 10
    bad.add("a.jpg", "why")
    bad.check(bad.seen)
    bad.add("b.jpg", "why")
    with pytest.raises(ValueError, match=r"2 of 10 images .* \(a.jpg, b.jpg\); 0.2 would allow that"):
        bad.check(bad.seen)


def test_the_share_the_message_names_does_let_the_set_pass():
    for seen, count in ((3, 1), (7, 3), (999_983, 1)):
        bad = BadImages(0)
        bad.seen = seen
        for index in range(count):
            bad.add(str(index), "why")
        with pytest.raises(ValueError) as raised:
            bad.check(bad.seen)
        generous = BadImages(float(str(raised.value).split("; ")[1].split()[0]))
        generous.seen, generous.reasons = seen, bad.reasons
        generous.check(seen)


def test_only_the_first_twenty_bad_images_are_named_on_stderr(capsys):
    bad = BadImages(1)
    for index in range(30):
        bad.add(f"{index}.jpg", "why")
    lines = capsys.readouterr().err.splitlines()
    assert lines[:20] == [f"skipped {index}.jpg: why" for index in range(20)]
    assert len(lines) == 21
    assert len(bad.reasons) == 30


def test_a_share_outside_zero_to_one_is_refused():
    with pytest.raises(ValueError, match=r"max_bad_fraction=1\.5"):
        BadImages(1.5)


def test_threads_keep_the_order_and_read_only_a_window_ahead():
    taken = []
    gate = threading.Event()

    def numbers():
        for number in range(1000):
            taken.append(number)
            yield number

    def square(number: int) -> int:
        if number == 0:
            gate.wait(10)
        return number * number

    results = ordered_thread_map(square, numbers())
    gate.set()
    assert next(results) == 0
    assert len(taken) < 1000
    assert list(results) == [number * number for number in range(1, 1000)]


def test_an_abandoned_map_may_be_finalized_on_one_of_its_threads():
    is_waiting, outcome = threading.Event(), queue.SimpleQueue()

    def close_it(number: int) -> int:
        if number == 3:
            is_waiting.wait(10)
            try:
                outcome.put(results.close())
            except RuntimeError as error:
                outcome.put(error)
        return number

    results = ordered_thread_map(close_it, range(4), threads=1)
    assert next(results) == 0
    is_waiting.set()
    assert outcome.get(timeout=10) is None


def test_ignored_files_are_counted_and_the_first_are_named(capsys):
    report_ignored({f"train/cat/{index}.txt": "no image by its suffix" for index in range(5)})
    named = ", ".join(f"train/cat/{index}.txt (no image by its suffix)" for index in range(3))
    assert capsys.readouterr().err == f"ignored 5 files that are not images: {named}, ...\n"
    report_ignored({})
    assert capsys.readouterr().err == ""
