"""The contract stdio, with real processes."""

import io
import json
import os
import select
import signal
import time
import unittest
from unittest import mock

import stavily
from stavily import _handler
from stavily._contract import Host
from stavily.testing import Session

from . import plugin, wait_for


class AnyPlugin(unittest.TestCase):
    def test_get_info_names_the_plugin(self):
        with Session(plugin("sensor"), environment={"STAVILY_PLUGIN_ID": "queue-long"}) as process:
            answer = process.request("get_info")
        self.assertEqual(
            answer,
            {
                "action": "get_info",
                "success": True,
                "data": {"id": "queue-long", "type": "trigger", "protocol": 2, "interval": 5.0},
            },
        )

    def test_status_follows_the_commands(self):
        with Session(plugin("output")) as process:
            self.assertEqual(process.request("get_status")["data"], "running")
            process.request("stop")
            self.assertEqual(process.request("get_status")["data"], "stopped")

    def test_health_tells_how_the_last_run_went(self):
        with Session(plugin("action")) as process:
            self.assertEqual(process.request("get_health")["data"]["status"], "unknown")
            process.execute({"do": "fail"})
            health = process.request("get_health")["data"]
            self.assertEqual((health["status"], health["message"]), ("degraded", "exit code 3"))
            process.execute({"do": "nothing"})
            health = process.request("get_health")["data"]
        self.assertEqual((health["status"], health["error_count"], health["metrics"]), ("healthy", 1, {"runs": 2}))

    def test_schema_is_left_to_the_manifest(self):
        for name, command in ("sensor", "trigger"), ("action", "action"), ("output", "output"):
            with self.subTest(name), Session(plugin(name)) as process:
                answer = process.request("get_{}_config".format(command))
                self.assertEqual((answer["success"], answer["data"]), (True, {}))

    def test_id_comes_back(self):
        with Session(plugin("output")) as process:
            self.assertEqual(process.request("get_status", id=17)["id"], 17)
            self.assertEqual(process.request("no_such", id="a")["id"], "a")

    def test_junk_is_answered_and_survived(self):
        lines = {
            b"junk": "not JSON",
            b"": "not JSON",
            b"\xff\xfe": "not JSON",
            b"[1]": "not a JSON object",
            b"{}": "no command None",
            b'{"action": ["start"]}': "no command",
            b'{"action": "execute_action"}': "no command 'execute_action' for this plugin: it has detect_triggers",
            b'{"action": "initialize", "config": 7}': "config must be an object, is int",
            b"[" * 100000: "not JSON",
            b'{"action": "' + b"x" * (3 << 20) + b'"}': "longer than 1048576 bytes",
        }
        with Session(plugin("sensor")) as process:
            for line, error in lines.items():
                with self.subTest(line[:40]):
                    answer = process.exchange(line)
                    self.assertFalse(answer["success"])
                    self.assertIn(error, answer["error"])
            self.assertTrue(process.request("get_status")["success"])

    def test_longest_line_is_taken(self):
        with Session(plugin("sensor")) as process:
            line = b'{"action": "get_status"'
            line += b" " * ((1 << 20) - len(line) - 1) + b"}"
            self.assertEqual(process.exchange(line)["data"], "running")
            self.assertIn("longer than 1048576 bytes", process.exchange(line + b" ")["error"])

    def test_work_before_initialize_is_refused(self):
        process = Session(plugin("sensor"))
        try:
            answer = process.request("detect_triggers")
        finally:
            process.close()
        self.assertIn("initialize must come first", answer["error"])

    def test_end_of_input_ends_it(self):
        with Session(plugin("sensor")) as process:
            process.process.stdin.close()
            self.assertEqual(process.process.wait(10), 0)

    def test_agent_that_stops_reading_ends_it_quietly(self):
        with Session(plugin("sensor")) as process:
            process.process.stdout.close()
            process.send(b'{"action": "get_status"}')
            self.assertEqual(process.process.wait(10), 0)
            self.assertNotIn("Traceback", process.log)

    def test_sigterm_while_waiting_stops_it(self):
        with Session(plugin("action")) as process:
            self.assertEqual(process.terminate(), 0)


class Streams(unittest.TestCase):
    def test_prints_go_to_the_log(self):
        with Session(plugin("action")) as process:
            record = process.execute({"do": "print"})
            self.assertEqual(record["status"], "completed")
            for line in "printed \\udc80", "written to descriptor 1", "printed by a child":
                self.assertIn(line + "\n", process.log)

    def test_print_before_run_goes_to_the_log(self):
        with Session(plugin("sensor")) as process:
            process.detect()
            self.assertIn("printed at import\n", process.log)

    def test_plugin_cannot_eat_commands(self):
        with Session(plugin("action")) as process:
            self.assertEqual(process.execute({"do": "read"})["data"], {"read": ""})

    def test_log_lines_carry_their_level(self):
        with Session(plugin("action")) as process:
            process.execute({"do": "log"})
            self.assertEqual(process.log, "warn: two\nwarn: lines\n")

    def test_the_agent_says_from_which_level_on(self):
        for level, log in ("debug", "debug: unseen\nwarn: two\nwarn: lines\n"), ("error", ""):
            with Session(plugin("action"), environment={"STAVILY_LOG_LEVEL": level}) as process:
                process.execute({"do": "log"})
                self.assertEqual(process.log, log)


