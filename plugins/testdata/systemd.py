"""A stand-in for systemd's manager on a bus of its own, for the tests of plugins that ask it.

    python3 systemd.py DIRECTORY

It starts a real dbus-daemon at DIRECTORY/bus and answers as org.freedesktop.systemd1,
by libdbus, which is not what the plugins speak with. Its units are in DIRECTORY/units.json:
name → {"active": …, "sub": …, "result": …}. What it is told to do is in DIRECTORY/calls, a
line each. A unit called broken.service fails when it is started, forbidden.service may
not be touched. It says "ready" and ends with its standard input; where what it needs is
not here, it says so and exits with 77.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.parse

try:
    import dbus
    import dbus.mainloop.glib
    import dbus.service
    from gi.repository import GLib
except ImportError as missing:
    print("needs python3-dbus and python3-gi: {}".format(missing), file=sys.stderr)
    sys.exit(77)
if not shutil.which("dbus-daemon"):
    print("needs dbus-daemon", file=sys.stderr)
    sys.exit(77)

MANAGER = "org.freedesktop.systemd1.Manager"
CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>{}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>
"""


class Error(dbus.DBusException):
    def __init__(self, name, message):
        super().__init__(message, name=name)


class Unit(dbus.service.Object):
    def __init__(self, manager, connection, name):
        super().__init__(connection, "/org/freedesktop/systemd1/unit/" + name.replace(".", "_2e").replace("-", "_2d"))
        self.manager, self.name = manager, name

    @dbus.service.method("org.freedesktop.DBus.Properties", "ss", "v")
    def Get(self, interface, name):
        return dbus.String(self.manager.units()[self.name].get("result", "success"))


class Manager(dbus.service.Object):
    def __init__(self, connection, directory):
        super().__init__(connection, "/org/freedesktop/systemd1")
        self.directory, self.jobs = directory, {}
        self.objects = {name: Unit(self, connection, name) for name in self.units()}

    def units(self):
        with open(os.path.join(self.directory, "units.json")) as file:
            return json.load(file)

    def write(self, name, **state):
        path = os.path.join(self.directory, "units.json")
        units = self.units()
        units[name] = state
        with open(path + ".new", "w") as file:
            json.dump(units, file)
        os.replace(path + ".new", path)

    @dbus.service.method(MANAGER, "as", "a(ssssssouso)")
    def ListUnitsByNames(self, names):
        units = self.units()
        listed = []
        for name in names:
            unit = units.get(name, {"load": "not-found", "active": "inactive", "sub": "dead"})
            path = self.objects[name].__dbus_object_path__ if name in self.objects else "/org/freedesktop/systemd1/unit/x"
            job = self.jobs.get(name, 0)
            state = unit.get("load", "loaded"), unit["active"], unit["sub"]
            listed.append((name, "The unit " + name) + state + ("", path, dbus.UInt32(job), "restart" if job else "", "/" if not job else "/job"))
        return dbus.Array(listed, signature="(ssssssouso)")

    def operate(self, operation, name, mode, active, sub):
        with open(os.path.join(self.directory, "calls"), "a") as file:
            print(operation, name, mode, file=file)
        if name not in self.units():
            raise Error("org.freedesktop.systemd1.NoSuchUnit", "Unit {} not found.".format(name))
        if name == "forbidden.service":
            raise Error("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", "Interactive authentication required.")
        self.jobs[name] = 7
        self.write(name, active="activating", sub="start")
        if name == "broken.service":
            active, sub = "failed", "failed"
        GLib.timeout_add(150, self.finish, name, active, sub)
        return dbus.ObjectPath("/org/freedesktop/systemd1/job/7")

    def finish(self, name, active, sub):
        self.jobs.pop(name)
        self.write(name, active=active, sub=sub, result="exit-code" if active == "failed" else "success")
        return False

    @dbus.service.method(MANAGER, "ss", "o")
    def RestartUnit(self, name, mode):
        return self.operate("restart", name, mode, "active", "running")

    @dbus.service.method(MANAGER, "ss", "o")
    def ReloadUnit(self, name, mode):
        return self.operate("reload", name, mode, "active", "running")

    @dbus.service.method(MANAGER, "ss", "o")
    def StartUnit(self, name, mode):
        return self.operate("start", name, mode, "active", "running")

    @dbus.service.method(MANAGER, "ss", "o")
    def StopUnit(self, name, mode):
        return self.operate("stop", name, mode, "inactive", "dead")


def main(directory):
    config = os.path.join(directory, "bus.conf")
    address = "unix:path={}/bus".format(urllib.parse.quote(directory))
    with open(config, "w") as file:
        file.write(CONFIG.format(address))
    daemon = subprocess.Popen(
        ["dbus-daemon", "--nofork", "--nopidfile", "--print-address=1", "--config-file", config],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # it would like more descriptors than it may have
    )
    try:
        daemon.stdout.readline()
        dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
        connection = dbus.bus.BusConnection(address)
        name = dbus.service.BusName("org.freedesktop.systemd1", connection)
        manager = Manager(connection, directory)
        loop = GLib.MainLoop()
        threading.Thread(target=lambda: (sys.stdin.read(), GLib.idle_add(loop.quit)), daemon=True).start()
        print("ready", flush=True)
        loop.run()
        del name, manager
    finally:
        daemon.terminate()
        daemon.wait()


if __name__ == "__main__":
    main(sys.argv[1])
