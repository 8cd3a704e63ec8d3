"""The cost of requests: rows 1 to 7, 12 to 14 and 21 to 23. Server CPU per gigabyte or request, throughput, and bytes
written, of Jackdaw, of Kafka, and of the null server (null/), which shows the least that a server needs."""

import json
import pathlib
import random
import subprocess
import tempfile
import time

import machine
import servers
from rows import ratio_line

GB = 1e9

# The generator's arguments, the number of messages, and the bytes of a message.
LOADS = {
    "1 MB batches": (["-s", 1000, "-a", 1, "-X", "linger.ms=5"], 2_000_000, 1000),
    "16 KB batches": (["-s", 1000, "-a", -1, "-X", "enable.idempotence=true", "-X", "batch.size=16384"], 1_000_000, 1000),
    "100 B records": (["-s", 100, "-a", 1, "-X", "linger.ms=5"], 10_000_000, 100),
}
WARM = 3_000_000  # records, so that a JVM has compiled the hot code; the same for all servers
BATCH = 16_384


def arms(bench, row, null=(), kafka=(), durability="os"):
    """The servers of a row by name; Kafka only if it is measured."""
    made = {"jackdaw": lambda: servers.jackdaw(durability), "null": lambda: servers.null(null)}
    if bench.kafka:
        made["kafka"] = lambda: servers.kafka(*kafka)
    return made


def in_pairs(bench, made, run):
    """Runs every arm in every pair, in reverse order in every second pair. Returns the results by arm."""
    results = {name: [] for name in made}
    for pair in range(bench.pairs):
        order = list(made) if pair % 2 == 0 else list(reversed(made))
        for name in order:
            results[name].append(run(pair, name, made[name]))
    return results


def against(bench, measure, results, unit, kafka, null, worst=max, wanted=None):
    """One line of the comparison with Kafka and one with the null server. `worst` is `min` if more is better."""
    noisy = bench.noisy
    for name, gate in (("kafka", kafka), ("null", null)):
        if gate is None or name not in results:
            continue
        bench.noisy = noisy
        beside = "" if name == "kafka" else ", beside the null server"
        yield ratio_line(bench, measure + beside, results["jackdaw"], results[name], gate, unit, wanted, more=worst is min)


class Run:
    """The CPU and time of a server while a load ran."""

    def __init__(self, server, load):
        usage, cpu, began = server.usage(), server.usage().cpu(), time.monotonic()
        self.rate = load()
        self.seconds = time.monotonic() - began
        self.cpu = usage.cpu() - cpu


# --- 1, 2, 3, 7: producing ------------------------------------------------------------------------


