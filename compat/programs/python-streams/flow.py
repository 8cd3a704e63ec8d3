"""Counts words from topic to topic, up to the present end, and keeps its state for the next run.

flow.py BOOTSTRAP FROM TO STATE
"""

import pathlib
import sys

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

bootstrap, source, sink, state = sys.argv[1:]
state = pathlib.Path(state)
if not state.exists():
    state.mkdir()
    init_db_dir(state, 1)


def one_more(seen, _message):
    seen = (seen or 0) + 1
    return seen, seen


flow = Dataflow("count")
words = kop.input("words", flow, brokers=[bootstrap], topics=[source], tail=False, batch_size=100)
by_word = op.key_on("by_word", words.oks, lambda message: message.value.decode())
counts = op.stateful_map("counts", by_word, one_more)
out = op.map("out", counts, lambda count: KafkaSinkMessage(key=count[0].encode(), value=str(count[1]).encode()))
kop.output("counted", out, brokers=[bootstrap], topic=sink, add_config={"enable.idempotence": "true"})

run_main(flow, recovery_config=RecoveryConfig(state))
