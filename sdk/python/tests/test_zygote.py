"""The zygote, asked as an agent asks it."""

import array
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

from . import SOURCE, wait_for

PLUGIN = """
import os, sys
{}
import stavily
count = 0

@stavily.action
def act(params, ctx):
    global count
    count += 1
    open(os.path.join(os.environ["TMPDIR"], "mine"), "x").close()
    print("logged")
    return [count, os.getpid(), os.environ.get("EXTRA"), os.environ.get("STAVILY_ZYGOTE_FD"), ctx.config.as_dict()]

if __name__ == "__main__":
    stavily.run()
"""


@unittest.skipUnless(sys.platform == "linux", "zygotes are Linux's")
class TestTimer(unittest.TestCase):
    """The timer by which spares let the zygote sleep while an execution runs."""

    def test_it_wakes_at_once_when_a_second_spare_starts_it(self):
        from stavily import _kernel

        kernel = _kernel.load()
        timer = kernel.timer()
        self.addCleanup(os.close, timer)
        ready = lambda seconds: bool(select.select([timer], [], [], seconds)[0])
        kernel.set_timer(timer, 900)
        self.assertFalse(ready(0.01))
        kernel.set_timer(timer, 900)
        self.assertTrue(ready(0.5))
        kernel.set_timer(timer, 0)
        self.assertFalse(ready(0.01))
        kernel.set_timer(timer, 20)
        self.assertTrue(ready(5))


@unittest.skipUnless(sys.platform == "linux", "zygotes are Linux's")
class TestRehearsal(unittest.TestCase):
    """What a spare goes through before it waits for its order."""

    def test_it_goes_all_the_way_and_leaves_nothing(self):
        from stavily import _kernel, _zygote
        from stavily._handler import Handler

        called = []
        descriptors = lambda: sorted(os.listdir("/proc/self/fd"))
        with unittest.mock.patch.dict(os.environ), unittest.mock.patch.object(
            _zygote, "Handler", lambda kind, function: Handler(kind, lambda: called.append(1))
        ):
            kernel, environment = _kernel.load(), dict(os.environ, TMPDIR="/nowhere")
            before = descriptors()
            _zygote._rehearse(kernel, "/nowhere")
            self.assertEqual(called, [1])
            self.assertEqual(descriptors(), before)
            self.assertEqual(dict(os.environ), environment)


class Zygote:
    """A plugin started as a zygote, with the agent's ends of its sockets."""

    def __init__(self, directory, early=""):
        self._directory = directory
        main = os.path.join(directory, "main.py")
        with open(main, "w", encoding="utf-8") as file:
            file.write(PLUGIN.format(early))
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(10)
        env = {"PYTHONPATH": SOURCE, "PYTHONDONTWRITEBYTECODE": "1", "STAVILY_ZYGOTE_FD": str(theirs.fileno())}
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, main],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=env,
                pass_fds=[theirs.fileno()],
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for stream in (self.process.stdin, self.control):
            stream.close()
        self.process.wait(10)
        self.process.stdout.close()
        self.process.stderr.close()

    def hear(self):
        return json.loads(self.control.recv(4096))

    def ask(self, **command):
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def place(self, layer=None):
        """Let it fork; returns the socket for orders."""
        orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        place = {"place": {"temp": self._directory, "layer": layer}}
        _send(self.control, place, [theirs.fileno()])
        theirs.close()
        return orders

    def start(self, orders, number, environment=None):
        """Begin an execution; returns its process and the agent's ends of its streams."""
        started = self.stand(orders, number)
        started[1].write(json.dumps({"environment": environment or {}, "without": []}).encode() + b"\n")
        started[1].flush()
        return started

    def stand(self, orders, number):
        """Have an execution stand by; returns the same."""
        requests, answers, log = os.pipe(), os.pipe(), os.pipe()
        order = {"start": number, "limits": [], "given": self._directory}
        _send(orders, order, [requests[0], answers[1], log[1]])
        for end in (requests[0], answers[1], log[1]):
            os.close(end)
        hello = self.hear()
        assert hello["hello"] == number, hello
        return hello["pid"], os.fdopen(requests[1], "wb"), os.fdopen(answers[0], "rb"), os.fdopen(log[0], "rb")


