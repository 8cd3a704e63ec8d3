"""The measured servers, each on core 0, and the load generator, which is built from its sources."""

import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import time

import machine

ROOT = pathlib.Path(__file__).resolve().parent.parent
BENCH = ROOT / "target" / "bench"
JACKDAW = ROOT / "target" / "release" / "jackdaw"
GENERATOR = BENCH / "librdkafka" / "examples" / "rdkafka_performance"
KAFKA = BENCH / "kafka"
JAVA_TOOLS = BENCH / "java-tools"
NULL = BENCH / "null" / "release" / "null"
TOOLS = BENCH / "venv" / "bin" / "python"
SERVER_CORE, CLIENT_CORE = "0", "1"


# --- requirements -------------------------------------------------------------------------------


def install(kafka, java, jackdaw):
    """`java`: also Java's load generator, whichever server is measured."""
    global JACKDAW
    BENCH.mkdir(parents=True, exist_ok=True)
    packages = {
        "kcat": shutil.which("kcat"), "util-linux": shutil.which("taskset"), "build-essential": shutil.which("c++"),
        "libssl-dev": header("openssl/ssl.h"), "zlib1g-dev": header("zlib.h"), "libzstd-dev": header("zstd.h"),
    }
    if kafka or java:
        packages |= {"default-jre-headless": shutil.which("java"), "maven": shutil.which("mvn")}
    missing = [name for name, there in packages.items() if not there]
    if missing:
        machine.run(["apt-get", "update", "-qq"])
        machine.run(["apt-get", "install", "-y", "-qq", *missing], stdout=subprocess.DEVNULL)
    if jackdaw:
        JACKDAW = pathlib.Path(jackdaw).resolve()
    else:
        machine.run(["cargo", "build", "--release", "--bin", "jackdaw"], cwd=ROOT)
    if not GENERATOR.exists():
        build_generator()
    machine.run(["cargo", "build", "-q", "--release", "--manifest-path", ROOT / "benches" / "null" / "Cargo.toml",
                 "--target-dir", BENCH / "null"])
    if not TOOLS.exists():
        machine.run(["python3", "-m", "venv", BENCH / "venv"])
        machine.run([TOOLS, "-m", "pip", "install", "-q", "confluent-kafka==2.12.1"])
    if kafka:
        copy_jars(ROOT / "benches" / "kafka" / "pom.xml", KAFKA)
    if java:
        copy_jars(ROOT / "compat" / "console" / "pom.xml", JAVA_TOOLS)


def copy_jars(pom, folder):
    if not (folder / "pom.xml").exists():
        machine.run(["mvn", "-q", "-B", "-Dstyle.color=never", "-f", pom, "dependency:copy-dependencies",
                     "-DincludeScope=runtime", f"-DoutputDirectory={folder}"])
        shutil.copy(pom, folder / "pom.xml")


def header(name):
    return any(pathlib.Path(folder, name).exists() for folder in ["/usr/include", "/usr/local/include"])


def build_generator():
    """Builds librdkafka's own performance program from the sources in the crate rdkafka-sys."""
    said = machine.run(["cargo", "metadata", "--format-version", "1"], cwd=ROOT, capture_output=True).stdout
    packages = json.loads(said)["packages"]
    manifest = next(p["manifest_path"] for p in packages if p["name"] == "rdkafka-sys")
    folder = BENCH / "librdkafka"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pathlib.Path(manifest).parent / "librdkafka", folder)
    with open(BENCH / "librdkafka.log", "w") as log:
        for command in (
            ["./configure", "--disable-gssapi", "--disable-curl", "--enable-static"],
            ["make", "-j2", "-C", "src", "librdkafka.a"],
            ["make", "-C", "examples", "rdkafka_performance"],
        ):
            machine.run(command, cwd=folder, stdout=log, stderr=log)


