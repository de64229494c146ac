"""Stages end together: in order and complete, or with the first failure, and never with a thread left behind."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avol.runtime.stages import FrameQueue, Stages, Stopped, feed


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("avol-stage-")]


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    assert our_threads() == []


def relay(source: FrameQueue[int], target: FrameQueue[int], work: Callable[[int], int]) -> Callable[[], None]:
    return lambda: feed((work(item) for item in source), target)


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(0, 60),
    capacities=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    seed=st.integers(0, 999),
)
def test_order_is_kept_under_any_timing(count: int, capacities: list[int], seed: int) -> None:
    chance = random.Random(seed)

    def slow(item: int) -> int:
        time.sleep(chance.choice([0, 0, 0, 0.0005, 0.002]))
        return item

    with Stages() as stages:
        queues: list[FrameQueue[int]] = [stages.queue(capacity) for capacity in capacities]
        stages.start("first", lambda: feed((slow(k) for k in range(count)), queues[0]))
        for number, (source, target) in enumerate(itertools.pairwise(queues)):
            stages.start(str(number), relay(source, target, slow))
        assert [slow(item) for item in queues[-1]] == list(range(count))
        assert list(queues[-1]) == []  # asked again, it has still ended
        stages.wait()


def test_no_more_frames_wait_than_the_queue_holds() -> None:
    made = 0

    def frames() -> Iterator[int]:
        nonlocal made
        while made < 100:
            made += 1
            yield made

    with Stages() as stages:
        queue: FrameQueue[int] = stages.queue(3)
        stages.start("fast", lambda: feed(frames(), queue))
        for taken, _ in enumerate(queue, 1):
            time.sleep(0.001)
            assert made <= taken + 3 + 1  # and the one in the hand of the thread
            if taken == 20:
                break


def test_what_waits_is_given_without_waiting() -> None:
    queue: FrameQueue[int] = FrameQueue(4)
    assert list(queue.waiting()) == []
    for item in (1, 2, 3):
        queue.put(item)
    assert next(queue) == 1
    assert list(queue.waiting()) == [2, 3]
    queue.put(4)
    queue.end()
    assert next(queue.waiting()) == 4
    assert list(queue.waiting()) == []
    assert list(queue) == []


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_queue_holds_something(capacity: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        FrameQueue(capacity)


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt("x"), SystemExit(3)])
@pytest.mark.parametrize("at", [0, 1, 7])
@pytest.mark.parametrize("stage", ["source", "middle", "sink", "caller"])
def test_the_first_failure_ends_all(stage: str, at: int, error: BaseException) -> None:
    def failing(name: str) -> Callable[[int], int]:
        def work(item: int) -> int:
            if name == stage and item == at:
                raise error
            return item

        return work

    def run() -> None:
        with Stages() as stages:
            first, second, third = (stages.queue(2) for _ in range(3))
            stages.start("source", lambda: feed(map(failing("source"), itertools.count()), first))
            stages.start("middle", relay(first, second, failing("middle")))
            stages.start("sink", lambda: [failing("sink")(item) for item in third] and None)
            for item in second:
                third.put(failing("caller")(item))

    with pytest.raises(type(error)) as caught:
        run()
    assert caught.value is error
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_cause_of_a_failure_is_kept() -> None:
    cause = OSError("disk")

    def fail() -> None:
        raise ValueError("cannot") from cause

    def run() -> None:
        with Stages() as stages:
            stages.start("fails", fail)
            stages.wait()

    with pytest.raises(ValueError, match="cannot") as caught:
        run()
    assert caught.value.__cause__ is cause


def test_of_two_failures_the_callers_own_counts() -> None:
    ready = threading.Event()

    def fail() -> None:
        ready.wait()
        raise ValueError("of the thread")

    def run() -> None:
        with Stages() as stages:
            stages.start("fails", fail)
            ready.set()
            raise RuntimeError("of the caller")

    with pytest.raises(RuntimeError, match="of the caller"):
        run()


def test_leaving_early_is_no_failure() -> None:
    with Stages() as stages:
        queue: FrameQueue[int] = stages.queue(1)
        stages.start("endless", lambda: feed(itertools.count(), queue))
        assert next(queue) == 0


def test_after_the_stop_nobody_waits() -> None:
    queue: FrameQueue[int] = FrameQueue(1)
    queue.put(1)
    queue.stop()
    for _ in range(3):
        with pytest.raises(Stopped):
            queue.put(2)
        with pytest.raises(Stopped):
            next(queue)
        with pytest.raises(Stopped):
            list(queue.waiting())
    queue.end()


INTERRUPTED = """
    import itertools, threading, sys, time
    from avol.runtime.stages import Stages, feed

    def slow(queue):
        for item in itertools.count():
            time.sleep(0.05)
            queue.put(item)

    try:
        with Stages() as stages:
            queue, unread = stages.queue(2), stages.queue(2)
            stages.start("slow", lambda: slow(queue))
            stages.start("full", lambda: feed(itertools.count(), unread))
            print("ready", flush=True)
            {body}
    except KeyboardInterrupt:
        print([t.name for t in threading.enumerate() if t.name.startswith("avol-stage-")])
"""


@pytest.mark.parametrize(
    "body", ["for item in queue: pass", "stages.wait()", "feed(itertools.count(), stages.queue(1))", "time.sleep(60)"]
)
def test_ctrl_c_reaches_a_caller_that_waits(body: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(INTERRUPTED).format(body=body)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=120)[0] == "[]\n"
    assert process.returncode == 0


def test_a_program_ends_though_a_stage_waits() -> None:
    code = """
        import itertools
        from avol.runtime.stages import Stages, feed
        stages = Stages()
        queue = stages.queue(1)
        stages.start("endless", lambda: feed(itertools.count(), queue))
        print(next(queue))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")