def _send(to, message, descriptors):
    rights = array.array("i", descriptors)
    to.sendmsg([json.dumps(message).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


@unittest.skipUnless(sys.platform == "linux", "forking executions takes Linux")
class ZygoteTest(unittest.TestCase):
    def _remove(self):
        """Remove the directory; a process that was forked ahead may still be making its scratch in it."""
        shutil.rmtree(self.directory, ignore_errors=True)
        return not os.path.exists(self.directory)

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="stavily-")
        self.addCleanup(wait_for, self._remove)

    def refusal(self, early):
        with Zygote(self.directory, early) as zygote:
            return zygote.hear()["ready"]["refused"]

    def test_every_execution_is_fresh(self):
        with Zygote(self.directory) as zygote:
            self.assertEqual(zygote.hear()["ready"]["refused"], "")
            self.assertTrue(zygote.ask(action="initialize", config={"a": 1})["success"])
            with zygote.place() as orders:
                for number in range(1, 6):
                    pid, requests, answers, log = zygote.start(orders, number, {"EXTRA": str(number)})
                    with requests, answers, log:
                        requests.write(b'{"action": "execute_action", "action_request": {"id": "i", "parameters": {}}}\n')
                        requests.flush()
                        result = json.loads(answers.readline())["data"]["data"]
                        self.assertEqual(result, [1, pid, str(number), None, {"a": 1}])
                        self.assertEqual(log.read(), b"logged\n")
                    ended = zygote.hear()
                    self.assertEqual((ended["ended"], ended["status"]), (pid, 0))
                    wait_for(lambda: not os.path.exists(os.path.join(self.directory, str(pid))))

    def test_end_of_input_ends_an_execution_that_was_asked_nothing(self):
        with Zygote(self.directory, "import atexit; atexit.register(print, 'over')") as zygote:
            zygote.hear()
            with zygote.place() as orders:
                for begin, printed in (zygote.stand, b""), (zygote.start, b"over\n"):
                    pid, requests, answers, log = begin(orders, 1)
                    with answers, log:
                        requests.close()
                        ended = zygote.hear()
                        self.assertEqual((ended["ended"], ended["status"]), (pid, 0))
                        self.assertEqual(log.read(), printed)

    def test_signal_reaches_the_execution_it_is_for(self):
        with Zygote(self.directory) as zygote:
            zygote.hear()
            with zygote.place() as orders:
                first, second = zygote.start(orders, 1), zygote.start(orders, 2)
                zygote.control.send(json.dumps({"signal": 9, "pid": second[0]}).encode())
                ended = zygote.hear()
                self.assertEqual((ended["ended"], ended["status"]), (second[0], 9))
                for stream in first[1:] + second[1:]:
                    stream.close()

    def test_more_run_at_once_than_are_forked_ahead(self):
        """What is taken while nothing ends is replaced: only the timer tells the zygote."""
        with Zygote(self.directory) as zygote:
            zygote.hear()
            with zygote.place() as orders:
                for _, *streams in [zygote.start(orders, number) for number in range(1, 6)]:
                    for stream in streams:
                        stream.close()

    def test_what_cannot_be_forked_is_said(self):
        for early, reason in (
            ("import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "threads"),
            ("import socket; s = socket.socket()", "socket"),
            ("f = open(os.devnull); g = open(__file__)", "file"),
            ("p = os.pipe()", "pipe"),
            ("import stavily; x = os.environ.get('STAVILY_INSTRUCTION_ID', '')", "STAVILY_INSTRUCTION_ID"),
            ("import stavily; 'TMPDIR' in os.environ", "TMPDIR"),
        ):
            with self.subTest(early):
                self.assertIn(reason, self.refusal(early))
        self.assertEqual(self.refusal("import stavily; x = os.environ['PYTHONPATH']; null = open(os.devnull)"), "")

    def test_end_of_input_ends_the_zygote(self):
        with Zygote(self.directory) as zygote:
            zygote.hear()
            with zygote.place():
                zygote.process.stdin.close()
                self.assertEqual(zygote.process.wait(10), 0)


if __name__ == "__main__":
    unittest.main()
