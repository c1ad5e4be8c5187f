"""Docker and systemd themselves, for the tests of plugins that speak to them.

    python3 engine.py DIRECTORY

As a program it boots systemd as process 1 of a container, whose system bus is at
DIRECTORY/run/dbus/system_bus_socket, with units a.service, which sleeps, and broken.service,
which fails. It says "ready" and ends with its standard input; where what it needs is not here, it
says so and exits with 77. All of the engine is in one directory of its own, and no network is touched.
"""

import ctypes
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.parse

# Seconds that the engine, and systemd in it, have to answer: thirty times what they take.
LIMIT = 20

UNITS = {
    "test.target": "[Unit]\nDefaultDependencies=no\nWants=dbus.socket dbus.service a.service\n",
    "dbus.socket": "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=/run/dbus/system_bus_socket\n",
    "dbus.service": "[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\n[Service]\nType=notify\n"
    "ExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation\n",
    "a.service": "[Unit]\nDescription=The unit A\nDefaultDependencies=no\n[Service]\nExecStart=/usr/bin/sleep 10000\n",
    "broken.service": "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/usr/bin/false\n",
}
ETC = {
    "passwd": "root:x:0:0::/root:/bin/sh\nmessagebus:x:100:100::/nonexistent:/usr/sbin/nologin\n",
    "group": "root:x:0:\nmessagebus:x:100:\n",
    "machine-id": "0123456789abcdef0123456789abcdef\n",
    **{"systemd/system/" + name: text for name, text in UNITS.items()},
}


class NotHere(Exception):
    """What is needed cannot be had on this machine."""


class Engine:
    """A Docker of our own, with one image, `test`, whose programs are the host's. Used in a `with` block."""

    def __enter__(self):
        if os.geteuid() != 0 or not shutil.which("dockerd") or not shutil.which("docker"):
            raise NotHere("needs root, dockerd and docker")
        self.directory = tempfile.mkdtemp(prefix="engine-")
        self.socket = os.path.join(self.directory, "s")
        places = [flag for name in ("pidfile", "data-root", "exec-root") for flag in ("--" + name, os.path.join(self.directory, name))]
        quiet = "--storage-driver=vfs --iptables=false --ip6tables=false --bridge=none".split()
        with open(os.path.join(self.directory, "log"), "wb") as log:
            self.daemon = subprocess.Popen(["dockerd", "--host=unix://" + self.socket] + places + quiet, stdout=log, stderr=log)
        try:
            await_true(lambda: self.docker("version", check=False).returncode == 0, "no engine can be started here", self.daemon)
            self.docker("import", "-", "test", input=image())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        found = self.docker("ps", "--all", "--quiet", check=False).stdout.decode().split()
        if found:
            self.docker("rm", "--force", *found, check=False)
        self.daemon.terminate()
        self.daemon.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def docker(self, *arguments, check=True, **options):
        return subprocess.run(["docker", "--host=unix://" + self.socket, *arguments], check=check, capture_output=True, **options)

    def run(self, name, *arguments, options=()):
        mounts = ["--volume", "/usr:/usr:ro", *options]
        self.docker("run", "--detach", "--network", "none", "--name", name, *mounts, "test", *arguments)

    def boot(self, run):
        """Run systemd, with its /run in the directory `run`."""
        os.mkdir(run)
        self.run(
            *"systemd /usr/lib/systemd/systemd --system --unit=test.target".split(),
            options="--cap-add SYS_ADMIN --security-opt seccomp=unconfined --env container=docker".split()
            + ["--volume", run + ":/run", "--volume", "/sys/fs/cgroup/systemd:/sys/fs/cgroup/systemd:rw"],
        )
        bus = os.path.join(run, "dbus", "system_bus_socket")
        asked = ["busctl", "--address=unix:path=" + urllib.parse.quote(bus), "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1"]
        asked += ["org.freedesktop.systemd1.Manager", "GetUnit", "s", "a.service"]
        await_true(lambda: subprocess.run(asked, capture_output=True).returncode == 0, "systemd does not boot here")
        return bus


def image():
    """A root directory whose programs are the host's, mounted at /usr."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name in "usr proc sys dev run etc etc/systemd etc/systemd/system tmp root".split():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name in "lib lib64 bin sbin".split():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, "usr/" + name
            tar.addfile(entry)
        for name, text in ETC.items():
            entry = tarfile.TarInfo("etc/" + name)
            entry.size, entry.mode = len(text), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    return made.getvalue()


def await_true(condition, otherwise, process=None):
    end = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > end or process is not None and process.poll() is not None:
            raise NotHere(otherwise)
        time.sleep(0.1)


if __name__ == "__main__":
    # What the engine starts beside itself is ours, and not a program's that would take it for lost.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    try:
        with Engine() as engine:
            engine.boot(os.path.join(sys.argv[1], "run"))
            print("ready", flush=True)
            sys.stdin.read()
    except NotHere as reason:
        print(reason, file=sys.stderr)
        sys.exit(77)
