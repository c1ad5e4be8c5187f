"""What holds for every Python file: old syntax, short functions, a light import."""

import ast
import glob
import os
import subprocess
import sys
import unittest

from . import SOURCE

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(SOURCE)))
_MAX_FUNCTION_LINES = 40


def python_files():
    """Every Python file of the SDK and of the official plugins, with its text."""
    for pattern in ("sdk/python/**/*.py", "plugins/**/*.py"):
        for path in glob.glob(os.path.join(_ROOT, pattern), recursive=True):
            with open(path, encoding="utf-8") as file:
                yield os.path.relpath(path, _ROOT), file.read()


class SourceTest(unittest.TestCase):
    def test_runs_on_python_3_8(self):
        files = list(python_files())
        self.assertGreater(len(files), 20)
        for path, text in files:
            with self.subTest(path):
                ast.parse(text, path, feature_version=(3, 8))

    def test_functions_are_short(self):
        for path, text in python_files():
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef):
                    lines = node.end_lineno - node.lineno + 1
                    self.assertLessEqual(lines, _MAX_FUNCTION_LINES, "{}: {}".format(path, node.name))

    def test_import_is_light(self):
        # Each costs every plugin's start milliseconds, and none is needed before the first call.
        heavy = {"asyncio", "dataclasses", "datetime", "inspect", "random", "socket", "subprocess", "tempfile"}
        source = "import stavily, sys; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-S", "-c", source], stdout=subprocess.PIPE, env={"PYTHONPATH": SOURCE}, check=True)
        self.assertEqual(heavy & set(done.stdout.decode().split()), set())


if __name__ == "__main__":
    unittest.main()
