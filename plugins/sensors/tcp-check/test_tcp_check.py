import select
import socket
import threading
import time
import unittest

import main
import stavily
from stavily.testing import run_sensor


class TcpCheck(unittest.TestCase):
    def setUp(self):
        self.state = {}

    def serve(self, talk):
        """A server that talks to each connection; returns its address."""
        listener = socket.create_server(("127.0.0.1", 0))
        stop = threading.Event()

        def accept():
            while not stop.is_set():
                connection, _ = listener.accept()
                with connection:
                    if not stop.is_set():
                        talk(connection)

        thread = threading.Thread(target=accept)
        thread.start()

        def end():
            stop.set()
            socket.create_connection(listener.getsockname()).close()
            thread.join()
            listener.close()

        self.addCleanup(end)
        return "127.0.0.1:{}".format(listener.getsockname()[1])

    def nobody(self):
        unused = socket.socket()
        self.addCleanup(unused.close)
        unused.bind(("127.0.0.1", 0))
        return "127.0.0.1:{}".format(unused.getsockname()[1])

    def check(self, address, **settings):
        return run_sensor(main.tcp_check, {"address": address, "send": "", "timeout": 5, "checks": 1, **settings}, state=self.state)

    def problem(self, address, **settings):
        self.state.clear()
        (event,) = self.check(address, **settings)
        self.assertEqual((event["type"], event["severity"], event["key"]), ("tcp.down", "high", address))
        return event["data"]["problem"]

    def test_somebody_who_hangs_up_or_speaks_is_there(self):
        self.assertEqual(self.check(self.serve(lambda connection: connection.recv(1))), [])
        self.assertEqual(self.check(self.serve(lambda connection: connection.sendall(b"hello"))), [])

    def test_nobody_is_told_and_so_is_the_return(self):
        address = self.nobody()
        self.assertRegex(self.problem(address), "^no connection to 127.0.0.1 port [0-9]+: Connection refused$")
        self.assertEqual(self.check(address), [])
        there = self.serve(lambda connection: connection.recv(1))
        (event,) = self.check(there)
        self.assertEqual((event["type"], event["data"]["problem"]), ("tcp.up", ""))

    @staticmethod
    def reset(connection):
        """Have the closing of the connection reset it, as the agent does when it cannot connect."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def test_reset_after_the_connection_is_nobody(self):
        self.assertRegex(self.problem(self.serve(self.reset)), "Connection reset by peer")

    def test_reset_before_we_have_ended_our_side_is_nobody(self):
        host, port = main.parse(self.serve(self.reset))
        with socket.create_connection((host, port)) as connection:
            arrival = select.poll()
            arrival.register(connection, select.POLLERR)
            self.assertTrue(arrival.poll(10000))
            with self.assertRaises(ConnectionResetError):
                main.settle(connection, time.monotonic() + 5)

    def test_silence_cannot_be_told_apart(self):
        self.assertRegex(self.problem(self.serve(lambda _: time.sleep(0.3)), timeout=0.1), "^silence: .* set send and expect")

    def test_expected_answer(self):
        address = self.serve(lambda connection: connection.sendall(b"+PONG\r\n" if connection.recv(9) == b"PING\r\n" else b"-ERR\r\n"))
        self.assertEqual(self.check(address, send="PING\r\n", expect=r"^\+PONG"), [])
        self.assertEqual(self.problem(address, send="PONG\r\n", expect=r"^\+PONG"), r"the answer does not have '^\\+PONG', is '-ERR\r\n'")
        silent = self.serve(lambda _: time.sleep(0.3))
        self.assertEqual(self.problem(silent, expect="x", timeout=0.1), "the answer does not have 'x', is ''")

    def test_catastrophic_expression_is_given_up(self):
        address = self.serve(lambda connection: connection.sendall(b"a" * 40 + b"!"))
        self.assertRegex(self.problem(address, expect="^(a+)+$"), "took more than 1.0 seconds: make the expression simpler")

    def test_several_checks_in_a_row(self):
        for expected in 0, 0, 1, 0:
            self.assertEqual(len(self.check(self.nobody(), checks=3)), expected)

    def test_bad_configuration_is_told(self):
        for address in "host", "host:0", "host:99999", "a:b:1", ":1":
            with self.subTest(address), self.assertRaisesRegex(stavily.Failed, "^address must be host:port"):
                self.check(address)
        with self.assertRaisesRegex(stavily.Failed, "^expect is not a regular expression"):
            self.check("127.0.0.1:1", expect="(")
        self.assertEqual(main.parse("[::1]:80"), ("::1", 80))


if __name__ == "__main__":
    unittest.main()
