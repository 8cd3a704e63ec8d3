"""A Kafka-compatible broker for tests.

    import jackdaw

    with jackdaw.start() as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap})

The broker keeps its data in memory, listens on a free port of this machine, and ends with the block, or with this
process at the latest.
"""

import json
import os
import subprocess
from pathlib import Path

__all__ = ["BINARY", "Broker", "StartError", "start"]

#: The program, for those who start it on their own.
BINARY = str(Path(__file__).with_name("bin") / "jackdaw")


class StartError(RuntimeError):
    """The broker did not start. Its message is on standard error."""


class Broker:
    """A running broker. `start` makes it."""

    def __init__(self, process: subprocess.Popen, ready: dict):
        self._process = process
        #: The addresses of all brokers, for `bootstrap.servers`.
        self.bootstrap: str = ",".join(ready["advertised"])
        #: The address for health checks and metrics, as "host:port", where `--http` was among the arguments.
        self.http: "str | None" = ready["http"]

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """Stops the broker and waits for its end. A second call does nothing."""
        self._process.terminate()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def __enter__(self) -> "Broker":
        return self

    def __exit__(self, *error) -> None:
        self.stop()


def start(*arguments: str) -> Broker:
    """Starts a broker in memory and returns it when it serves clients.

    `arguments` are those of `jackdaw serve`: `start("--brokers", "3", "--topic", "orders:3")`.
    """
    fixed = ["serve", "--ephemeral", "--listen", "127.0.0.1:0", "--log-format", "json", "--stop-on-eof"]
    # Settings that are meant for another broker are left out. --log-level has precedence over the variable.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_")}
    environment["KAFKA_LOG4J_ROOT_LOGLEVEL"] = "WARN"
    # The pipe to its standard input is never written to. It breaks when this process ends, and that stops the broker.
    process = subprocess.Popen(
        [BINARY, *fixed, *arguments], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    line = process.stdout.readline()
    if not line:
        process.stdin.close()
        raise StartError(f"jackdaw ended with exit code {process.wait()} before it was ready")
    return Broker(process, json.loads(line))
