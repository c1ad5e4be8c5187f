"""What a library costs at a plugin's start: the sensor memory as it ships, and with psutil instead of /proc.

    PYTHONPATH=sdk/python/src python3 plugins/testdata/start.py [RUNS]

For each it starts the plugin as an agent does, and takes the time until the first check is answered, the
memory of its process then, and the processor's time of its life. They take turns, so that
what else the machine does hits both.
"""

import os
import resource
import statistics
import sys
import tempfile
import time

from stavily.testing import Session

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIG = {"threshold": 0, "recover_percent": 95}
WITH_PSUTIL = '''
import psutil
import stavily


@stavily.sensor(interval=30)
def memory(config, emit, state):
    usage = psutil.virtual_memory()
    if usage.percent > config.threshold:
        data = {"percent": usage.percent, "used_bytes": usage.used, "available_bytes": usage.available, "total_bytes": usage.total}
        emit("memory.high", data=data, severity="high", key="memory")


if __name__ == "__main__":
    stavily.run()
'''


def start(main):
    """Seconds until the first check is answered, seconds of a processor, and resident bytes."""
    begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with Session(main, config=CONFIG) as plugin:
        assert plugin.detect()[0]["trigger_name"] == "memory.high"
        seconds = time.monotonic() - begin
        with open("/proc/{}/statm".format(plugin.process.pid)) as file:
            size = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, size


def main(runs):
    with tempfile.TemporaryDirectory() as directory:
        other = os.path.join(directory, "main.py")
        with open(other, "w") as file:
            file.write(WITH_PSUTIL)
        plugins = {"/proc": os.path.join(HERE, "..", "sensors", "memory", "main.py"), "psutil": other}
        taken = {name: [] for name in plugins}
        for _ in range(runs):
            for name, path in plugins.items():
                taken[name].append(start(path))
    for name, found in taken.items():
        seconds, processor, size = (statistics.median(column) for column in zip(*found))
        told = "{:8} first answer after {:6.1f} ms, processor {:6.1f} ms, memory {:5.1f} MiB (medians of {})"
        print(told.format(name, 1000 * seconds, 1000 * processor, size / (1 << 20), runs))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
