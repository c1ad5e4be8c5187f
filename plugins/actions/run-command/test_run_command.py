import json
import os
import signal
import sys
import tempfile
import time
import unittest
from unittest import mock

import main
from stavily.tools import program
import stavily
from stavily.testing import Session, run_action

PYTHON = sys.executable


def alive(pid):
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        with open("/proc/{}/stat".format(pid)) as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class RunCommand(unittest.TestCase):
    def execute(self, command, *, allow=(PYTHON,), max_output_bytes=1000, cancelled=False, **params):
        return run_action(
            main.run_command,
            {"command": command, "timeout": 20, "ok_exit_codes": [0], **params},
            config={"allow": list(allow), "max_output_bytes": max_output_bytes},
            cancelled=cancelled,
        )

    def python(self, source, *arguments, **options):
        return self.execute([PYTHON, "-c", source] + list(arguments), **options)

    def test_exit_code_and_output_are_the_result(self):
        result = self.python("import sys; print('out'); print('err', file=sys.stderr)")
        self.assertGreater(result.pop("duration_seconds"), 0)
        self.assertEqual(result, {"exit_code": 0, "stdout": "out\n", "stderr": "err\n", "truncated": False})

    def test_arguments_are_not_interpreted(self):
        result = self.python("import sys; print(sys.argv[1:])", "$HOME; id", "*", "")
        self.assertEqual(result["stdout"], "['$HOME; id', '*', '']\n")

    def test_text_is_refused_with_a_sentence(self):
        with self.assertRaisesRegex(stavily.Refused, "command must be a list of arguments.*a text would need a shell"):
            self.execute(PYTHON + " -V")

    def test_malformed_commands_are_refused(self):
        for command in [], [PYTHON, 1], [PYTHON, "a\0b"], ["python3"], ["../bin/python3"]:
            with self.subTest(command), self.assertRaises(stavily.Refused):
                self.execute(command, allow=["python3", "../bin/python3", PYTHON])

    def test_only_what_is_allowed(self):
        for allow, command, permitted in (
            ([], ["/bin/a"], False),
            (["/bin/a"], ["/bin/a", "x"], True),
            (["/bin/a"], ["/bin/ab"], False),
            ([["/bin/a", "x"]], ["/bin/a", "x"], True),
            ([["/bin/a", "x"]], ["/bin/a", "x", "y"], True),
            ([["/bin/a", "x"]], ["/bin/a"], False),
            ([["/bin/a", "x"]], ["/bin/a", "y", "x"], False),
            ([["/bin/a", "x"]], ["/bin/a", "xy"], False),
            ([[]], ["/bin/a"], False),
            (["/bin/b", ["/bin/a"]], ["/bin/a"], True),
        ):
            with self.subTest(allow=allow, command=command):
                if permitted:
                    self.assertEqual(main.allowed(command, allow), command)
                else:
                    with self.assertRaisesRegex(stavily.Refused, "is not among the commands that this host allows"):
                        main.allowed(command, allow)

    def test_exit_code_that_is_not_ok_fails_with_the_result(self):
        source = "import sys; print('first', file=sys.stderr); print('no such unit', file=sys.stderr); sys.exit(3)"
        with self.assertRaisesRegex(stavily.Failed, "^exit code 3: no such unit$") as failed:
            self.python(source)
        self.assertEqual((failed.exception.result["exit_code"], failed.exception.result["stderr"]), (3, "first\nno such unit\n"))
        self.assertEqual(self.python(source, ok_exit_codes=[0, 3])["exit_code"], 3)

    def test_end_by_a_signal_is_told(self):
        with self.assertRaisesRegex(stavily.Failed, "^ended by SIGKILL$"):
            self.python("import os; os.kill(os.getpid(), 9)")

    def test_missing_program_is_told(self):
        with self.assertRaisesRegex(stavily.Failed, "^cannot run /no/such: .*No such file"):
            self.execute(["/no/such"], allow=["/no/such"])

    def test_output_is_bounded_and_never_blocks(self):
        result = self.python("print('x' * (1 << 20))", max_output_bytes=10)
        self.assertEqual((result["stdout"], result["truncated"]), ("x" * 10, True))

    def test_directory_environment_and_input(self):
        with tempfile.TemporaryDirectory() as directory, mock.patch.dict(os.environ, STAVILY_AGENT_SOCKET="/secret"):
            result = self.python(
                "import os, sys; print(os.getcwd(), [n for n in os.environ if 'STAVILY' in n], sys.stdin.read())", cwd=directory
            )
            self.assertEqual(result["stdout"], "{} [] \n".format(os.path.realpath(directory)))

    def test_time_is_bounded_for_the_whole_group(self):
        source = (
            "import subprocess, sys, time;"
            "stubborn = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)';"
            "child = subprocess.Popen([sys.executable, '-c', stubborn], stdout=subprocess.PIPE);"
            "child.stdout.readline(); print(child.pid, flush=True); time.sleep(60)"
        )
        with self.assertRaisesRegex(stavily.Failed, r"^stopped after \d\.\d seconds$") as failed:
            self.python(source, timeout=0.5)
        child = int(failed.exception.result["stdout"])
        end = time.monotonic() + 5
        while alive(child) and time.monotonic() < end:
            time.sleep(0.01)
        self.assertFalse(alive(child))

    def test_program_that_ignores_sigterm_is_killed(self):
        source = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
        with mock.patch.object(program, "GRACE", 0.1), self.assertRaises(stavily.Failed) as failed:
            self.python(source, timeout=0.5)
        self.assertEqual(failed.exception.result["exit_code"], -signal.SIGKILL)

    def test_output_held_open_by_a_child_does_not_hold_the_run(self):
        source = (
            "import subprocess, sys; print('done', flush=True);"
            "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3)'], start_new_session=True)"
        )
        with mock.patch.object(program, "LINGER", 0.1):
            result = self.python(source)
        self.assertEqual(result["stdout"], "done\n")
        self.assertLess(result["duration_seconds"], 2.5)

    def test_cancellation_stops_the_program(self):
        with Session(main.__file__, config={"allow": [PYTHON], "max_output_bytes": 1000}) as plugin:
            params = {"command": [PYTHON, "-c", "import time; time.sleep(60)"], "timeout": 60, "ok_exit_codes": [0]}
            plugin.send(json.dumps({"action": "execute_action", "action_request": {"parameters": params}}).encode())
            while "running" not in plugin.log:
                time.sleep(0.01)
            plugin.process.send_signal(signal.SIGTERM)
            record = plugin.receive()["data"]
        self.assertEqual((record["status"], record["data"]["exit_code"]), ("cancelled", -signal.SIGTERM))


if __name__ == "__main__":
    unittest.main()
