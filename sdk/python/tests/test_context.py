"""Deadline, cancellation and sleep of a run."""

import io
import math
import os
import time
import unittest
from unittest import mock

from stavily import Cancelled
from stavily._context import Context
from stavily._streams import log_to_stderr


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

    def test_a_loop_is_left_at_its_top(self):
        context = Context(instruction_id="i", config={})
        context.raise_if_cancelled()
        context.cancel()
        with self.assertRaisesRegex(Cancelled, "stopped because the agent asked to"):
            context.raise_if_cancelled()

    def test_only_an_interruptible_block_is_interrupted(self):
        context = Context(instruction_id="i", config={})
        with self.assertRaises(Cancelled), context.interruptible():
            context.cancel()
        context.cancel()  # outside of it nothing is raised, nor while cleaning up
        with self.assertRaises(Cancelled), context.interruptible():
            self.fail("a run that is cancelled begins no wait")

    def test_a_log_line_does_not_take_the_interruption(self):
        context = Context(instruction_id="i", config={})

        class Interrupted(io.StringIO):
            def write(self, _):
                context.cancel()

        with mock.patch("logging.basicConfig") as configured:
            log_to_stderr()
        (handler,) = configured.call_args.kwargs["handlers"]
        handler.setStream(Interrupted())
        context.log.addHandler(handler)
        self.addCleanup(context.log.removeHandler, handler)
        with self.assertRaises(Cancelled), context.interruptible():
            context.log.critical("as the signal comes")
            self.fail("the run goes on")

    def test_trace_is_passed_on(self):
        parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        context = Context(instruction_id="i", config={})
        with mock.patch.dict(os.environ, {"TRACEPARENT": parent}):
            self.assertEqual(context.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736")
            self.assertEqual(context.trace_headers(), {"traceparent": parent})
        for wrong in "", "00-4bf9-00f0-01", "x":
            with mock.patch.dict(os.environ, {"TRACEPARENT": wrong}):
                self.assertEqual((context.trace_id, context.trace_headers()), ("", {}))


if __name__ == "__main__":
    unittest.main()
