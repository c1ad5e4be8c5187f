"""What plugins keep over restarts."""

import unittest

import stavily
from stavily import AgentError, testing
from stavily._fakes import DirectAgent
from stavily._state import State
from stavily.testing import FakeAgent, Session

from . import plugin


class CountingAgent(FakeAgent):
    def __init__(self, state=None):
        super().__init__(state)
        self.calls = []

    def answer(self, method, params):
        self.calls.append((method, params.get("key")))
        return super().answer(method, params)


class Values(unittest.TestCase):
    def setUp(self):
        self.agent = CountingAgent({"seen": 1, "list": [1]})
        self.state = State(DirectAgent(self.agent))

    def test_only_what_changed_is_kept(self):
        self.state["seen"] = 2
        self.state["list"].append(2)  # inside a value
        self.state["same"] = 1
        del self.state["same"]
        self.state.save()
        self.assertEqual(self.agent.calls, [("get_state", None), ("set_state", "seen"), ("set_state", "list")])
        self.assertEqual(self.agent.state, {"seen": 2, "list": [1, 2]})
        self.state.save()
        self.assertEqual(len(self.agent.calls), 3)
        del self.state["list"]
        self.state.save()
        self.assertEqual(self.agent.calls[3:], [("delete_state", "list")])
        self.assertEqual(dict(self.state), {"seen": 2})

    def test_one_that_is_not_looked_at_costs_no_call(self):
        self.state.save()
        self.assertEqual(self.agent.calls, [])

    def test_what_was_refused_is_tried_again(self):
        self.state["seen"] = 2
        self.agent.refuse = "the disk is full"
        with self.assertRaisesRegex(AgentError, "the disk is full"):
            self.state.save()
        self.agent.refuse = None
        self.state.save()
        self.assertEqual(self.agent.state["seen"], 2)

    def test_what_is_not_json_is_told_with_its_key(self):
        self.state["a set"] = {1}
        with self.assertRaisesRegex(TypeError, r"^state\['a set'\] is not JSON: "):
            self.state.save()
        for key in 5, "":
            with self.assertRaisesRegex(TypeError, "a key of the state is text"):
                self.state[key] = 1

    def test_bounds_are_the_agents(self):
        self.state["large"] = "x" * (64 << 10)
        with self.assertRaisesRegex(AgentError, "more than 65536 bytes"):
            self.state.save()

    def test_values_are_not_shown(self):
        self.state["token"] = "hunter2"
        self.assertEqual(repr(self.state), "<state: list, seen, token>")


class Plugins(unittest.TestCase):
    def test_a_sensor_goes_on_where_it_was(self):
        with Session(plugin("sensor"), state={"calls": 7}) as process:
            (event,) = process.detect()
            self.assertEqual(event["payload"], {"calls": 8})
            self.assertEqual(process.agent.state, {"calls": 8})

    def test_state_is_kept_although_the_check_failed(self):
        with Session(plugin("sensor"), config={"fails": True}) as process:
            process.request("detect_triggers")
            self.assertEqual(process.agent.state, {"calls": 1})

    def test_actions_have_it_too(self):
        @stavily.action
        def count(state):
            state["runs"] = state.get("runs", 0) + 1
            return state["runs"]

        counter = testing.Plugin(count, state={"runs": 4})
        self.assertEqual([counter.execute(), counter.execute()], [5, 6])
        self.assertEqual(counter.state, {"runs": 6})

    def test_a_check_whose_state_is_not_kept_fails(self):
        @stavily.sensor(interval=1)
        def sense(state):
            state["a"] = {1}

        with self.assertRaisesRegex(TypeError, "is not JSON"):
            testing.run_sensor(sense)


if __name__ == "__main__":
    unittest.main()
