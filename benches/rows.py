"""One function for each row of the goals. It yields the row's lines of the table."""

import json
import os
import signal
import time

import machine
import servers
from machine import median, percentile


class Bench:
    def __init__(self, results, quick, kafka, pairs=None):
        self.results, self.quick, self.kafka = results, quick, kafka
        self.pairs = pairs or (1 if quick else 5)
        self.noisy = False
        # The pages that keep free memory warm.
        self.warmth = None
        # Results that several rows use, by name.
        self.seen = {}

    def prepare(self):
        """Called before every run: warms memory and waits for a quiet machine."""
        if not self.quick:
            self.warmth = self.warmth or machine.keep_warm()
            # A row that was not quiet once is noisy anyway.
            self.noisy |= not machine.wait_until_quiet(at_most=20 if self.noisy else 300)

    def folder(self, *names):
        folder = self.results.joinpath(*map(str, names))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def keep(self, row, what):
        """Writes the figures of a row, with the machine's state, beside the raw files."""
        what = {"load": os.getloadavg(), "pressure": machine.pressure(), "noisy": self.noisy, **what}
        with open(self.results / f"row-{row}.json", "a") as file:
            file.write(json.dumps(what) + "\n")

    def orders(self):
        """A B, B A, A B …: the arms of each pair in the order of their runs."""
        for pair in range(self.pairs):
            yield pair, ("jackdaw", "kafka") if pair % 2 == 0 else ("kafka", "jackdaw")

    def line(self, measure, ours, theirs, gate, held, unit, ratios=None):
        """A line of the table; `held` says whether the gate holds, or is None if that is unknown."""
        ratio = "–"
        if ratios:
            ratio = f"{median(ratios):.3f} ({min(ratios):.3f}–{max(ratios):.3f})"
        verdict = {True: "holds", False: "**fails**", None: "not told"}[held] if gate != "–" else "–"
        noisy = ", noisy" if self.noisy else ""
        shown = [f"{figure:.{0 if figure >= 1000 else 3}{'f' if figure >= 1000 else 'g'}} {unit}".strip() if figure is not None else "–" for figure in (ours, theirs)]
        self.noisy = False
        return f"{measure} | {shown[0]} | {shown[1]} | {ratio} | {gate} | {verdict}{noisy}"


def ratio_line(bench, measure, ours, theirs, gate, unit, wanted=None, also=True, more=False):
    """Medians of both arms, the pairwise ratios, and the gate: their median is at most `gate`, or with `more` at least
    `gate`, and `also` is true."""
    ratios = [a / b for a, b in zip(ours, theirs)] if theirs else None
    held = None
    if ratios or gate is None:
        held = also and (gate is None or (median(ratios) >= gate if more else median(ratios) <= gate))
    text = wanted or f"{'≥' if more else '≤'} {gate} ×"
    return bench.line(measure, median(ours), median(theirs) if theirs else None, text, held, unit, ratios)


# --- 8: latency in the page-cache class ----------------------------------------------------------


def latency_runs(bench):
    """Latencies at 1,000 messages a second, measured once for all rows that show them."""
    if "latency" not in bench.seen:
        made = {"jackdaw": lambda: servers.jackdaw("os"), "null": servers.null, "kafka": servers.kafka}
        found = bench.seen["latency"] = {name: [] for name in made}
        for pair, order in bench.orders():
            for name in (*order, "null"):
                if name != "kafka" or bench.kafka:
                    found[name].append(fixed_rate_run(bench, 8, pair, name, made[name]))
    return bench.seen["latency"]


