"""Decorators and what a handler may take."""

import functools
import os
import subprocess
import sys
import tempfile
import unittest

import stavily
from stavily import testing

from . import SOURCE


class Arguments(unittest.TestCase):
    def test_any_subset_in_any_order(self):
        @stavily.sensor(interval=1)
        def sense(state, *, emit):
            state["n"] = state.get("n", 0) + 1
            emit("n", data=state)

        state = {}
        testing.run_sensor(sense, state=state)
        (event,) = testing.run_sensor(sense, state=state)
        self.assertEqual(event["data"], {"n": 2})

    def test_wrapped_function_is_seen_through(self):
        def plain(function):
            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                return function(*args, **kwargs)

            return wrapper

        @stavily.action
        @plain
        def act(params):
            return params.a

        self.assertEqual(testing.run_action(act, {"a": 1}), 1)

    def test_unknown_argument_is_refused_at_once(self):
        with self.assertRaisesRegex(TypeError, r"^act\(\) takes 'emit', but an argument of an action can be: params, ctx, config, state, log$"):

            @stavily.action
            def act(emit):
                pass

    def test_interval_must_be_positive(self):
        for interval in 0, -1:
            with self.assertRaises(ValueError):
                stavily.sensor(interval=interval)

    def test_undecorated_function_is_named(self):
        with self.assertRaisesRegex(ValueError, "is not decorated"):
            testing.run_action(print)


class Run(unittest.TestCase):
    def run_source(self, source):
        with tempfile.TemporaryDirectory() as directory:
            main = os.path.join(directory, "main.py")
            with open(main, "w") as file:
                file.write(source)
            return subprocess.run(
                [sys.executable, main],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                universal_newlines=True,
                env={"PYTHONPATH": SOURCE},
            )

    def test_needs_exactly_one_handler(self):
        done = self.run_source("import stavily\nstavily.run()\n")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("decorated with stavily.sensor, stavily.action or stavily.output; found none", done.stderr)

        two = "import stavily\n@stavily.action\ndef a(): pass\n@stavily.action\ndef b(): pass\nstavily.run()\n"
        self.assertIn("found a, b", self.run_source(two).stderr)


if __name__ == "__main__":
    unittest.main()