def describe():
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    version = subprocess.run([JACKDAW, "--version"], capture_output=True, text=True).stdout.strip()
    kafka = next(KAFKA.glob("kafka_2.13-*.jar"), pathlib.Path("none")).stem
    return (
        f"{version} ({commit.stdout.strip()}), {kafka} (-Xmx1g, as shipped but for replication factor 1), "
        f"librdkafka 2.12.1; server on core {SERVER_CORE}, clients on core {CLIENT_CORE}\n\n"
    )


# --- servers ------------------------------------------------------------------------------------


class Server:
    """A server process with its own port and data directory. `tls`: whether its clients come in with TLS."""

    def __init__(self, name, command_for, more=(), tls=False):
        self.name, self.more, self.tls = name, list(more), tls
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"bench-{name}-", dir=BENCH))
        self.port = free_port()
        self.command = command_for(self)
        self.process = None

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        """Returns the seconds until it answered ApiVersions."""
        self.started = time.monotonic()
        with open(self.folder / "log", "a") as log:
            command = ["taskset", "-c", SERVER_CORE, *map(str, self.command)]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while not answers(self.port, self.tls):
            if self.process.poll() is not None or time.monotonic() > self.started + 300:
                raise SystemExit(f"{self.name} did not start: see {self.folder / 'log'}")
            time.sleep(0.0005)
        took = time.monotonic() - self.started
        listening = subprocess.run(["ss", "-ltnpH", f"sport = :{self.port}"], capture_output=True, text=True).stdout
        if f"pid={self.process.pid}," not in listening:
            raise SystemExit(f"port {self.port} belongs to another process: {listening}")
        return took

    def usage(self):
        return machine.Process(self.process.pid)

    def stop(self, how=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder)


def jackdaw(durability="fsync", more=()):
    def command(server):
        return [JACKDAW, "--listen", server.bootstrap, "--data-dir", server.folder / "data",
                "--durability", durability, *more]

    return Server(f"jackdaw-{durability}", command)


def jackdaw_with_tls(durability="os"):
    def command(server):
        settings = [f"listeners=SSL://{server.bootstrap}", "ssl.keystore.type=PEM", f"ssl.keystore.location={certificate()}"]
        given = [part for setting in settings for part in ("--set", setting)]
        return [JACKDAW, "--data-dir", server.folder / "data", "--durability", durability, *given]

    return Server("jackdaw-tls", command, tls=True)


def certificate():
    """A certificate that signs itself, with its key, in PEM: the same one for all servers."""
    both = BENCH / "tls" / "server.pem"
    if not both.exists():
        both.parent.mkdir(exist_ok=True)
        key, shown = both.with_name("key.pem"), both.with_name("ca.pem")
        machine.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650",
                     "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", shown],
                    stderr=subprocess.DEVNULL)
        both.write_text(key.read_text() + shown.read_text())
    return both


def null(more=()):
    """The null server (null/src/main.rs)."""
    return Server("null", lambda server: [NULL, server.port, server.folder / "data", *more])


def kafka_with_tls():
    return kafka("ssl.keystore.type=PEM", f"ssl.keystore.location={certificate()}", tls=True)