def latency(bench):
    runs, noisy = latency_runs(bench), bench.noisy
    for at, what, limit in ((0, "ack", None), (1, "end to end", 250)):
        arms = {name: [percentile(run[at], 50) for run in found] for name, found in runs.items()}
        fast_enough = limit is None or median(arms["jackdaw"]) <= limit
        wanted = "≤ 0.7 ×" + (f", ≤ {limit} µs" if limit else "")
        bench.noisy = noisy
        yield ratio_line(bench, f"{what} p50, os mode, 1,000/s × 1 KB", arms["jackdaw"], arms["kafka"], 0.7, "µs",
                         wanted, fast_enough)
        bench.noisy = noisy
        yield ratio_line(bench, f"{what} p50, beside the null server (shown only)", arms["jackdaw"], arms["null"], None, "µs", "–")
    for percent in (99, 99.9):
        arms = {name: [percentile(run[0], percent) for run in found] for name, found in runs.items()}
        bench.noisy = noisy
        yield ratio_line(bench, f"ack p{percent}, same (shown only)", arms["jackdaw"], arms["kafka"], None, "µs", "–")


def fixed_rate_run(bench, row, pair, name, make, rate=1000):
    """One arm: a fresh server, warmed up, then the fixed rate."""
    bench.prepare()
    folder = bench.folder(f"row-{row}", f"pair-{pair}-{name}")
    with make() as server:
        server.start()
        # As many messages as a JVM needs to compile the hot code; the same for both servers.
        warm = 20_000 if bench.quick else 2_000_000
        servers.load(server, "-P", "-p", 0, "-s", 1000, "-c", warm, "-a", 1, "-X", "linger.ms=5")
        servers.fixed_rate(server, bench.folder(f"row-{row}", f"pair-{pair}-{name}-warm"), 2 if bench.quick else 10, rate)
        acks, ends = servers.fixed_rate(server, folder, 3 if bench.quick else 20, rate)
    bench.keep(row, {"pair": pair, "arm": name, **{
        f"{what}_p{percent}": percentile(values, percent)
        for what, values in (("ack", acks), ("end", ends)) for percent in (50, 99, 99.9, 100)}})
    return acks, ends


# --- 11: durable acks ---------------------------------------------------------------------------


def durable(bench):
    arms = {
        "jackdaw": lambda: servers.jackdaw("fsync"),
        "without": lambda: servers.jackdaw("os"),
        "kafka": lambda: servers.kafka("log.flush.interval.messages=1"),
    }
    acks, ends, syncs, paced = {name: [] for name in arms}, {name: [] for name in arms}, [], []
    for pair, order in bench.orders():
        for name in [*order, "without"]:
            if name != "kafka" or bench.kafka:
                ack, end = fixed_rate_run(bench, 11, pair, name, arms[name])
                acks[name].append(ack)
                ends[name].append(end)
        paced.append(machine.fdatasync_p50(servers.BENCH, servers.SERVER_CORE, 1000))
        syncs.append(machine.fdatasync_p50(servers.BENCH, servers.SERVER_CORE))
    noisy = bench.noisy
    p50 = {name: [percentile(run, 50) for run in runs] for name, runs in acks.items()}
    p99 = {name: [percentile(run, 99) for run in runs] for name, runs in acks.items()}
    yield ratio_line(bench, "durable ack p50, 1,000/s × 1 KB", p50["jackdaw"], p50["kafka"], 0.4, "µs")
    bench.noisy = noisy
    yield ratio_line(bench, "durable ack p99, same", p99["jackdaw"], p99["kafka"], 0.2, "µs")
    for percent in (50, 99):
        arms = {name: [percentile(run, percent) for run in runs] for name, runs in ends.items()}
        bench.noisy = noisy
        yield ratio_line(bench, f"durable end to end p{percent}, same", arms["jackdaw"], arms["kafka"], 0.15, "µs")
    bench.keep(11, {"fdatasync_p50": syncs, "fdatasync_p50_at_1000_a_second": paced, "p50": p50})
    for what, disk, gate in (("at that rate", paced, 1.2), ("one behind the other, shown only", syncs, None)):
        price = [(a - b) / sync for a, b, sync in zip(p50["jackdaw"], p50["without"], disk)]
        bench.noisy = noisy
        yield bench.line(f"ack p50 with sync less without ({median(p50['without']):.0f} µs), in fdatasync p50 {what} "
                         f"({median(disk):.0f} µs)", median(price), None, f"≤ {gate}" if gate else "–",
                         gate is None or median(price) <= gate, "×")


