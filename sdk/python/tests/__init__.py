"""Tests of the package `stavily`; run from the repository's root with

    python3 -m unittest discover -s sdk/python/tests -t sdk/python
"""

import os
import sys
import time
from typing import Any, Callable

PLUGINS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "plugins")
SOURCE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "src")

sys.path.insert(0, SOURCE)


def plugin(name: str) -> str:
    """The path of one of the plugins that the tests run as processes."""
    return os.path.join(PLUGINS, name + ".py")


def wait_for(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait until `condition()` is true; AssertionError when it does not become so."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited {} seconds in vain".format(seconds))
        time.sleep(0.01)
