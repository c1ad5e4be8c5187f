"""A sensor that waits for its events, as a process and in memory."""

import os
import queue
import signal
import tempfile
import unittest

import stavily
from stavily import testing
from stavily.testing import Session

from . import plugin, wait_for


@unittest.skipUnless(hasattr(os, "mkfifo"), "needs named pipes")
class Process(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.fifo = os.path.join(directory.name, "fifo")
        os.mkfifo(self.fifo)

    def start(self, **options):
        process = Session(plugin("push"), config={"fifo": self.fifo}, **options)
        self.addCleanup(process.close)
        process.__enter__()
        wait_for(lambda: "waiting" in process.log)
        return process

    def say(self, *words):
        with open(self.fifo, "w") as fifo:
            fifo.writelines(word + "\n" for word in words)

    def test_events_come_as_they_happen_and_commands_are_answered_meanwhile(self):
        process = self.start()
        self.assertEqual(process.request("get_info")["data"]["push"], True)
        self.say("a", "b")
        events = process.wait_for_events(2)
        self.assertEqual([(e["trigger_name"], e["payload"]) for e in events], [("line.a", {"n": 1}), ("line.b", {"n": 2})])
        self.assertEqual(process.request("detect_triggers"), {"action": "detect_triggers", "success": True, "data": None})
        health = process.request("get_health")["data"]
        self.assertEqual((health["status"], health["message"]), ("healthy", "waits for events"))

    def ends(self, process, code):
        self.assertEqual(process.process.wait(10), code)
        self.assertIn("info: cleaned up\n", process.log)

    def test_stop_ends_the_wait_and_state_is_kept(self):
        process = self.start(state={"lines": 40})
        self.say("a")
        process.wait_for_events(1)
        self.assertTrue(process.request("stop")["success"])
        self.ends(process, 0)
        self.assertEqual(process.agent.state, {"lines": 41})

    def test_the_end_of_the_input_ends_the_wait(self):
        process = self.start()
        process.process.stdin.close()
        self.ends(process, 0)

    def test_sigterm_ends_the_wait(self):
        process = self.start()
        process.process.send_signal(signal.SIGTERM)
        self.ends(process, 0)

    def test_a_failure_ends_the_process_and_is_its_last_line(self):
        process = self.start()
        self.say("a", "raise")
        self.ends(process, 1)
        self.assertRegex(process.log, r"error: ValueError: no such word \(push.py:\d+ in listen\)\n$")
        self.assertEqual(process.agent.state, {"lines": 1})

    def test_a_return_ends_the_process(self):
        process = self.start()
        self.say("return")
        self.ends(process, 0)

    def test_without_a_socket_events_are_pushed_lines(self):
        process = self.start(environment={"STAVILY_AGENT_SOCKET": ""})
        self.say("a")
        event = process.receive()["event"]
        self.assertEqual((event["type"], event["data"], event["severity"]), ("line.a", {"n": 1}, "medium"))

    def test_it_must_be_initialized_first(self):
        process = Session(plugin("push"))
        self.addCleanup(process.close)
        answer = process.request("start")
        self.assertEqual((answer["success"], answer["error"]), (False, "there is no configuration: initialize must come first"))


class Memory(unittest.TestCase):
    def test_watch_returns_the_events_and_raises_the_failure(self):
        words = queue.Queue()

        @stavily.sensor(push=True)
        def listen(emit):
            while True:
                word = words.get(timeout=60)
                if word == "return":
                    return
                emit("word." + word)

        for word in "a", "b", "", "return":
            words.put(word)
        listener = testing.Plugin(listen)
        self.assertEqual([event["type"] for event in listener.watch(2)], ["word.a", "word.b"])
        self.assertEqual([event["type"] for event in listener.watch(1)], ["word."])
        with self.assertRaisesRegex(AssertionError, "the sensor has returned after 0 of 1 events"):
            listener.watch(1)
        with self.assertRaisesRegex(AssertionError, "the sensor is still waiting after 0 of 1 events"):
            listener.watch(1, timeout=0.05)
        words.put(7)  # for the one that is still waiting
        words.put(7)
        with self.assertRaises(TypeError):
            listener.watch(1)

    def test_interval_and_push_exclude_each_other(self):
        with self.assertRaisesRegex(ValueError, "waits by itself: it has no interval"):
            stavily.sensor(interval=5, push=True)


if __name__ == "__main__":
    unittest.main()
