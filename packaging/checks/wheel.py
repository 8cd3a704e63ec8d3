"""packaging/check runs this in an environment in which the wheel is installed."""

import base64
import hashlib
import subprocess
from importlib import metadata

import jackdaw
from jackdaw_hooks import Hooks


def run(*arguments, **options):
    return subprocess.run(["jackdaw", *arguments], check=True, capture_output=True, text=True, **options).stdout


# The record of the wheel is right.
for file in metadata.files("jackdaw"):
    if file.hash:
        digest = hashlib.new(file.hash.mode, file.locate().read_bytes()).digest()
        assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == file.hash.value, file

with jackdaw.start("--topic", "greetings:1", "--http", "127.0.0.1:0") as broker, jackdaw.start() as other:
    assert broker.bootstrap != other.bootstrap
    assert broker.http.startswith("127.0.0.1:")
    for at in broker, other:
        run("produce", "greetings", "--bootstrap", at.bootstrap, input=f"hello {at.pid}\n")
    for at in broker, other:
        assert run("consume", "greetings", "--bootstrap", at.bootstrap, "--until-end") == f"hello {at.pid}\n"
broker.stop()
assert subprocess.run(["jackdaw", "health", "--bootstrap", broker.bootstrap], capture_output=True).returncode == 69

# A test makes the producer's first request fail, and waits for its record.
with jackdaw.start("--topic", "orders", "--http", "127.0.0.1:0", "--test-hooks") as broker:
    hooks = Hooks(f"http://{broker.http}")
    fault = hooks.fail("Produce", "NOT_LEADER_OR_FOLLOWER")
    run("produce", "orders", "--bootstrap", broker.bootstrap, input="one coffee\n")
    hooks.wait_for_fault(fault)
    assert hooks.wait_for_records("orders", 1) == 1
    try:
        hooks.wait_for_records("orders", 2, timeout=0)
    except TimeoutError as error:
        assert "1 of 2 records" in str(error), error
    else:
        raise AssertionError("a record came that nobody wrote")

with jackdaw.start("--brokers", "3", "--log-level", "error") as three:
    assert len(three.bootstrap.split(",")) == 3

try:
    jackdaw.start("--set", "node.id=no number")
except jackdaw.StartError as error:
    assert "exit code 78" in str(error)
else:
    raise AssertionError("a wrong setting was accepted")