class Sensor(unittest.TestCase):
    def test_emitted_events_are_with_the_agent_before_the_answer(self):
        with Session(plugin("sensor")) as process:
            for calls in 1, 2:
                answer = process.request("detect_triggers")
                self.assertEqual((answer["success"], answer["data"]), (True, None))
                self.assertEqual(
                    process.agent.events[-1],
                    {
                        "trigger_name": "test.fired",
                        "payload": {"calls": calls},
                        "severity": "high",
                        "key": "k",
                        "event_id": "event-{}".format(calls),
                    },
                )
            self.assertIn("info: id event-2\n", process.log)

    def test_without_a_socket_events_are_in_the_answer(self):
        with Session(plugin("sensor"), environment={"STAVILY_AGENT_SOCKET": ""}) as process:
            (event,) = process.request("detect_triggers")["data"]
            (second,) = process.request("detect_triggers")["data"]
        self.assertEqual(second["data"], {"calls": 2})
        self.assertRegex(event.pop("id"), "^[0-9a-f]{32}$")
        self.assertRegex(event.pop("timestamp"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(event, {"type": "test.fired", "data": {"calls": 1}, "severity": "high", "key": "k"})

    def test_events_from_before_a_failure_are_kept(self):
        with Session(plugin("sensor"), config={"fails": True}, environment={"STAVILY_AGENT_SOCKET": ""}) as process:
            answer = process.request("detect_triggers")
        self.assertEqual((answer["success"], answer["error"], len(answer["data"])), (False, "no such queue", 1))

    def test_refused_event_fails_the_check_and_tells_why(self):
        with Session(plugin("sensor")) as process:
            process.detect()  # it has looked at its state
            process.agent.refuse = "the spool is full"
            answer = process.request("detect_triggers")
        self.assertFalse(answer["success"])
        self.assertRegex(
            answer["error"], r"^AgentError: the agent refused report_trigger: the spool is full \(sensor.py:\d+ in sense\)$"
        )

    def test_returning_an_event_is_an_error(self):
        with Session(plugin("sensor"), config={"returns": True}) as process:
            answer = process.request("detect_triggers")
        self.assertEqual(answer["error"], "a sensor reports with emit(), but this one returned dict")

    @unittest.skipUnless(hasattr(select, "poll"), "needs poll")
    def test_sigterm_that_no_read_sees_ends_it(self):
        with Session(plugin("elsewhere")) as process:
            self.assertTrue(process.request("get_health")["success"])
            process.process.send_signal(signal.SIGTERM)
            self.assertEqual(process.process.wait(10), 0)

    @unittest.skipUnless(hasattr(os, "fork"), "needs fork")
    def test_sigterm_of_a_process_that_it_forked_does_not(self):
        with Session(plugin("elsewhere")) as process:
            self.assertTrue(process.request("detect_triggers")["success"])
            self.assertTrue(process.request("get_health")["success"])

    def test_sigterm_ends_a_check(self):
        with Session(plugin("sensor"), config={"sleep": 60}) as process:
            process.send(b'{"action": "detect_triggers"}')
            wait_for(lambda: "sleeping" in process.log)
            self.assertEqual(process.terminate(), 0)
            self.assertEqual(process.agent.events, [])


class Action(unittest.TestCase):
    def execute(self, **params):
        with Session(plugin("action"), config={"limit": 3}) as process:
            work = {"id": "i-1", "parameters": params, "timeout": 60, "metadata": {"idempotency_key": "key-1"}}
            return process.request("execute_action", action_request=work)

    def test_result_is_recorded(self):
        answer = self.execute(do="nothing")
        self.assertTrue(answer["success"])
        record = answer["data"]
        self.assertEqual((record["id"], record["status"], record["error"]), ("i-1", "completed", ""))
        self.assertLessEqual(record["started_at"], record["completed_at"])
        self.assertGreaterEqual(record["duration"], 0)
        remaining = record["data"].pop("remaining")
        self.assertTrue(50 < remaining <= 60, remaining)
        self.assertEqual(record["data"], {"instruction": "i-1", "key": "key-1", "config": {"limit": 3}})

    def test_refusal_is_told_without_frames(self):
        answer = self.execute(do="refuse")
        self.assertEqual((answer["success"], answer["error"]), (False, "only below /srv"))
        self.assertEqual(answer["data"]["status"], "failed")

    def test_failure_keeps_its_result(self):
        answer = self.execute(do="fail")
        self.assertEqual((answer["error"], answer["data"]["data"]), ("exit code 3", {"exit_code": 3}))

    def test_mistake_is_told_with_the_plugins_own_frames(self):
        self.assertRegex(
            self.execute(do="divide")["error"],
            r"^ZeroDivisionError: division by zero \(action.py:\d+ in divide, action.py:\d+ in act\)$",
        )
        self.assertRegex(self.execute(do="parse")["error"], r"^JSONDecodeError: .* \(action.py:\d+ in act\)$")

    def test_exit_is_a_failure_and_no_exit(self):
        self.assertRegex(self.execute(do="exit")["error"], r"^SystemExit: 3 \(action.py:\d+ in act\)$")

    def test_result_that_is_not_json_is_a_failure(self):
        for do in "not json", "nan":
            with self.subTest(do):
                answer = self.execute(do=do)
                self.assertFalse(answer["success"])
                self.assertIn("the plugin's result is not JSON", answer["error"])

    def test_result_that_is_too_large_is_a_failure(self):
        self.assertRegex(self.execute(do="large")["error"], r"^the plugin's result has \d+ bytes; 1048576 are allowed$")

    def test_parameters_must_be_an_object(self):
        with Session(plugin("action")) as process:
            for work, error in (
                ([], "action_request must be an object, is list"),
                ({"parameters": "x"}, "parameters must be an object, is str"),
                ({"timeout": "5m"}, "timeout must be a number of seconds, is '5m'"),
            ):
                answer = process.request("execute_action", action_request=work)
                self.assertEqual((answer["success"], answer["error"]), (False, error))

    def test_progress_reaches_the_agent_at_most_once_a_second(self):
        with Session(plugin("action")) as process:
            process.execute({"do": "progress"})
            self.assertEqual(process.agent.progress, [{"percent": 40, "message": "first"}])

    def test_progress_that_is_refused_fails_nothing(self):
        with Session(plugin("action")) as process:
            process.agent.refuse = "busy"
            self.assertEqual(process.execute({"do": "progress"})["status"], "completed")
            self.assertIn("warn: the agent refused progress: busy\n", process.log)

    def test_sigterm_cancels_and_the_answer_still_comes(self):
        with Session(plugin("action")) as process:
            work = {"id": "i-1", "parameters": {"do": "wait"}}
            process.send(json.dumps({"action": "execute_action", "action_request": work}).encode())
            wait_for(lambda: "waiting" in process.log)
            process.process.send_signal(signal.SIGTERM)
            answer = process.receive()
            self.assertEqual((answer["success"], answer["error"]), (False, "after 1 of 2"))
            self.assertEqual((answer["data"]["status"], answer["data"]["data"]), ("cancelled", {"done": 1}))
            self.assertEqual(process.process.wait(10), 0)


    def test_sigterm_ends_an_interruptible_wait_once(self):
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        with Session(plugin("blocked"), environment={"TRACEPARENT": trace}) as process:
            process.send(b'{"action": "execute_action", "action_request": {}}')
            wait_for(lambda: "waiting in trace 4bf92f3577b34da6a3ce929d0e0e4736" in process.log)
            process.process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
            process.process.send_signal(signal.SIGTERM)
            answer = process.receive()
            self.assertEqual(answer["data"]["status"], "cancelled")
            self.assertIn("cleaned up, True", process.log)


    def test_a_signal_at_the_end_cuts_nothing_short(self):
        with Session(plugin("ending")) as process:
            self.assertEqual(process.terminate(), 0)
            self.assertIn("at the end: Handlers.SIG_IGN\n", process.log)


class Signals(unittest.TestCase):
    """Signals at moments that a test from outside cannot hit."""

    def test_before_the_action_began(self):
        @stavily.action
        def act(ctx):
            return {"cancelled": ctx.cancelled}

        host = Host(_handler.of(act), None)
        host.answer(b'{"action": "initialize"}')
        host.on_signal(signal.SIGTERM, None)
        answer = json.loads(host.answer(b'{"action": "execute_action"}'))
        self.assertEqual(answer["data"]["data"], {"cancelled": True})

    def test_while_the_answer_is_written(self):
        @stavily.sensor(interval=1)
        def sense():
            pass

        host = Host(_handler.of(sense), None)
        written = []

        def write(line):  # a pipe that takes half of it, and then a signal comes
            half = line[: len(line) // 2 + 1]
            written.append(half)
            host.on_signal(signal.SIGTERM, None)
            return len(half)

        host.serve(io.BytesIO(b'{"action": "get_status"}\n' * 2), mock.Mock(write=write))
        self.assertEqual(json.loads(b"".join(written))["data"], "created")


class Output(unittest.TestCase):
    def test_message_is_delivered(self):
        with Session(plugin("output")) as process:
            record = process.deliver({"content": {"text": "hello"}, "format": "json"})
        self.assertEqual(record["status"], "completed")
        self.assertEqual(record["data"], {"id": "test-message", "content": {"text": "hello"}, "format": "json"})


if __name__ == "__main__":
    unittest.main()