# --- 15: memory ---------------------------------------------------------------------------------


def memory(bench):
    loads = {
        "L1 (1 MB batches)": ["-P", "-p", 0, "-s", 1000, "-c", 2_000_000, "-a", 1, "-X", "linger.ms=5"],
        "L2 (16 KB, idempotent)": ["-P", "-p", 0, "-s", 1000, "-c", 1_000_000, "-a", -1, "-X",
                                   "enable.idempotence=true", "-X", "batch.size=16384"],
    }
    if bench.quick:
        for arguments in loads.values():
            arguments[6] = 100_000
    figures = {}
    for name, make in (("jackdaw", servers.jackdaw), ("kafka", servers.kafka)):
        if name == "kafka" and not bench.kafka:
            continue
        for what, arguments in {"idle": None, **loads}.items():
            bench.prepare()
            with make() as server:
                server.start()
                if arguments:
                    servers.load(server, *arguments)
                else:
                    time.sleep(2 if bench.quick else 20)
                figures[name, what] = server.usage().memory("VmHWM" if arguments else "VmRSS")
            bench.keep(15, {"arm": name, "what": what, "MiB": figures[name, what]})
    noisy = bench.noisy
    for what in ("idle", *loads):
        ours, theirs = figures["jackdaw", what], figures.get(("kafka", what))
        limit = 20 if what == "idle" else 64 + 8  # the cache of recent batches is 8 MiB
        wanted = f"≤ 1/20, ≤ {limit} MiB"
        bench.noisy = noisy
        yield ratio_line(bench, f"RSS {what}", [ours], [theirs] if theirs else [], 0.05, "MiB", wanted, ours <= limit)


# --- 17: ten thousand partitions ----------------------------------------------------------------


