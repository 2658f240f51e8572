"""One model, one user at a time, whichever thread asks and however an answer ends."""

import threading

import pytest

from helpers.errors import BusyError
from helpers.models.adapters import model_lock
from tests.fixtures import tells, wrap


def test_a_second_thread_is_told_what_the_model_is_doing(tiny):
    model, found = tiny[0], []

    def second():
        try:
            with model_lock(model, wait=False):
                found.append("got it")
        except BusyError as e:
            found.append(e)

    def run():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()

    with model_lock(model, "training"), model_lock(model, "an answer inside it"):
        run()
    tells(found[0], "busy", "an answer inside it")
    run()
    assert found[1] == "got it"


def test_an_adapter_and_its_base_model_share_one_lock(tiny):
    model, found = tiny[0], []
    tuned = wrap(model)

    def second():
        with pytest.raises(BusyError), model_lock(model, wait=False):
            pass
        found.append(True)

    with model_lock(tuned, "training"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert found == [True]


def test_the_lock_is_free_after_a_failure(tiny):
    with pytest.raises(ValueError), model_lock(tiny[0], "failing"):
        raise ValueError
    done = []
    thread = threading.Thread(target=lambda: done.append(model_lock(tiny[0], wait=False).__enter__()))
    thread.start()
    thread.join()
    assert done == [None]
