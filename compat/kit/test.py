"""An application with confluent-kafka meets faults, and its test waits for what it does."""

import sys

from confluent_kafka import Consumer, KafkaException, Producer

from jackdaw_hooks import HookError, Hooks

url, bootstrap = sys.argv[1:]
hooks = Hooks(url)


def producer(**more):
    # One connection for each batch, so that a fault meets a single record.
    return Producer({'bootstrap.servers': bootstrap, 'client.id': 'shop', 'linger.ms': 0, 'retry.backoff.ms': 1, **more})


def send(to, topic, value):
    """The error of the delivery, or None."""
    outcomes = []
    to.produce(topic, value, on_delivery=lambda error, _: outcomes.append(error))
    to.flush(30)
    [outcome] = outcomes
    return outcome


# An error that may be repeated is repeated, and each record is stored once.
shop = producer(**{'enable.idempotence': True})
assert send(shop, 'orders', 'first') is None
fault = hooks.fail('Produce', 'NOT_LEADER_OR_FOLLOWER', times=2, client='shop')
assert hooks.faults()[0]['left'] == 2
assert send(shop, 'orders', 'second') is None
hooks.wait_for_fault(fault)
assert hooks.wait_for_records('orders', 2) == 2

# A lost answer makes the client send the batch again: an idempotent producer stores it once.
fault = hooks.cut('Produce', 'before-answer', client='shop')
assert send(shop, 'orders', 'third') is None
hooks.wait_for_fault(fault)
assert hooks.wait_for_records('orders', 3) == 3

# An error that may not be repeated reaches the application, and only this client's.
hooks.fail('Produce', 'MESSAGE_TOO_LARGE', client='shop')
assert send(producer(**{'client.id': 'bank'}), 'orders', 'fourth') is None
assert send(producer(), 'orders', 'refused').name() == 'MSG_SIZE_TOO_LARGE'
assert hooks.wait_for_records('orders', 4) == 4

# An answer that comes too late.
hooks.delay_answer('Produce', 5, client='shop')
late = producer(**{'message.timeout.ms': 500, 'request.timeout.ms': 500})
assert send(late, 'orders', 'fifth').name() in ('_MSG_TIMED_OUT', 'REQUEST_TIMED_OUT', '_TIMED_OUT')
assert hooks.wait_for_records('orders', 5) >= 5

# A group reads everything.
consumer = Consumer({'bootstrap.servers': bootstrap, 'group.id': 'kitchen', 'auto.offset.reset': 'earliest',
                     'enable.auto.commit': False})
consumer.subscribe(['orders'])
read = 0
while read < 5:
    message = consumer.poll(30)
    assert message is not None and message.error() is None, message and message.error()
    read += 1
hooks.wait_for_group('kitchen', members=1)
try:
    hooks.wait_for_no_lag('kitchen', 'orders', timeout=0.05)
except TimeoutError as error:
    assert str(error).startswith('the group kitchen is 5 records behind'), error
else:
    raise AssertionError('nothing was committed')
hooks.fail('OffsetCommit', 'UNKNOWN_MEMBER_ID')
try:
    consumer.commit(asynchronous=False)
except KafkaException as error:
    assert error.args[0].name() == 'UNKNOWN_MEMBER_ID', error
else:
    raise AssertionError('the commit was refused')
consumer.close()

# What happens to a cluster happens when the test wants it.
assigned = []
cook = Consumer({'bootstrap.servers': bootstrap, 'group.id': 'bar', 'heartbeat.interval.ms': 100})
cook.subscribe(['orders'], on_assign=lambda _, partitions: assigned.append(partitions))


def assigned_after(action, *arguments):
    before = len(assigned)
    action(*arguments)
    while len(assigned) == before:
        cook.poll(0.1)


assigned_after(cook.poll, 0)
assigned_after(hooks.rebalance, 'bar')
member = cook.memberid()
assigned_after(hooks.expire_session, 'bar', member)
assert cook.memberid() != member
cook.close()


def in_transaction():
    till = Producer({'bootstrap.servers': bootstrap, 'transactional.id': 'till', 'transaction.timeout.ms': 60_000})
    till.init_transactions(30)
    till.begin_transaction()
    till.produce('orders', 'in a transaction')
    till.flush(30)
    return till


for action, argument in ((hooks.fence_producer, 'till'), (hooks.abort_transaction, 'till'), (hooks.turn_clock, 61)):
    till = in_transaction()
    action(argument)
    try:
        till.commit_transaction(30)
    except KafkaException as error:
        assert error.args[0].fatal() or error.args[0].txn_requires_abort(), error
    else:
        raise AssertionError('an aborted transaction was committed')

hooks.fill_disk()
assert send(producer(retries=0), 'orders', 'refused').name() == 'KAFKA_STORAGE_ERROR'
hooks.free_disk()
hooks.stop_broker(1)
hooks.start_broker(1)
hooks.move_leader('orders', 0, 1)
assert send(producer(), 'orders', 'sixth') is None

# Wrong arguments are refused with the reason.
try:
    hooks.fail('Produce', 'NO_SUCH_ERROR')
except HookError as error:
    assert error.status == 400 and 'NO_SUCH_ERROR is no error of Kafka' in str(error), error
else:
    raise AssertionError('there is no such error')
hooks.remove_all_faults()
assert hooks.faults() == []