def partitions(bench):
    count = 1_000 if bench.quick else 10_000
    topics = 10
    figures = {}
    for name, make in (("jackdaw", servers.jackdaw), ("kafka", servers.kafka)):
        if name == "kafka" and not bench.kafka:
            continue
        bench.prepare()
        with make() as server:
            server.start()
            found = figures[name] = {}
            servers.create_topics(server, "few", 1, 100)
            found["create"] = servers.create_topics(server, "part", topics, count // topics)
            found["few"] = spread(bench, server, ["few-0"] * topics)
            found["many"] = spread(bench, server, [f"part-{number}" for number in range(topics)])
            servers.commit_for_groups(server, 100 if bench.quick else 1_000, "part-0")
            found["rss"], found["fds"] = server.usage().memory(), server.usage().descriptors()
            for how, key in ((signal.SIGTERM, "clean"), (signal.SIGKILL, "killed")):
                server.stop(how)
                server.start()
                servers.one_ack_by_kcat(server, "part-1")
                found[key] = time.monotonic() - server.started
        bench.keep(17, {"arm": name, **found})
    ours, theirs = figures["jackdaw"], figures.get("kafka")
    noisy = bench.noisy
    for key, what, gate, wanted, limit, unit in (
        ("create", f"create {count:,} partitions in {topics} requests", None, "≤ 2 s", 2, "s"),
        ("rss", "RSS with them and 1,000 groups", 0.1, "≤ 0.1 ×, ≤ 64 MiB", 64, "MiB"),
        ("fds", "file descriptors", None, "≤ 1,000", 1000, ""),
        ("clean", "restart to first ack by kcat, clean", 0.05, "≤ 0.05 ×, ≤ 1 s", 1, "s"),
        ("killed", "restart to first ack by kcat, kill -9", 0.05, "≤ 0.05 ×, ≤ 1 s", 1, "s"),
    ):
        bench.noisy = noisy
        yield ratio_line(bench, what, [ours[key]], [theirs[key]] if theirs else [], gate, unit, wanted, ours[key] <= limit)
    bench.noisy = noisy
    yield bench.line(f"produce to all of them at random, of the rate with 100",
                     ours["many"] / ours["few"], theirs and theirs["many"] / theirs["few"], "≥ 0.5",
                     ours["many"] / ours["few"] >= 0.5, "×")


def spread(bench, server, topics):
    """Messages per second to random partitions of these topics, one topic after the other."""
    count = 2_000 if bench.quick else 50_000
    each = ["-P", "-s", 1000, "-c", count, "-a", 1, "-X", "sticky.partitioning.linger.ms=0"]
    return len(topics) / sum(1 / servers.load(server, *each, topic=topic) for topic in topics)


# --- 19: start ----------------------------------------------------------------------------------


def start(bench):
    figures = {}
    size = 100_000 if bench.quick else 2_000_000
    for name, make in (("jackdaw", servers.jackdaw), ("kafka", servers.kafka)):
        if name == "kafka" and not bench.kafka:
            continue
        found = figures[name] = {"answer": [], "ack": [], "killed": []}
        for _ in range(bench.pairs):
            bench.prepare()
            with make() as server:
                found["answer"].append(server.start())
                servers.one_ack_by_kcat(server, "first")
                found["ack"].append(time.monotonic() - server.started)
        bench.prepare()
        with make() as server:
            server.start()
            for _ in range(bench.pairs):
                servers.load(server, "-P", "-p", 0, "-s", 1000, "-c", size, "-a", 1, "-X", "linger.ms=5")
                server.stop(signal.SIGKILL)
                server.start()
                servers.one_ack_by_kcat(server, "t")
                found["killed"].append(time.monotonic() - server.started)
        bench.keep(19, {"arm": name, **found})
    noisy = bench.noisy
    gigabytes = size * bench.pairs / 1e6
    for key, what, gate, wanted, limit in (
        ("answer", "start to first ApiVersions, empty", 0.02, "≤ 1/50", 1e9),
        ("ack", "start to first ack by kcat, empty", 0.02, "≤ 1/50, ≤ 50 ms", 50),
        ("killed", f"the same after kill -9, up to {gigabytes:.1f} GB", 0.05, "≤ 1/20, ≤ 1 s", 1000),
    ):
        ours = [1000 * value for value in figures["jackdaw"][key]]
        theirs = [1000 * value for value in figures["kafka"][key]] if "kafka" in figures else []
        bench.noisy = noisy
        yield ratio_line(bench, what, ours, theirs, gate, "ms", wanted, median(ours) <= limit)
    kcat = []
    with servers.jackdaw() as server:
        server.start()
        servers.one_ack_by_kcat(server, "first")
        kcat = [1000 * servers.one_ack_by_kcat(server, "first") for _ in range(9)]
    yield bench.line("of that kcat itself, to a running Jackdaw (shown only)", median(kcat), None, "–", True, "ms")


# --- 20: idle -----------------------------------------------------------------------------------


def idle(bench):
    seconds = 5 if bench.quick else 120
    figures = {}
    for name, make in (("jackdaw", servers.jackdaw), ("kafka", servers.kafka)):
        if name == "kafka" and not bench.kafka:
            continue
        bench.prepare()
        with make() as server:
            server.start()
            servers.one_ack_by_kcat(server, "t")
            time.sleep(2 if bench.quick else 20)
            usage = server.usage()
            cpu, switches = usage.cpu(), usage.switches()
            time.sleep(seconds)
            figures[name] = (100 * (usage.cpu() - cpu) / seconds, (usage.switches() - switches) / seconds)
        bench.keep(20, {"arm": name, "cpu_percent": figures[name][0], "wake_ups": figures[name][1]})
    noisy = bench.noisy
    for at, what, limit, unit, wanted in ((0, "idle CPU, of a core", 0.1, "%", "≤ 1/30, ≤ 0.1 %"),
                                          (1, "wake-ups per second", 10, "/s", "≤ 1/30, ≤ 10/s")):
        ours, theirs = figures["jackdaw"][at], figures["kafka"][at] if "kafka" in figures else None
        bench.noisy = noisy
        yield ratio_line(bench, what, [ours], [theirs] if theirs else [], 1 / 30, unit, wanted, ours <= limit)


ROWS = {8: latency, 11: durable, 15: memory, 17: partitions, 19: start, 20: idle}