def kafka(*settings, tls=False):
    def command(server):
        controller = free_port()
        # With TLS the brokers of a cluster still speak without it, on a listener of their own.
        clients = f"SSL://{server.bootstrap},PLAINTEXT://127.0.0.1:{free_port()}" if tls else f"PLAINTEXT://{server.bootstrap}"
        properties = server.folder / "server.properties"
        properties.write_text("\n".join([
            "process.roles=broker,controller", "node.id=1",
            f"controller.quorum.bootstrap.servers=127.0.0.1:{controller}",
            f"listeners={clients},CONTROLLER://127.0.0.1:{controller}",
            f"advertised.listeners={clients},CONTROLLER://127.0.0.1:{controller}",
            "controller.listener.names=CONTROLLER", "inter.broker.listener.name=PLAINTEXT",
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL",
            f"log.dirs={server.folder / 'data'}", "offsets.topic.replication.factor=1",
            "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
            "share.coordinator.state.topic.replication.factor=1", "share.coordinator.state.topic.min.isr=1",
            *settings, "",
        ]))
        java = ["java", "-Xmx1g", "-Xms1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-Djava.awt.headless=true",
                f"-Dlog4j2.configurationFile={ROOT / 'benches' / 'kafka' / 'log4j2.yaml'}", "-cp", f"{KAFKA}/*"]
        with open(server.folder / "log", "a") as log:
            machine.run([*java, "kafka.tools.StorageTool", "format", "-t", "QlQ0VGhlQmVuY2hDbHVzdA", "--standalone",
                         "-c", properties], stdout=log, stderr=log)
        return [*java, "kafka.Kafka", properties]

    return Server("kafka", command, tls=tls)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port, tls=False):
    """Whether an ApiVersions request is answered."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as plain, encrypted(plain) if tls else plain as connection:
            connection.sendall(struct.pack(">ihhih", 10, 18, 0, 1, -1))
            return len(connection.recv(4)) == 4
    except OSError:
        return False


def encrypted(connection):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection)


# --- load ---------------------------------------------------------------------------------------


def generator(server, *arguments, topic="t"):
    tls = ["-X", "security.protocol=ssl", "-X", f"ssl.ca.location={certificate().with_name('ca.pem')}"] if server.tls else []
    return ["taskset", "-c", CLIENT_CORE, GENERATOR, "-t", topic, "-b", server.bootstrap, *tls, *map(str, arguments)]


def load(server, *arguments, topic="t"):
    """Runs the generator to its end; returns messages per second."""
    done = machine.run(generator(server, *arguments, "-q", topic=topic), capture_output=True, text=True)
    last = [line for line in done.stdout.splitlines() if "msgs/s" in line][-1]
    return float(last.split(" msgs/s")[0].split()[-1])


def at_once(server, producers, *arguments, topic="t"):
    """Runs `producers` generators at the same time; returns the seconds until the last has ended."""
    began = time.monotonic()
    running = [subprocess.Popen(generator(server, *arguments, "-q", topic=topic), stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL) for _ in range(producers)]
    failed = [process.args for process in running if process.wait()]
    if failed:
        raise SystemExit(f"{len(failed)} of {producers} generators failed: {failed[0]}")
    return time.monotonic() - began


def java_produce(server, topic, count, rate, payload, *properties):
    """Runs Kafka's own kafka-producer-perf-test, with the lines of a file as values."""
    machine.run(["taskset", "-c", CLIENT_CORE, "java", "-Xmx512m", "-cp", f"{JAVA_TOOLS}/*",
                 "org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records", count, "--throughput", rate,
                 "--payload-file", payload, "--bootstrap-server", server.bootstrap, "--command-property", *properties],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


HANDSHAKES = """
import socket, ssl, sys
for _ in range(int(sys.argv[2])):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as plain, context.wrap_socket(plain):
        pass
"""


def handshakes(server, count):
    """Connects so many times with TLS, each time with a whole handshake."""
    machine.run(["taskset", "-c", CLIENT_CORE, "python3", "-c", HANDSHAKES, server.port, count])


def one_ack_by_kcat(server, topic):
    """Seconds from the start of kcat until its message is acknowledged."""
    started = time.monotonic()
    machine.run(["kcat", "-b", server.bootstrap, "-P", "-t", topic, "-X", "linger.ms=0", "-X", "acks=all"], input=b"x\n",
                stderr=subprocess.DEVNULL)
    return time.monotonic() - started


def fixed_rate(server, folder, seconds, rate=1000, size=1000):
    """Open loop at a fixed rate: the latencies of acks and of consumed messages, in µs, without the first second."""
    count = rate * (seconds + 1)
    acks, ends = folder / "p.us", folder / "c.us"
    with open(folder / "c.log", "w") as log:
        # Its output is a file: without stdbuf the lines would be written only at its end.
        command = ["stdbuf", "-oL", *generator(server, "-C", "-p", 0, "-o", "end", "-c", count, "-l", "-A", ends)]
        consumer = subprocess.Popen(command, stdout=log, stderr=log)
    give_up = time.monotonic() + 60
    while "reached end" not in (folder / "c.log").read_text() and time.monotonic() < give_up:
        time.sleep(0.05)
    with open(folder / "p.log", "w") as log:
        machine.run(generator(server, "-P", "-p", 0, "-s", size, "-c", count, "-r", rate, "-a", -1, "-X", "linger.ms=0",
                              "-X", "max.in.flight=5", "-l", "-A", acks, "-q"), stdout=log, stderr=log)
    consumer.wait(timeout=60)
    return [[float(line) for line in path.read_text().split()][rate:] for path in (acks, ends)]


ADMIN = """
import sys, time
from confluent_kafka.admin import AdminClient, NewTopic
admin = AdminClient({"bootstrap.servers": sys.argv[1]})
admin.list_topics(timeout=60)
started = time.monotonic()
answers = []
for number in range(int(sys.argv[2])):
    made = admin.create_topics([NewTopic(f"{sys.argv[4]}-{number}", int(sys.argv[3]), 1)], request_timeout=120)
    answers.extend(made.values())
for answer in answers:
    answer.result()
print(time.monotonic() - started)
"""


GROUPS = """
import sys
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
admin = AdminClient({"bootstrap.servers": sys.argv[1]})
for number in range(int(sys.argv[2])):
    offsets = ConsumerGroupTopicPartitions(f"group-{number}", [TopicPartition(sys.argv[3], 0, 1)])
    for answer in admin.alter_consumer_group_offsets([offsets]).values():
        answer.result()
"""


def commit_for_groups(server, groups, topic):
    """Creates `groups` groups without members, each with a committed offset."""
    machine.run(["taskset", "-c", CLIENT_CORE, TOOLS, "-c", GROUPS, server.bootstrap, str(groups), topic])


def create_topics(server, prefix, topics, partitions):
    """Creates each topic with its own request; returns the seconds until all are acknowledged."""
    command = ["taskset", "-c", CLIENT_CORE, TOOLS, "-c", ADMIN, server.bootstrap, topics, partitions, prefix]
    return float(machine.run(command, capture_output=True, text=True).stdout)


# Transactions at a fixed rate: each one has 500 messages of 1 KB and begins 100 ms after the one before. kcat reads with
# read_committed. It shares the core with the producer and gets only what that leaves, because a commit wakes it: otherwise
# the producer, whose commits are timed, would wait for it. Prints the durations of the commits in milliseconds and the number
# of messages read.
TRANSACTIONS = """
import json, subprocess, sys, tempfile, time
import confluent_kafka as kafka
bootstrap, topic, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
rounds, each = int(seconds * 10), 500
consumer = kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "none"})
_, end = consumer.get_watermark_offsets(kafka.TopicPartition(topic, 0))
consumer.close()
read = tempfile.TemporaryFile()
reader = subprocess.Popen(["chrt", "--idle", "0", "kcat", "-q", "-b", bootstrap, "-C", "-t", topic, "-p", "0", "-o", str(end), "-c", str(rounds * each),
                           "-X", "isolation.level=read_committed", "-f", "%o\\n"], stdout=read)
producer = kafka.Producer({"bootstrap.servers": bootstrap, "transactional.id": "bench", "linger.ms": 5})
producer.init_transactions()
commits, began, value = [], time.monotonic(), b"x" * 1000
for number in range(rounds):
    producer.begin_transaction()
    for _ in range(each):
        producer.produce(topic, value)
    producer.flush()
    time.sleep(max(0, began + (number + 1) / 10 - time.monotonic()))
    committing = time.monotonic()
    producer.commit_transaction()
    commits.append(1000 * (time.monotonic() - committing))
reader.wait()
read.seek(0)
print(json.dumps([commits, read.read().count(b"\\n")]))
"""


def transactions(server, topic, seconds):
    """The durations of commits in ms, and the number of messages that a read_committed consumer read."""
    command = ["taskset", "-c", CLIENT_CORE, TOOLS, "-c", TRANSACTIONS, server.bootstrap, topic, seconds]
    return json.loads(machine.run(command, capture_output=True, text=True).stdout)
