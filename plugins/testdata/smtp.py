"""A small mail server (RFC 5321) for the tests of plugins that send mail: one connection after the other.

    python3 smtp.py [--certificate FILE] [--tls]

As a program it says its port, and then each message that it took as a line of JSON. With a
certificate it offers STARTTLS or, with --tls, speaks TLS from the first byte.
"""

import argparse
import base64
import json
import socket
import ssl
import threading


class Server:
    """`refusals` maps a command to answers that it gets before it is obeyed, such as {"MAIL": ["451 later"]}."""

    def __init__(self, certificate=None, tls=False, login=None, took=lambda message: None):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.tls, self.login, self.took, self.refusals, self.messages = tls, login, took, {}, []
        self.context = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate)
        self.ended = False
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def close(self):
        self.ended = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        self.thread.join()
        self.listener.close()

    def serve(self):
        while True:
            connection, _ = self.listener.accept()
            if self.ended:
                connection.close()
                return
            talk = None
            try:
                if self.tls:
                    connection = self.context.wrap_socket(connection, server_side=True)
                talk = Talk(self, connection)
                talk.run()
            except OSError:  # the other side did not like us
                pass
            finally:
                if talk:
                    talk.file.close()
                    talk.connection.close()
                connection.close()


class Talk:
    def __init__(self, server, connection):
        self.server, self.connection = server, connection
        self.file = connection.makefile("rb")
        self.message = {"encrypted": server.tls, "user": None}

    def say(self, line):
        self.connection.sendall(line.encode() + b"\r\n")

    def run(self):
        self.say("220 mail.test ready")
        while True:
            command, _, rest = self.file.readline().decode().strip().partition(" ")
            command = command.upper()
            if self.server.refusals.get(command):
                self.say(self.server.refusals[command].pop(0))
            elif command == "QUIT":
                return self.say("221 bye")
            elif not command:
                return None
            else:
                getattr(self, "do_" + command.lower(), lambda rest: self.say("502 what?"))(rest)

    def do_ehlo(self, rest):
        lines = ["mail.test", "SIZE 1000000"]
        if self.server.context and not self.message["encrypted"]:
            lines.append("STARTTLS")
        if self.server.login:
            lines.append("AUTH PLAIN")
        for at, line in enumerate(lines):
            self.say("250{}{}".format("-" if at + 1 < len(lines) else " ", line))

    def do_starttls(self, rest):
        self.say("220 go ahead")
        self.file.close()
        self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
        self.file = self.connection.makefile("rb")
        self.message["encrypted"] = True

    def do_auth(self, rest):
        user, password = base64.b64decode(rest.split()[1]).decode().split("\0")[1:]
        if (user, password) != self.server.login:
            return self.say("535 wrong password")
        self.message["user"] = user
        self.say("235 welcome")

    def do_mail(self, rest):
        self.message.update(sender=rest, recipients=[])
        self.say("250 ok")

    def do_rcpt(self, rest):
        if "nobody@" in rest:
            return self.say("550 no such user")
        self.message["recipients"].append(rest)
        self.say("250 ok")

    def do_rset(self, rest):
        self.say("250 ok")

    def do_data(self, rest):
        self.say("354 go ahead")
        lines = []
        for line in self.file:
            if line == b".\r\n":
                break
            lines.append(line[1:] if line.startswith(b".") else line)
        self.message["text"] = b"".join(lines).decode()
        self.server.messages.append(dict(self.message))
        self.server.took(dict(self.message))
        self.say("250 taken")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificate")
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    server = Server(options.certificate, options.tls, took=lambda message: print(json.dumps(message), flush=True))
    print(server.port, flush=True)
    server.thread.join()
