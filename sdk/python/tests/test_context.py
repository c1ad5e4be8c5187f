"""Deadline, cancellation and sleep of a run."""

import math
import time
import unittest

from stavily._context import Context


class ContextTest(unittest.TestCase):
    def test_without_a_limit_there_is_always_time(self):
        self.assertEqual(Context(instruction_id="i", config={}).remaining, math.inf)

    def test_remaining_falls_and_ends_at_zero(self):
        context = Context(instruction_id="i", config={}, timeout=0.02)
        self.assertTrue(0 < context.remaining <= 0.02)
        context.sleep(0.03)
        self.assertEqual(context.remaining, 0)

    def test_key_is_the_instruction_unless_given(self):
        self.assertEqual(Context(instruction_id="i", config={}).idempotency_key, "i")

    def test_sleep_lasts(self):
        begin = time.monotonic()
        Context(instruction_id="i", config={}).sleep(0.05)
        self.assertGreaterEqual(time.monotonic() - begin, 0.05)

    def test_cancelled_sleep_returns_at_once(self):
        context = Context(instruction_id="i", config={})
        context.cancel()
        begin = time.monotonic()
        context.sleep(60)
        self.assertLess(time.monotonic() - begin, 5)


if __name__ == "__main__":
    unittest.main()
