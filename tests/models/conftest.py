"""For the tests of this folder alone."""

import os

import pytest


@pytest.fixture
def umask():
    """Sets the umask, as its argument says, until the test ends."""
    before = os.umask(0o022)
    os.umask(before)
    yield os.umask
    os.umask(before)
