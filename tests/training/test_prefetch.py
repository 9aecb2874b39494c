import os
import signal
import threading

import pytest

from training.prefetch import AHEAD, prefetched
from zoo import InputError


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    assert not workers()
    yield
    assert not workers()


@pytest.mark.parametrize("count", [0, 1, AHEAD, AHEAD + 1, 100])
def test_items_come_in_their_order(count):
    assert list(prefetched(lambda *, stop: iter(range(stop)), stop=count)) == list(range(count))


def test_items_may_be_anything():
    items = [None, False, (), StopIteration]
    assert list(prefetched(iter, items)) == items


def test_items_are_made_ahead_but_not_far():
    made = [threading.Event() for _ in range(50)]
    threads = set()

    def make():
        for number, event in enumerate(made):
            threads.add(threading.current_thread())
            event.set()
            yield number

    items = prefetched(make)
    assert next(items) == 0
    # The item that was handed over, and as many as may wait; far more time than it takes.
    assert made[AHEAD].wait(60)
    assert not any(event.is_set() for event in made[AHEAD + 1 :])
    assert next(items) == 1
    assert made[AHEAD + 1].wait(60)
    assert not any(event.is_set() for event in made[AHEAD + 2 :])
    items.close()
    assert len(threads) == 1 and threading.main_thread() not in threads


def test_an_error_comes_in_its_turn():
    def make():
        yield 0
        yield 1
        raise InputError("the third one cannot be made")

    seen = []
    with pytest.raises(InputError, match="the third one") as caught:
        for item in prefetched(make):
            seen.append(item)
    assert seen == [0, 1]
    # The place where it was raised is shown.
    assert caught.traceback[-1].name == "make"


def test_leaving_the_loop_ends_the_thread():
    ended = []

    def make():
        try:
            yield from range(1000)
        finally:
            ended.append(True)

    for item in prefetched(make):
        if item == 3:
            break
    assert not workers()
    with pytest.raises(KeyboardInterrupt):
        for item in prefetched(make):
            if item == 3:
                raise KeyboardInterrupt
    assert not workers()
    assert ended == [True, True]


def test_ctrl_c_while_waiting_ends_the_thread():
    def make():
        yield 0
        os.kill(os.getpid(), signal.SIGINT)
        yield from range(1, 1000)

    with pytest.raises(KeyboardInterrupt):
        for _ in prefetched(make):
            pass


def test_nothing_is_begun_before_the_first_item_is_asked_for():
    items = prefetched(iter, [1])
    assert not workers()
    assert next(items) == 1
    items.close()
