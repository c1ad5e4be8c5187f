"""Calls to the agent over a real Unix socket."""

import os
import socket
import tempfile
import threading
import unittest
from unittest import mock

from stavily import AgentError, Emitter, _agent
from stavily.testing import AgentSocket


@unittest.skipUnless(hasattr(socket, "AF_UNIX"), "needs Unix sockets")
class Calls(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = os.path.join(directory.name, "agent")

    def listen(self):
        agent = AgentSocket(self.path)
        self.addCleanup(agent.close)
        return agent

    def answer_with(self, reply):
        """A listener that answers one call with these bytes and closes."""
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.path)
        listener.listen(1)

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)

    def test_emit_returns_the_agents_id(self):
        agent = self.listen()
        emit = Emitter(_agent.Agent(self.path))
        self.assertEqual(emit("disk.full", data={"path": "/"}), "event-1")
        self.assertEqual(
            agent.events,
            [{"trigger_name": "disk.full", "payload": {"path": "/"}, "severity": "medium", "event_id": "event-1"}],
        )
        self.assertEqual(emit.take(), [])

    def test_threads_may_emit_at_once(self):
        agent = self.listen()
        emit = Emitter(_agent.Agent(self.path))
        threads = [threading.Thread(target=emit, args=("n.{}".format(n),)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual({event["trigger_name"] for event in agent.events}, {"n.{}".format(n) for n in range(8)})

    def test_room_in_a_full_queue_is_waited_for(self):
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.path)
        listener.listen(0)
        before = []
        while True:
            other = socket.socket(socket.AF_UNIX)
            self.addCleanup(other.close)
            other.setblocking(False)
            try:
                other.connect(self.path)
            except BlockingIOError:
                break
            before.append(other)
        waits, answers = threading.Event(), []
        call = threading.Thread(target=lambda: answers.append(_agent.Agent(self.path).call("x", {})))
        with mock.patch.object(_agent.time, "sleep", lambda _: waits.set()):
            call.start()
            self.assertTrue(waits.wait(10), "the call did not wait")
            for _ in before:
                listener.accept()[0].close()
            connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b'{"jsonrpc": "2.0", "id": 1, "result": {"a": 1}}\n')
        call.join()
        self.assertEqual(answers, [{"a": 1}])

    def test_bad_events_are_refused_before_they_are_sent(self):
        agent = self.listen()
        emit = Emitter(_agent.Agent(self.path))
        for arguments in {"type": ""}, {"type": 7}, {"type": "a", "severity": "fatal"}, {"type": "a", "data": {"n": float("inf")}}:
            with self.subTest(arguments), self.assertRaises(ValueError):
                emit(**arguments)
        with self.assertRaises(TypeError):
            emit("a", data={"set": {1}})
        self.assertEqual(agent.events, [])

    def test_refusal_is_told(self):
        self.listen().refuse = "the spool is full"
        with self.assertRaisesRegex(AgentError, "^the agent refused report_trigger: the spool is full$"):
            Emitter(_agent.Agent(self.path))("a")

    def test_no_agent_is_told(self):
        with self.assertRaisesRegex(AgentError, "^the agent did not answer report_trigger: "):
            Emitter(_agent.Agent(self.path))("a")

    def test_broken_answers_are_told(self):
        for reply, error in (b"", "cut short after 0 bytes"), (b'{"result": {', "cut short after 12"), (b"junk\n", "did not answer"):
            with self.subTest(reply):
                self.answer_with(reply)
                with self.assertRaisesRegex(AgentError, error):
                    _agent.Agent(self.path).call("ping", {})
                os.unlink(self.path)

    def test_silence_is_told(self):
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.path)
        listener.listen(1)
        with mock.patch.object(_agent, "_TIMEOUT_SECONDS", 0.05), self.assertRaisesRegex(AgentError, "timed out"):
            _agent.Agent(self.path).call("ping", {})


if __name__ == "__main__":
    unittest.main()
