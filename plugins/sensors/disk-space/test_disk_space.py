import os
import tempfile
import unittest
from unittest import mock

import main
import stavily
from stavily.testing import Session, run_sensor


class DiskSpace(unittest.TestCase):
    """The mounts are listed in a file below HOST_PROC; how full they are is what this machine's disk says."""

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = directory.name
        self.proc = os.path.join(directory.name, "proc")
        os.makedirs(os.path.join(self.proc, "1"))
        self.state = {}
        patch = mock.patch.dict(os.environ, HOST_PROC=self.proc)
        patch.start()
        self.addCleanup(patch.stop)

    def list_mounts(self, *lines):
        with open(os.path.join(self.proc, "1", "mounts"), "w") as file:
            file.writelines(line + " rw 0 0\n" for line in lines)

    def check(self, **settings):
        config = {"threshold": 85, "recover_percent": 95, "mounts": [], "root": self.root, **settings}
        return run_sensor(main.disk_space, config, state=self.state)

    def check_at(self, percent, **settings):
        with mock.patch.object(main, "measure", return_value={"percent": percent}):
            return [(event["type"], event["key"]) for event in self.check(**settings)]

    def test_tells_once_when_it_crosses_and_once_when_it_recovers(self):
        self.list_mounts("/dev/sda1 / ext4")
        self.assertEqual(self.check_at(85), [])
        self.assertEqual(self.check_at(85.1), [("disk.space.high", "/")])
        self.assertEqual(self.check_at(99), [])
        self.assertEqual(self.check_at(80.8), [])
        self.assertEqual(self.check_at(80.7), [("disk.space.ok", "/")])
        self.assertEqual(self.check_at(80.7), [])

    def test_event_says_what_was_measured(self):
        self.list_mounts("/dev/sda1 / ext4")
        (event,) = self.check(threshold=-1)
        data, disk = event["data"], os.statvfs(self.root)
        self.assertEqual((event["severity"], event["key"]), ("high", "/"))
        self.assertEqual((data["mount"], data["device"], data["filesystem"]), ("/", "/dev/sda1", "ext4"))
        self.assertEqual(data["total_bytes"], disk.f_blocks * disk.f_frsize)
        self.assertLessEqual(data["used_bytes"] + data["free_bytes"], data["total_bytes"])
        self.assertAlmostEqual(
            data["percent"], 100 * data["used_bytes"] / (data["used_bytes"] + data["free_bytes"]), delta=0.1
        )

    def test_the_hosts_root_is_where_the_sandbox_shows_it(self):
        for root, found in (("/", "/dev/host/root/var"), ("/host", "/host/var")):
            with mock.patch.dict(os.environ, HOST_ROOT="/dev/host/root"):
                self.assertEqual(main.seen(root, "/var"), found)
        self.assertEqual(main.seen("/", "/"), "/")

    def test_virtual_and_remote_filesystems_are_left_out(self):
        self.list_mounts("server:/x /share nfs4", "tmpfs /run tmpfs", "me@server: /home/me/far fuse.sshfs", "/dev/sda1 / ext4")
        with mock.patch.object(main, "once_per_device", lambda mounts, root: mounts):
            self.assertEqual(self.check_at(99), [("disk.space.high", "/")])

    def test_each_filesystem_counts_once(self):
        os.mkdir(os.path.join(self.root, "data"))
        self.list_mounts("/dev/sda1 /data ext4", "/dev/sda1 / ext4", "/dev/sdb1 /absent xfs")
        self.assertEqual(self.check_at(99), [("disk.space.high", "/")])

    def test_named_mounts_are_watched_whatever_they_are(self):
        self.list_mounts("tmpfs /run tmpfs")
        self.assertEqual(
            self.check_at(99, mounts=["/run", "/srv"]), [("disk.space.high", "/run"), ("disk.space.high", "/srv")]
        )

    def test_mount_that_cannot_be_asked_spoils_no_other(self):
        self.list_mounts()
        with self.assertLogs("plugin", "WARNING") as logs:
            events = self.check(threshold=-1, mounts=["/absent", "/"])
        self.assertEqual([event["key"] for event in events], ["/"])
        self.assertIn("cannot ask how full /absent is", logs.output[0])

    def test_list_of_mounts_that_cannot_be_read(self):
        with self.assertRaisesRegex(stavily.Failed, "name them in `mounts`: .*No such file"):
            self.check()
        self.assertEqual(self.check_at(99, mounts=["/"]), [("disk.space.high", "/")])

    def test_escapes_of_mount_points(self):
        self.assertEqual(main.parse(r"/dev/sda1 /mnt/my\040disk\134 ext4 rw 0 0"), ("/mnt/my disk\\", "/dev/sda1", "ext4"))

    def test_percent_counts_as_df_does(self):
        disk = mock.Mock(f_blocks=100, f_bfree=20, f_bavail=10, f_frsize=1000)
        with mock.patch("os.statvfs", return_value=disk):
            usage = main.measure("/")
        self.assertEqual(usage, {"percent": 88.9, "used_bytes": 80000, "free_bytes": 10000, "total_bytes": 100000})

    def test_filesystem_without_size_has_no_usage(self):
        empty = mock.Mock(f_blocks=0, f_bfree=0, f_bavail=0, f_frsize=4096)
        with mock.patch("os.statvfs", return_value=empty):
            self.assertIsNone(main.measure("/proc"))

    @unittest.skipUnless(os.path.exists("/proc/mounts"), "needs /proc")
    def test_this_host(self):
        config = {"threshold": -1, "recover_percent": 95, "mounts": ["/"], "root": "/"}
        with Session(main.__file__, config=config) as plugin:
            (event,) = plugin.detect()
        self.assertEqual(event["payload"]["mount"], "/")


if __name__ == "__main__":
    unittest.main()
