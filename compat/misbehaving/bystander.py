"""A normal client beside the misbehaving ones: it produces, consumes and commits in a group all the time.

A line on its input asks for its state. It answers when a round that began after the question has ended: "ok", or the
error. At the end of the input it checks all records once more."""

import sys
import threading
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from matrix import BOOTSTRAP, LIMIT, PREFIX, same, until

TOPIC = PREFIX + 'bystander'
PARTITIONS = [0, 1, 2]

# Also errors after which the client continues by itself, such as closed connections.
complaints = []
CLIENT = {'bootstrap.servers': BOOTSTRAP, 'error_cb': complaints.append}
READER = {**CLIENT, 'group.id': TOPIC, 'enable.auto.commit': False, 'auto.offset.reset': 'earliest'}
given, taken = [], []


def main():
    admin = AdminClient(CLIENT)  # its futures fail once it is garbage collected
    admin.create_topics([NewTopic(TOPIC, len(PARTITIONS), 1)])[TOPIC].result(LIMIT)
    asked, heard = threading.Semaphore(0), threading.Event()
    threading.Thread(target=read_questions, args=(asked, heard), daemon=True).start()
    producer, reader = Producer(CLIENT), Consumer(READER)
    reader.subscribe([TOPIC], on_assign=lambda _, partitions: given.append(sorted(at.partition for at in partitions)),
                     on_revoke=lambda _, partitions: taken.append(partitions))
    rounds, longest, ended = 0, 0, False
    while not ended:
        ended, question, began = heard.is_set(), asked.acquire(blocking=False), time.monotonic()
        one_round(producer, reader, rounds)
        rounds, longest = rounds + 1, max(longest, time.monotonic() - began)
        same(([PARTITIONS], [], []), (given, taken, complaints), 'what its group gave and took, and errors')
        if question:
            print('ok', flush=True)
    reader.close()
    look_at_everything(rounds)
    print(f'ok {rounds} rounds, of which the longest took {longest:.1f} s', flush=True)


def read_questions(asked, heard):
    for _ in sys.stdin:
        asked.release()
    heard.set()


def one_round(producer, reader, number):
    value, delivered = b'%d' % number, []
    for partition in PARTITIONS:
        told = lambda error, message: delivered.append((message.partition(), error, message.offset()))
        producer.produce(TOPIC, value, partition=partition, on_delivery=told)
    same(0, producer.flush(LIMIT), 'messages left in the queue')
    same([(partition, None, number) for partition in PARTITIONS], sorted(delivered), 'what a round sent')
    same([(partition, number, value) for partition in PARTITIONS], read(reader, len(PARTITIONS)), 'what a round read')
    reader.commit(asynchronous=False)
    committed = reader.committed([TopicPartition(TOPIC, partition) for partition in PARTITIONS], LIMIT)
    same([number + 1] * 3, [at.offset for at in committed], 'what a round committed')


def look_at_everything(rounds):
    reader = Consumer(READER)
    reader.assign([TopicPartition(TOPIC, partition, 0) for partition in PARTITIONS])
    expected = [(partition, number, b'%d' % number) for partition in PARTITIONS for number in range(rounds)]
    same(expected, read(reader, len(expected)), 'everything')
    reader.close()


def read(reader, count):
    """Reads at least `count` records."""
    found = []
    until(f'{count} records', lambda: found.extend(reader.consume(count, 1)) or len(found) >= count)
    return sorted((message.partition(), message.offset(), message.value()) for message in found)


try:
    main()
except Exception as error:
    print(f'{type(error).__name__}: {error}'.replace('\n', ' '), flush=True)
    raise
