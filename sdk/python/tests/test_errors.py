"""How failures are told."""

import os
import unittest

import stavily
from stavily._errors import describe

HOME = os.path.join(os.sep, "srv", "plugin")


def raised(error, *files):
    """`error`, raised here and caught after it has passed a function `call` in each file, the first outermost."""

    def fail():
        raise error

    call = fail
    for file in reversed(files):
        names = {"below": call}
        exec(compile("def call(): below()", file, "exec"), names)
        call = names["call"]
    try:
        call()
    except Exception as caught:
        return caught


class Describe(unittest.TestCase):
    def test_only_the_plugins_own_files_are_told(self):
        error = raised(
            ValueError("bad\nvalue"),
            os.path.join(HOME, "main.py"),
            os.path.join(HOME, "venv", "site-packages", "lib.py"),
            os.path.join(HOME, "parts", "inner.py"),
            HOME + "-other" + os.sep + "main.py",
        )
        inner = os.path.join("parts", "inner.py")
        self.assertEqual(describe(error, HOME), "ValueError: bad value ({}:1 in call, main.py:1 in call)".format(inner))

    def test_deep_calls_are_cut_to_the_innermost(self):
        error = raised(ValueError("x"), *[os.path.join(HOME, "{}.py".format(n)) for n in range(9)])
        self.assertEqual(
            describe(error, HOME),
            "ValueError: x (8.py:1 in call, 7.py:1 in call, 6.py:1 in call, 5.py:1 in call, 4.py:1 in call)",
        )

    def test_without_a_frame_of_the_plugin(self):
        self.assertEqual(describe(raised(KeyError("a"), os.path.join(os.sep, "lib.py")), HOME), "KeyError: 'a'")

    def test_words_of_the_plugin_are_left_as_they_are(self):
        for kind in stavily.Refused, stavily.Failed, stavily.Cancelled:
            self.assertEqual(describe(raised(kind("only below /srv"), os.path.join(HOME, "main.py")), HOME), "only below /srv")


if __name__ == "__main__":
    unittest.main()
