"""Tail latencies: rows 9 and 10, at 1,000 messages a second, at half of Kafka's highest load, and beside a consumer that
reads gigabytes from a cold disk."""

import os
import signal
import subprocess

import servers
from machine import percentile
from rows import fixed_rate_run, latency_runs, ratio_line

OLD = 4_000_000  # messages of 1 KB that the backfill reads


def far(bench):
    yield from at(bench, 99)
    yield from beside_a_backfill(bench)


def farther(bench):
    yield from at(bench, 99.9)


def at(bench, percent):
    """End to end, at 1,000 messages a second and at half of Kafka's highest load."""
    for what, runs in (("1,000/s", latency_runs(bench)), ("10,000/s", half_load_runs(bench))):
        arms = {name: [percentile(ends, percent) for _, ends in found] for name, found in runs.items()}
        yield ratio_line(bench, f"end to end p{percent}, os mode, {what} × 1 KB", arms["jackdaw"], arms["kafka"], 0.5, "µs")


def half_load_runs(bench):
    """With linger 0 every message is a request; Kafka answers about 20,000 of them a second here."""
    if "half load" not in bench.seen:
        found = bench.seen["half load"] = {"jackdaw": [], "kafka": []}
        for pair, order in bench.orders():
            for name in order:
                if name == "jackdaw" or bench.kafka:
                    make = (lambda: servers.jackdaw("os")) if name == "jackdaw" else servers.kafka
                    found[name].append(fixed_rate_run(bench, 9, pair, name, make, rate=10_000))
    return bench.seen["half load"]


def beside_a_backfill(bench):
    """The 99th percentile at 1,000 messages a second, with and without a repeated cold read of 4 GB."""
    count = OLD // (40 if bench.quick else 1)
    seconds = 3 if bench.quick else 20
    arms = {"jackdaw": lambda: servers.jackdaw("os"), "null": servers.null}
    if bench.kafka:
        arms["kafka"] = servers.kafka
    found = {name: ([], []) for name in arms}
    for pair in range(bench.pairs):
        for name in list(arms)[::-1 if pair % 2 else 1]:
            alone, beside = found[name]
            bench.prepare()
            folder = bench.folder("row-9", f"backfill-{pair}-{name}")
            with arms[name]() as server:
                server.start()
                servers.load(server, "-P", "-p", 0, "-s", 1000, "-c", count, "-a", 1, "-X", "linger.ms=5", topic="old")
                # A consumer does not create the topic of the measured messages.
                servers.load(server, "-P", "-p", 0, "-s", 1000, "-c", 1000)
                servers.fixed_rate(server, folder, seconds)
                alone.append(percentile(servers.fixed_rate(server, folder, seconds)[1], 99))
                with backfill(server, count):
                    beside.append(percentile(servers.fixed_rate(server, folder, seconds)[1], 99))
            bench.keep(9, {"pair": pair, "arm": name, "alone": alone[-1], "beside": beside[-1]})
    noisy = bench.noisy
    for name, (alone, beside) in found.items():
        bench.noisy = noisy
        gate, wanted = (2, None) if name == "jackdaw" else (None, "–")
        yield ratio_line(bench, f"{name}: end to end p99 beside a cold read of 4 GB, and without it", beside, alone, gate, "µs", wanted)
    bench.noisy = noisy
    yield ratio_line(bench, "end to end p99 beside a cold read of 4 GB, beside the null server's", found["jackdaw"][1],
                     found["null"][1], 1.3, "µs")


class backfill:
    """A consumer that reads `old` again and again, each time from a cold disk. It has the lowest priority on the client
    core, so that the measured clients do not wait for it. Only the files of `old` are dropped from the page cache: to
    drop all of it keeps the kernel, and so the server's core, busy for a second."""

    def __init__(self, server, count):
        read = " ".join(map(str, servers.generator(server, "-C", "-p", 0, "-o", "beginning", "-c", count, "-q", topic="old")))
        files = f"$(find {server.folder} -path '*/old-0*' -type f -size +1M)"
        drop = f"for file in {files}; do sync -d $file; dd if=$file iflag=nocache count=0 status=none; done"
        self.script = f"while {drop}; do {read} > /dev/null 2>&1; done"

    def __enter__(self):
        command = ["taskset", "-c", servers.CLIENT_CORE, "nice", "-n", "19", "bash", "-c", self.script]
        self.process = subprocess.Popen(command, start_new_session=True)

    def __exit__(self, *_):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()


ROWS = {9: far, 10: farther}
