"""The module that the source package of kafka-python lacks: it has the brokers of the tests.

A broker that is spawned prints Jackdaw's readiness line, by which time it knows its users. The tests wait for two lines of
Apache Kafka's log, which say the same.
"""

import subprocess
import threading


class ExternalService:
    def __init__(self, host, port):
        self.host, self.port = host, port

    def open(self):
        pass

    def close(self):
        pass


class SpawnedService:
    def __init__(self, args, env):
        self.args, self.env = args, env
        self.lines = []
        self.process = None
        self.ready = threading.Event()

    def start(self):
        self.process = subprocess.Popen(self.args, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            if ' is ready at ' in line:
                self.ready.set()

    def wait_for(self, _pattern, timeout):
        return self.ready.wait(timeout)

    def dump_logs(self):
        print(''.join(self.lines))

    def stop(self):
        self.process.terminate()
        self.process.wait()
