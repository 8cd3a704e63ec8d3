"""Large numbers: rows 16 and 18. The memory of an idle connection, partition and group, and the CPU of a thousand
active ones."""

import subprocess
import sys
import time

import servers
from rows import ratio_line

KIB = 1024

# Holds `count` connections until its input ends. All have sent ApiVersions. Then they send, in turn and `rate` times a
# second in all, a Heartbeat of a member that the group does not have.
CONNECTIONS = """
import select, socket, struct, sys, time
port, count, rate = map(int, sys.argv[1:])
versions = struct.pack(">ihhih", 10, 18, 0, 1, -1)
body = struct.pack(">hhih", 12, 0, 1, -1) + b"\\0\\1g" + struct.pack(">i", 1) + b"\\0\\1m"
heartbeat = struct.pack(">i", len(body)) + body
connections = []
for number in range(count):
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(versions)
    connection.recv(1 << 16)
    connections.append(connection)
print("ready", flush=True)
began, sent = time.monotonic(), 0
while not select.select([sys.stdin], [], [], 0 if rate else None)[0]:
    connection = connections[sent % count]
    connection.sendall(heartbeat)
    connection.recv(64)
    sent += 1
    time.sleep(max(0, began + sent / rate - time.monotonic()))
"""

# `count` consumers, each the only member of its group. Prints a line when all have their partition, and runs until its
# input ends.
MEMBERS = """
import sys, threading
from confluent_kafka import Consumer
bootstrap, prefix, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
left = count
def assigned(consumer, partitions):
    global left
    left -= 1
consumers = []
for number in range(count):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"{prefix}-{number}", "fetch.wait.max.ms": 30000,
                         "topic.metadata.refresh.interval.ms": -1})
    consumer.subscribe(["idle-0"], on_assign=assigned)
    consumers.append(consumer)
while left > 0:
    for consumer in consumers:
        consumer.poll(0)
print("ready", flush=True)
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
while not done.is_set():
    for consumer in consumers:
        consumer.poll(0)
    done.wait(1)
import os
os._exit(0)
"""


class Crowd:
    """Processes of one of the scripts above, which run until the block ends."""

    def __init__(self, script, *arguments):
        self.processes = [
            subprocess.Popen(["taskset", "-c", servers.CLIENT_CORE, servers.TOOLS, "-c", script, *map(str, each)],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for each in arguments
        ]

    def __enter__(self):
        for process in self.processes:
            if process.stdout.readline() != "ready\n":
                sys.exit("a crowd did not come up")
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.stdin.close()
        for process in self.processes:
            process.wait()


def each_arm(bench):
    yield "jackdaw", lambda more=(): servers.jackdaw(more=more)
    if bench.kafka:
        yield "kafka", lambda more=(): servers.kafka()


def resting(bench):
    counts = {"connection": 1_000, "partition": 10_000, "group": 1_000}
    if bench.quick:
        counts = {what: count // 10 for what, count in counts.items()}
    found = {}
    for name, make in each_arm(bench):
        bench.prepare()
        with make() as server:
            server.start()
            servers.create_topics(server, "first", 1, 1)
            memory = lambda: server.usage().memory() * KIB
            before = memory()
            with Crowd(CONNECTIONS, (server.port, counts["connection"], 0)):
                took = {"connection": memory() - before}
            before = memory()
            servers.create_topics(server, "part", 10, counts["partition"] // 10)
            took["partition"] = memory() - before
            before = memory()
            servers.commit_for_groups(server, counts["group"], "first-0")
            took["group"] = memory() - before
        found[name] = {what: kib / counts[what] for what, kib in took.items()}
        bench.keep(16, {"arm": name, **found[name]})
    noisy = bench.noisy
    for what, limit in (("connection", 8), ("partition", 4), ("group", 2)):
        bench.noisy = noisy
        theirs = [found["kafka"][what]] if "kafka" in found and found["kafka"][what] > 0 else []
        ours = found["jackdaw"][what]
        yield ratio_line(bench, f"memory of a {what} that rests", [ours], theirs, 0.25, "KiB", f"≤ 1/4, ≤ {limit} KiB", ours <= limit)


def working(bench):
    yield from connections(bench)
    yield from members(bench)


def connections(bench):
    """The CPU of 1,000 requests a second over 10 and over 1,000 connections."""
    seconds = 3 if bench.quick else 20
    found = {}
    for name, make in each_arm(bench):
        found[name] = []
        for count in (10, 100 if bench.quick else 1_000):
            bench.prepare()
            with make() as server:
                server.start()
                with Crowd(CONNECTIONS, (server.port, count, 1_000)):
                    time.sleep(1 if bench.quick or name == "jackdaw" else 30)
                    cpu = server.usage().cpu()
                    time.sleep(seconds)
                    found[name].append(server.usage().cpu() - cpu)
        bench.keep(18, {"arm": name, "seconds": seconds, "cpu": found[name]})
    for name, (few, many) in found.items():
        gate = 1.1 if name == "jackdaw" else None
        whose = "" if name == "jackdaw" else "Kafka's "
        yield ratio_line(bench, f"{whose}CPU of 1,000 requests/s over 1,000 connections, and over 10", [many], [few], gate, "s",
                         None if gate else "–")


def members(bench):
    """1,000 consumers, each the only member of its group: the CPU until all have joined, and of their heartbeats."""
    count, processes = (20, 2) if bench.quick else (1_000, 10)
    seconds = 5 if bench.quick else 60
    found = {}
    for name, make in each_arm(bench):
        bench.prepare()
        with make() as server:
            server.start()
            servers.create_topics(server, "idle", 1, 1)
            usage, began = server.usage().cpu(), time.monotonic()
            with Crowd(MEMBERS, *((server.bootstrap, f"g{number}", count // processes) for number in range(processes))):
                joined, took = server.usage().cpu() - usage, time.monotonic() - began
                time.sleep(5)
                usage = server.usage().cpu()
                time.sleep(seconds)
                idle = 100 * (server.usage().cpu() - usage) / seconds
        found[name] = joined, idle
        bench.keep(18, {"arm": name, "joined_cpu": joined, "joined_seconds": took, "idle_percent": idle})
    theirs = found.get("kafka")
    noisy = bench.noisy
    yield ratio_line(bench, f"{count:,} groups of one member join: server CPU", [found["jackdaw"][0]], [theirs[0]] if theirs else [], 0.5, "s")
    bench.noisy = noisy
    idle = found["jackdaw"][1]
    yield ratio_line(bench, "their heartbeats and fetches, of a core", [idle], [theirs[1]] if theirs else [], None, "%", "≤ 2 %", idle <= 2)


ROWS = {16: resting, 18: working}