def saturated(bench, what):
    """Producing at full speed, measured once for all rows that show it."""
    if what not in bench.seen:
        arguments, count, size = LOADS[what]
        count //= 20 if bench.quick else 1

        def run(pair, name, make):
            bench.prepare()
            with make() as server:
                server.start()
                servers.load(server, "-P", "-p", 0, *arguments, "-c", WARM // (100 if bench.quick else 1), topic="warm")
                run = Run(server, lambda: servers.load(server, "-P", "-p", 0, *arguments, "-c", count))
            gigabytes = count * size / GB
            bench.keep(f"load-{what}", {"pair": pair, "arm": name, "cpu": run.cpu, "seconds": run.seconds, "msgs_per_s": run.rate})
            return {"cpu per GB": run.cpu / gigabytes, "MB/s": run.rate * size / 1e6,
                    "µs per request": 1e6 * run.cpu / (count * size / BATCH)}

        bench.seen[what] = in_pairs(bench, arms(bench, what), run)
    return bench.seen[what]


def figures(results, key):
    return {name: [run[key] for run in runs] for name, runs in results.items()}


def large(bench):
    results = figures(saturated(bench, "1 MB batches"), "cpu per GB")
    yield from against(bench, "produce, 1 MB batches, page cache: server CPU", results, "s/GB", 0.25, 1.3)


def small(bench):
    results = figures(saturated(bench, "16 KB batches"), "µs per request")
    yield from against(bench, "produce, 16 KB batches, idempotent, page cache: server CPU", results, "µs/request", 0.15, 1.3)
    count = 20_000 * (2 if bench.quick else 20)

    def run(pair, name, make):
        bench.prepare()
        with make() as server:
            server.start()
            arguments = LOADS["16 KB batches"][0]
            servers.load(server, "-P", "-p", 0, *arguments, "-c", WARM // (100 if bench.quick else 1), topic="warm")
            run = Run(server, lambda: servers.load(server, "-P", "-p", 0, *arguments, "-c", count, "-r", 20_000))
        bench.keep(2, {"pair": pair, "arm": name, "cpu": run.cpu, "seconds": run.seconds})
        return 1e6 * run.cpu / (count * 1000 / BATCH)

    results = in_pairs(bench, arms(bench, 2), run)
    yield from against(bench, "the same at 20,000 messages/s", results, "µs/16 KB", 0.45, 1.3)


def tiny(bench):
    results = figures(saturated(bench, "100 B records"), "cpu per GB")
    yield from against(bench, "produce, 100 B records, page cache: server CPU", results, "s/GB", 0.2, 1.2)


def throughput(bench):
    for what, kafka in (("1 MB batches", 1.5), ("16 KB batches", 1.5), ("100 B records", 1.0)):
        results = figures(saturated(bench, what), "MB/s")
        yield from against(bench, f"most that one producer gets through, {what}", results, "MB/s", kafka, 0.9, min)


# --- 4: compressed batches of Java's producer -------------------------------------------------------


def compressed(bench):
    payload = bench.folder("row-4") / "payload.jsonl"
    size = write_payload(payload)
    count = 25_000 * (2 if bench.quick else 30)
    for codec in ("zstd", "gzip"):
        def run(pair, name, make):
            bench.prepare()
            with make() as server:
                server.start()
                servers.create_topics(server, "t", 1, 1)
                produce = lambda: servers.java_produce(server, "t-0", count, 25_000, payload, f"compression.type={codec}")
                if not bench.quick:
                    produce()
                run = Run(server, produce)
            bench.keep(4, {"pair": pair, "arm": name, "codec": codec, "cpu": run.cpu, "seconds": run.seconds})
            return run.cpu / (count * size / GB)

        made = arms(bench, 4)
        del made["null"]  # works only with librdkafka
        results = in_pairs(bench, made, run)
        yield from against(bench, f"Java's producer, {codec}, 25,000 records/s of JSON: server CPU", results, "s/GB uncompressed", 0.35, None)


def write_payload(path):
    """Writes lines of JSON like the logs of services; returns their mean length."""
    chance = random.Random(4)
    words = ["order", "payment", "basket", "customer", "shipment", "invoice", "refund", "session", "voucher", "stock"]
    lines = []
    for number in range(20_000):
        events = [{"name": chance.choice(words), "at": 1_700_000_000_000 + chance.randrange(10**9),
                   "id": f"{chance.getrandbits(64):016x}", "amount": round(chance.random() * 500, 2)} for _ in range(9)]
        lines.append(json.dumps({"number": number, "user": f"user-{chance.randrange(5000)}", "region": "eu-central-1",
                                 "agent": "Mozilla/5.0 (X11; Linux x86_64)", "events": events}))
    path.write_text("\n".join(lines) + "\n")
    return sum(map(len, lines)) / len(lines)


# --- 5: reading records in memory -------------------------------------------------------------------


def catch_up(bench):
    for what in ("1 MB batches", "16 KB batches"):
        arguments, count, size = LOADS[what]
        count = count // 20 if bench.quick else 2_000_000

        def run(pair, name, make):
            bench.prepare()
            with make() as server:
                server.start()
                servers.load(server, "-P", "-p", 0, *arguments, "-c", count)
                read = lambda: servers.load(server, "-C", "-p", 0, "-o", "beginning", "-c", count)
                # The first pass warms the page cache and a JVM, and does the checks that are done only once.
                read()
                run = Run(server, read)
            bench.keep(5, {"pair": pair, "arm": name, "what": what, "cpu": run.cpu, "seconds": run.seconds})
            return {"cpu per GB": run.cpu / (count * size / GB), "MB/s": run.rate * size / 1e6}

        results = in_pairs(bench, arms(bench, 5), run)
        noisy = bench.noisy
        yield from against(bench, f"catch-up read, warm, log of {what}: server CPU", figures(results, "cpu per GB"), "s/GB", 0.3, 1.3)
        bench.noisy = noisy
        yield from against(bench, f"the same, throughput of one consumer", figures(results, "MB/s"), "MB/s", None, 0.7, min)


# --- 6: TLS -----------------------------------------------------------------------------------------


def encrypted(bench):
    """Producing and reading over TLS 1.3 with the certificate of a P-256 key, and handshakes."""
    arguments, count, size = LOADS["1 MB batches"]
    count = count // (20 if bench.quick else 2)
    connections = 100 if bench.quick else 3000

    def run(pair, name, make):
        bench.prepare()
        with make() as server:
            server.start()
            produce = lambda: servers.load(server, "-P", "-p", 0, *arguments, "-c", count)
            read = lambda: servers.load(server, "-C", "-p", 0, "-o", "beginning", "-c", count)
            connect = lambda: servers.handshakes(server, connections)
            # The first time warms the page cache and a JVM.
            costs = {}
            for what, load, amount in (("produce", produce, count * size / GB), ("read", read, count * size / GB),
                                       ("handshake", connect, connections / 1000)):
                load()
                costs[what] = Run(server, load).cpu / amount
        bench.keep(6, {"pair": pair, "arm": name, **costs})
        return costs

    made = {"jackdaw": servers.jackdaw_with_tls}
    if bench.kafka:
        made["kafka"] = servers.kafka_with_tls
    results = in_pairs(bench, made, run)
    noisy = bench.noisy
    for key, measure, unit in (("produce", "produce over TLS, 1 MB batches, page cache: server CPU", "s/GB"),
                               ("read", "read over TLS, warm, log of 1 MB batches: server CPU", "s/GB"),
                               ("handshake", "TLS handshakes: server CPU", "ms each")):
        bench.noisy = noisy
        yield from against(bench, measure, figures(results, key), unit, 0.5, None)


# --- 12, 13, 14: durable throughput -----------------------------------------------------------------


def durable_rate(bench):
    for what, gate, null in (("16 KB batches", 5, 0.9), ("1 MB batches", None, None)):
        arguments, count, size = LOADS[what]
        count = 20_000 if bench.quick else count // 2

        def run(pair, name, make):
            bench.prepare()
            # Kafka syncs each batch separately, so fewer batches show the same rate.
            messages = count // (10 if name == "kafka" else 1)
            with make() as server:
                server.start()
                servers.load(server, "-P", "-p", 0, *arguments, "-c", messages // 10, topic="warm")
                run = Run(server, lambda: servers.load(server, "-P", "-p", 0, *arguments, "-a", -1, "-X", "max.in.flight=5", "-c", messages))
            bench.keep(12, {"pair": pair, "arm": name, "what": what, "cpu": run.cpu, "msgs_per_s": run.rate})
            return {"MB/s": run.rate * size / 1e6, "µs per request": 1e6 * run.cpu / (messages * size / BATCH)}

        made = arms(bench, 12, null=["--sync"], kafka=["log.flush.interval.messages=1"], durability="fsync")
        made["page cache"] = lambda: servers.jackdaw("os")
        results = in_pairs(bench, made, run)
        noisy = bench.noisy
        if gate:
            yield from against(bench, f"durable, one producer, 5 in flight, {what}", figures(results, "MB/s"), "MB/s", gate, null, min)
            bench.noisy = noisy
            yield from against(bench, "the same: server CPU", figures(results, "µs per request"), "µs/request", 0.15, None)
        else:
            ours = figures(results, "MB/s")
            yield ratio_line(bench, f"durable, {what}, beside Jackdaw in the page-cache class", ours["jackdaw"], ours["page cache"], 0.8, "MB/s", more=True)


def many_durable(bench):
    """64 producers, as threads of a few generators, over 100 partitions."""
    producers, partitions = (8, 10) if bench.quick else (64, 100)
    count = 200 if bench.quick else 5_000

    def run(pair, name, make):
        bench.prepare()
        with make() as server:
            server.start()
            servers.create_topics(server, "t", 1, partitions)
            messages = count // (10 if name == "kafka" else 1)
            took = servers.at_once(server, producers, "-P", "-s", 1000, "-a", -1, "-X", "linger.ms=0", "-X",
                                   "sticky.partitioning.linger.ms=0", "-c", messages, topic="t-0")
        rate = producers * messages / took
        bench.keep(13, {"pair": pair, "arm": name, "msgs_per_s": rate})
        return rate

    made = arms(bench, 13, kafka=["log.flush.interval.messages=1"], durability="fsync")
    del made["null"]
    results = in_pairs(bench, made, run)
    yield from against(bench, f"durable, {producers} producers, {partitions} partitions", results, "messages/s", 10, None, min)


def durable_beside_page_cache(bench):
    for producers, gate in ((1, 0.6), (16, 0.7)):
        arguments, count, size = LOADS["16 KB batches"]
        count = (20_000 if bench.quick else count) // producers

        def run(pair, name, make):
            bench.prepare()
            with make() as server:
                server.start()
                servers.create_topics(server, "t", 1, producers)
                servers.load(server, "-P", *arguments, "-c", WARM // (100 if bench.quick else 1), topic="warm")
                took = servers.at_once(server, producers, "-P", *arguments, "-c", count, topic="t-0")
            rate = producers * count * size / took / 1e6
            bench.keep(14, {"pair": pair, "arm": name, "producers": producers, "MB/s": rate})
            return rate

        made = arms(bench, 14, durability="fsync")
        del made["null"]
        results = in_pairs(bench, made, run)
        yield from against(bench, f"Jackdaw with sync beside Kafka without, 16 KB, {producers} producers", results, "MB/s", gate, None, min)


# --- 21, 22: bytes ----------------------------------------------------------------------------------


def written(bench):
    for durability, what, limit in (("os", "1 MB batches", 1.05), ("fsync", "16 KB batches", 2.1)):
        arguments, count, size = LOADS[what]
        count //= 20 if bench.quick else 2
        bench.prepare()
        with servers.jackdaw(durability) as server:
            server.start()
            # Writes of the whole device: the kernel's figure for one process includes whole large pages of which only a part is written.
            before = machine.written(server.folder)
            servers.load(server, "-P", "-p", 0, *arguments, "-c", count)
            amount = machine.written(server.folder) - before
        ratio = amount / (count * size)
        bench.keep(21, {"durability": durability, "what": what, "written": amount, "produced": count * size})
        yield bench.line(f"bytes written per byte produced, {durability}, {what}", ratio, None, f"≤ {limit}", ratio <= limit, "×")


def binary(bench):
    with tempfile.TemporaryDirectory() as folder:
        stripped = pathlib.Path(folder) / "jackdaw"
        subprocess.run(["strip", "-o", stripped, servers.JACKDAW], check=True)
        size = stripped.stat().st_size / 1e6
    yield bench.line("the binary, with the client, without symbols", size, None, "≤ 20 MB", size <= 20, "MB")


# --- 23: transactions -------------------------------------------------------------------------------


def transactions(bench):
    """Transactions of 100 ms at 5,000 messages a second, read by a read_committed consumer."""
    seconds = 3 if bench.quick else 30
    for durability, kafka, gates in (("os", (), (0.35, 0.5)), ("fsync", ["log.flush.interval.messages=1"], (None, None))):
        def run(pair, name, make):
            bench.prepare()
            with make() as server:
                server.start()
                servers.create_topics(server, "t", 1, 1)
                servers.transactions(server, "t-0", 2 if bench.quick else 15)
                usage = server.usage()
                began = usage.cpu()
                commits, read = servers.transactions(server, "t-0", seconds)
                cpu = usage.cpu() - began
            bench.keep(23, {"pair": pair, "arm": name, "durability": durability, "cpu": cpu, "read": read, "commits_ms": commits})
            return {"cpu": cpu / (read * 1000 / GB), "commit": 1000 * machine.median(commits)}

        made = arms(bench, 23, kafka=kafka, durability=durability)
        del made["null"]
        results = in_pairs(bench, made, run)
        noisy, what = bench.noisy, "page cache" if durability == "os" else "durable"
        for key, measure, unit, gate in (("cpu", "server CPU", "s/GB", gates[0]), ("commit", "commit p50", "µs", gates[1])):
            bench.noisy = noisy
            arm = figures(results, key)
            wanted = None if gate else "–"
            yield ratio_line(bench, f"transactions of 100 ms, {what}: {measure}", arm["jackdaw"], arm.get("kafka", []), gate, unit, wanted)


ROWS = {1: large, 2: small, 3: tiny, 4: compressed, 5: catch_up, 6: encrypted, 7: throughput, 12: durable_rate, 13: many_durable,
        14: durable_beside_page_cache, 21: written, 22: binary, 23: transactions}
