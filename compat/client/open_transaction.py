"""open-transaction HOST:PORT ID TOPIC: leaves an open transaction with one record in partition 0, as a program that is killed."""

import os
import sys

from confluent_kafka import Producer

bootstrap, transactional_id, topic = sys.argv[1:]
producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": transactional_id})
producer.init_transactions(30)
producer.begin_transaction()
producer.produce(topic, "not yet", partition=0)
assert producer.flush(30) == 0
os._exit(0)
