"""Plays the rows in the arguments with confluent-kafka. Version 1.8 has only a part of the admin client."""

import os
import time

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

from matrix import BOOTSTRAP, LIMIT, PREFIX, not_written, play, refused, same, until

NEW = int(confluent_kafka.version()[0].split('.')[0]) >= 2


# By default version 1.8 sends a timeout of 0. Kafka then answers REQUEST_TIMED_OUT and does nothing, and 1.8 takes that for
# success.
WITHIN = {'operation_timeout': LIMIT}

ADMIN = AdminClient({'bootstrap.servers': BOOTSTRAP})  # one for all: its futures fail once it is garbage collected


def done(futures):
    """The results of the admin client's futures, by their keys."""
    return {asked: future.result(LIMIT) for asked, future in futures.items()}


def refusal(futures):
    """The code with which the only one of these futures fails."""
    (future,) = futures.values()
    return refused(KafkaException, future.result, LIMIT).args[0].code()


def new_topic(name, partitions=1, **config):
    topic = PREFIX + name
    done(ADMIN.create_topics([NewTopic(topic, partitions, 1, config=config)], **WITHIN))
    until('the topic is known', lambda: listed(topic))
    return topic


def listed(topic):
    found = ADMIN.list_topics(timeout=LIMIT).topics.get(topic)
    return found and sorted(found.partitions)


def produce(topic, values, partition=0, **config):
    """Sends values, or dictionaries of arguments of `produce`; returns the messages with their delivery reports."""
    producer = Producer({'bootstrap.servers': BOOTSTRAP, **config})
    delivered = []

    def heard(error, message):
        delivered.append((error.code() if error else None, message.offset()))

    for value in values:
        fields = value if isinstance(value, dict) else {'value': value}
        while True:
            try:
                producer.produce(topic, partition=partition, on_delivery=heard, **fields)
                break
            except BufferError:
                producer.poll(1)
        producer.poll(0)
    same(0, producer.flush(LIMIT), 'messages left in the queue')
    return delivered


def send(topic, values, partition=0, **config):
    values = list(values)
    delivered = produce(topic, values, partition, **config)
    same([None] * len(values), [error for error, _ in delivered], 'delivery errors')


def consumer(group=None, **config):
    # A consumer with manual assignment needs a group id, too.
    return Consumer({
        'bootstrap.servers': BOOTSTRAP,
        'group.id': group or PREFIX + 'nobody',
        'enable.auto.commit': False,
        'auto.offset.reset': 'earliest',
        'enable.partition.eof': True,
        **config,
    })


def next_of(reader):
    """The next message, or None at the end of a partition."""
    message = until('a message', lambda: reader.poll(1))
    if message.error() is None:
        return message
    if message.error().code() == KafkaError._PARTITION_EOF:
        return None
    raise KafkaException(message.error())


def messages(topic, offset=OFFSET_BEGINNING, partition=0, **config):
    """All values from the offset to the end."""
    reader = consumer(**config)
    reader.assign([TopicPartition(topic, partition, offset)])
    found = []
    while (message := next_of(reader)) is not None:  # an empty message is false
        found.append(message)
    reader.close()
    return found


def values_of(*arguments, **config):
    return [message.value() for message in messages(*arguments, **config)]


def numbers(first, last):
    return [b'%d' % number for number in range(first, last + 1)]


# --- topics and records ------------------------------------------------------------------------------


def metadata():
    topic = new_topic('metadata', 3)
    listing = ADMIN.list_topics(timeout=LIMIT)
    same(1, len(listing.brokers), 'brokers')
    same([listing.controller_id], list(listing.brokers), 'the controller')
    (broker,) = listing.brokers.values()
    same(int(BOOTSTRAP.rsplit(':', 1)[1]), broker.port, 'the port')
    partitions = listing.topics[topic].partitions
    same([0, 1, 2], sorted(partitions), 'partitions')
    for partition in partitions.values():
        same((broker.id, [broker.id], [broker.id]), (partition.leader, partition.replicas, partition.isrs))
    if NEW:
        cluster = ADMIN.describe_cluster().result(LIMIT)
        same((broker.id, broker.id), (cluster.controller.id, cluster.nodes[0].id), 'the description of the cluster')
        assert cluster.cluster_id, cluster


def topics():
    topic = new_topic('topics', 2, **{'cleanup.policy': 'compact'})
    same([0, 1], listed(topic), 'partitions')
    same(KafkaError.TOPIC_ALREADY_EXISTS, refusal(ADMIN.create_topics([NewTopic(topic, 1, 1)], **WITHIN)), 'the same again')
    same(KafkaError.TOPIC_EXCEPTION, refusal(ADMIN.create_topics([NewTopic('no/slashes', 1, 1)], **WITHIN)), 'an illegal name')
    if NEW:
        from confluent_kafka import TopicCollection

        (found,) = done(ADMIN.describe_topics(TopicCollection([topic]))).values()
        same((topic, [0, 1], False), (found.name, [p.id for p in found.partitions], found.is_internal))
    done(ADMIN.delete_topics([topic], **WITHIN))
    until('the topic is gone', lambda: not listed(topic))
    same(KafkaError.UNKNOWN_TOPIC_OR_PART, refusal(ADMIN.delete_topics([topic], **WITHIN)), 'deleting it again')


def partitions():
    topic = new_topic('partitions')
    send(topic, [b'old'])
    done(ADMIN.create_partitions([NewPartitions(topic, 3)], **WITHIN))
    same(KafkaError.INVALID_PARTITIONS, refusal(ADMIN.create_partitions([NewPartitions(topic, 2)], **WITHIN)), 'fewer partitions')
    until('three partitions', lambda: listed(topic) == [0, 1, 2])
    send(topic, [b'new'], partition=2)
    same([[b'old'], [], [b'new']], [values_of(topic, partition=partition) for partition in range(3)])


def codecs():
    for codec in ('none', 'gzip', 'snappy', 'lz4', 'zstd'):
        topic = new_topic(codec)
        for first, acks in ((1, 'all'), (501, '1'), (1001, '0')):
            send(topic, numbers(first, first + 499), acks=acks, **{'compression.type': codec, 'linger.ms': 20})
        # With acks=0 the producer does not wait, so the records are read as they arrive.
        reader = consumer()
        reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        found = []

        def take():
            message = next_of(reader)
            if message is not None:
                found.append(message.value())

        until(f'1500 records with {codec}', lambda: len(found) == 1500 or take())
        reader.close()
        same(numbers(1, 1500), found, codec)


def values():
    topic = new_topic('values')
    now = int(time.time() * 1000)
    headers = [('b', b'2'), ('a', b'1'), ('a', b'3'), ('none', None), ('empty', b'')]
    send(topic, [
        {'key': b'key', 'value': b'value', 'headers': headers, 'timestamp': now - 5000},
        {'key': None, 'value': b'no key'},
        {'key': b'no value', 'value': None},
        {'key': b'', 'value': b''},
        {'key': 'ключ', 'value': '値'},
    ])
    found = messages(topic)
    same(
        [(b'key', b'value'), (None, b'no key'), (b'no value', None), (b'', b''), ('ключ'.encode(), '値'.encode())],
        [(message.key(), message.value()) for message in found],
    )
    same(headers, found[0].headers(), 'headers')
    same((confluent_kafka.TIMESTAMP_CREATE_TIME, now - 5000), found[0].timestamp(), 'timestamp')


def large():
    topic = new_topic('large')
    big, too_big = os.urandom(1_000_000), os.urandom(1_500_000)
    send(topic, [big], **{'message.max.bytes': 3_000_000})
    (said,) = produce(topic, [too_big], **{'message.max.bytes': 3_000_000})
    same(KafkaError.MSG_SIZE_TOO_LARGE, said[0], 'one of 1.5 MB')
    send(topic, [b'small'])
    found = messages(topic)
    same([(0, True), (1, False)], [(message.offset(), message.value() == big) for message in found])


def fetch():
    topic = new_topic('fetch')
    start = int(time.time() * 1000) - 1_000_000
    send(topic, [{'value': b'%d' % number, 'timestamp': start + 1000 * number} for number in range(100)])
    same(numbers(0, 99), values_of(topic), 'from the beginning')
    same(numbers(40, 99), values_of(topic, 40), 'from offset 40')
    same([], values_of(topic, OFFSET_END), 'from the end')
    reader = consumer()
    same((0, 100), reader.get_watermark_offsets(TopicPartition(topic, 0), LIMIT), 'watermarks')
    for asked, offset in ((start, 0), (start + 70_000, 70), (start + 70_001, 71), (start + 99_001, OFFSET_END)):
        (found,) = reader.offsets_for_times([TopicPartition(topic, 0, asked)], LIMIT)
        same(offset, found.offset, f'the offset of time {asked - start}')
    reader.assign([TopicPartition(topic, 0, OFFSET_END)])
    same(None, next_of(reader), 'at the end')
    send(topic, [b'100'])
    same(b'100', next_of(reader).value(), 'what came after')
    reader.close()


def out_of_range():
    topic = new_topic('range')
    send(topic, numbers(1, 3))
    same(numbers(1, 3), values_of(topic, 99), 'earliest')
    same([], values_of(topic, 99, **{'auto.offset.reset': 'latest'}), 'latest')
    error = refused(KafkaException, values_of, topic, 99, **{'auto.offset.reset': 'error'}).args[0]
    same(KafkaError._AUTO_OFFSET_RESET, error.code(), str(error))


# --- groups ------------------------------------------------------------------------------------------


class Member:
    """A member of a group; it is polled while a test waits for it. It records assigned and revoked partitions."""

    def __init__(self, group, topic, **config):
        self.reader = consumer(group, **config)
        self.owned, self.given, self.taken, self.read = set(), [], [], []
        self.reader.subscribe([topic], on_assign=self.assigned, on_revoke=self.revoked)

    def assigned(self, _, partitions):
        self.given.append({partition.partition for partition in partitions})
        self.owned |= self.given[-1]

    def revoked(self, _, partitions):
        self.taken.append({partition.partition for partition in partitions})
        self.owned -= self.taken[-1]

    def poll(self):
        message = self.reader.poll(0.05)
        if message is None or (message.error() and message.error().code() == KafkaError._PARTITION_EOF):
            return
        if message.error():
            raise KafkaException(message.error())
        self.read.append(message.value())


def wait(what, members, condition):
    """Polls the members in turn until the condition holds."""

    def attempt():
        for member in members:
            member.poll()
        return condition() or None

    until(what, attempt)


def shared(members):
    """Whether the members own the four partitions of the topic, the same number each."""
    owned = sorted(partition for member in members for partition in member.owned)
    return owned == [0, 1, 2, 3] and all(len(member.owned) * len(members) == 4 for member in members)


def share(topic, group, **config):
    one = Member(group, topic, **config)
    wait('one has all', [one], lambda: shared([one]))
    two = Member(group, topic, **config)
    both = [one, two]
    wait('two have half each', both, lambda: shared(both))
    for partition in range(4):
        send(topic, [b'%d' % partition], partition)
    wait('each reads its own', both, lambda: len(one.read) + len(two.read) == 4)
    for member in both:
        same(sorted(b'%d' % partition for partition in member.owned), sorted(member.read), 'what a member read')
        member.reader.commit(asynchronous=False)
        member.read.clear()
    one.reader.close()
    wait('the other has all', [two], lambda: shared([two]))
    for partition in range(4):
        send(topic, [b'%d' % partition], partition)
    wait('the other reads all', [two], lambda: len(two.read) == 4)
    same(numbers(0, 3), sorted(two.read), 'what the other read')
    return two


def group():
    share(new_topic('group', 4), PREFIX + 'group').reader.close()


def resume():
    topic = new_topic('resume')
    send(topic, numbers(1, 20))

    def take(name, count):
        member = Member(PREFIX + name, topic)
        wait(f'{count} messages', [member], lambda: len(member.read) >= count)
        member.reader.commit(offsets=[TopicPartition(topic, 0, int(member.read[0]) - 1 + count)], asynchronous=False)
        member.reader.close()
        return member.read[:count]

    same(numbers(1, 12), take('resume', 12))
    same(numbers(13, 20), take('resume', 8), 'the rest')
    send(topic, numbers(21, 25))
    same(numbers(21, 25), take('resume', 5), 'what came later')
    same(numbers(1, 25), take('resume-other', 25), 'another group')
    asks = consumer(PREFIX + 'resume')
    same([25], [found.offset for found in asks.committed([TopicPartition(topic, 0)], LIMIT)], 'committed')


def static():
    topic = new_topic('static', 4)
    start = lambda name: Member(PREFIX + 'static', topic, **{'group.instance.id': name, 'session.timeout.ms': 45_000})
    one, two = start('one'), start('two')
    wait('two have half each', [one, two], lambda: shared([one, two]))
    had, given, taken = set(one.owned), list(two.given), list(two.taken)
    one.reader.close()
    again = start('one')
    wait('it has its partitions again', [again, two], lambda: again.owned)
    same(had, again.owned, 'the partitions of the one that came back')
    # A commit of the old generation would be refused.
    two.reader.commit(offsets=[TopicPartition(topic, min(two.owned), 0)], asynchronous=False)
    same((given, taken), (two.given, two.taken), 'what the other was given and lost')
    again.reader.close()
    two.reader.close()


def cooperative():
    topic = new_topic('cooperative', 4)
    start = lambda: Member(PREFIX + 'cooperative', topic, **{'partition.assignment.strategy': 'cooperative-sticky'})
    one = start()
    wait('one has all', [one], lambda: shared([one]))
    two = start()
    wait('two have half each', [one, two], lambda: shared([one, two]))
    same([2], [len(taken) for taken in one.taken if taken], 'how many the first lost')
    same({0, 1, 2, 3} - one.owned, two.owned, 'what the second has')
    same([{0, 1, 2, 3}], [given for given in one.given if given], 'what the first was given')
    one.reader.close()
    wait('the other has all', [two], lambda: shared([two]))
    same([], [taken for taken in two.taken if taken], 'what the second lost')
    two.reader.close()


def new_protocol():
    from confluent_kafka import ConsumerGroupState, ConsumerGroupType

    group = PREFIX + 'kip-848'
    member = share(new_topic('kip-848', 4), group, **{'group.protocol': 'consumer'})
    listing = ADMIN.list_consumer_groups(types={ConsumerGroupType.CONSUMER}).result(LIMIT)
    assert group in [found.group_id for found in listing.valid], listing.valid
    (found,) = done(ADMIN.describe_consumer_groups([group])).values()
    same((ConsumerGroupState.STABLE, 1), (found.state, len(found.members)), 'the description')
    same(4, len(found.members[0].assignment.topic_partitions), 'its assignment')
    member.reader.close()


# --- idempotent and transactional producers -----------------------------------------------------------


def idempotent():
    topic = new_topic('idempotent')
    send(topic, numbers(1, 5000), **{'enable.idempotence': True, 'batch.num.messages': 50})
    same(numbers(1, 5000), values_of(topic))


def transactions():
    topic, source = new_topic('transactions'), new_topic('transactions-source')
    send(source, numbers(1, 10))
    producer = Producer({'bootstrap.servers': BOOTSTRAP, 'transactional.id': PREFIX + 'transactions'})
    producer.init_transactions(LIMIT)

    def write(value):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(LIMIT)

    write(b'committed')
    producer.commit_transaction(LIMIT)
    write(b'aborted')
    producer.abort_transaction(LIMIT)

    reader = consumer(PREFIX + 'transactions')
    reader.assign([TopicPartition(source, 0, OFFSET_BEGINNING)])
    for ends, value in ((producer.abort_transaction, b'aborted with offsets'), (producer.commit_transaction, b'with offsets')):
        write(value)
        producer.send_offsets_to_transaction([TopicPartition(source, 0, 4)], reader.consumer_group_metadata(), LIMIT)
        ends(LIMIT)
        (committed,) = reader.committed([TopicPartition(source, 0)], LIMIT)
        same(4 if ends == producer.commit_transaction else confluent_kafka.OFFSET_INVALID, committed.offset, f'offset after {value}')
    reader.close()

    same([b'committed', b'with offsets'], values_of(topic, **{'isolation.level': 'read_committed'}), 'read_committed')
    everything = [b'committed', b'aborted', b'aborted with offsets', b'with offsets']
    same(everything, values_of(topic, **{'isolation.level': 'read_uncommitted'}), 'read_uncommitted')

    # Another producer with the same id fences the first.
    other = Producer({'bootstrap.servers': BOOTSTRAP, 'transactional.id': PREFIX + 'transactions'})
    other.init_transactions(LIMIT)
    producer.begin_transaction()
    producer.produce(topic, b'fenced')
    error = refused(KafkaException, producer.commit_transaction, LIMIT).args[0]
    assert error.fatal(), error
    same([b'committed', b'with offsets'], values_of(topic, **{'isolation.level': 'read_committed'}), 'after fencing')


# --- administration ----------------------------------------------------------------------------------


def settings(topic):
    (found,) = done(ADMIN.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)])).values()
    return found


def configs():
    topic = new_topic('configs', **{'retention.ms': '86400000'})
    found = settings(topic)
    same('86400000', found['retention.ms'].value)
    same(('delete', True), (found['cleanup.policy'].value, found['cleanup.policy'].is_default))
    if NEW:
        from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigSource

        change = ConfigEntry('cleanup.policy', 'compact', ConfigSource.DYNAMIC_TOPIC_CONFIG,
                             incremental_operation=AlterConfigOpType.SET)
        done(ADMIN.incremental_alter_configs([ConfigResource('topic', topic, incremental_configs=[change])]))
        same('86400000', settings(topic)['retention.ms'].value, 'what was not altered')
        change.value = 'nonsense'
        futures = ADMIN.incremental_alter_configs([ConfigResource('topic', topic, incremental_configs=[change])])
        same(KafkaError.INVALID_CONFIG, refusal(futures), 'nonsense')
    else:
        done(ADMIN.alter_configs([ConfigResource('topic', topic, set_config={'cleanup.policy': 'compact'})]))
        same('604800000', settings(topic)['retention.ms'].value, 'what was not said again')
        futures = ADMIN.alter_configs([ConfigResource('topic', topic, set_config={'cleanup.policy': 'nonsense'})])
        same(KafkaError.INVALID_CONFIG, refusal(futures), 'nonsense')
    same(('compact', False), (settings(topic)['cleanup.policy'].value, settings(topic)['cleanup.policy'].is_default))


def delete_records():
    topic = new_topic('delete-records')
    send(topic, numbers(0, 9))
    (deleted,) = done(ADMIN.delete_records([TopicPartition(topic, 0, 6)])).values()
    same(6, deleted.low_watermark)
    same(numbers(6, 9), values_of(topic))
    same((6, 10), consumer().get_watermark_offsets(TopicPartition(topic, 0), LIMIT))
    same(KafkaError.OFFSET_OUT_OF_RANGE, refusal(ADMIN.delete_records([TopicPartition(topic, 0, 11)])), 'beyond the end')


def groups():
    from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions

    topic, group = new_topic('groups', 4), PREFIX + 'groups'
    send(topic, numbers(1, 5))
    member = Member(group, topic, **{'client.id': 'somebody'})
    wait('it reads', [member], lambda: len(member.read) == 5)
    member.reader.commit(asynchronous=False)

    listing = ADMIN.list_consumer_groups().result(LIMIT)
    same([(group, ConsumerGroupState.STABLE)], [(g.group_id, g.state) for g in listing.valid if g.group_id == group], 'the list')
    (found,) = done(ADMIN.describe_consumer_groups([group])).values()
    same((ConsumerGroupState.STABLE, 'range'), (found.state, found.partition_assignor), 'the description')
    same([('somebody', 4)], [(m.client_id, len(m.assignment.topic_partitions)) for m in found.members], 'its members')

    def offsets():
        (found,) = done(ADMIN.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])).values()
        return {partition.partition: partition.offset for partition in found.topic_partitions if partition.offset >= 0}

    same({0: 5}, offsets(), 'its offsets')
    same(KafkaError.NON_EMPTY_GROUP, refusal(ADMIN.delete_consumer_groups([group])), 'deleting it while it has a member')
    altered = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 2), TopicPartition(topic, 3, 0)])
    same(KafkaError.UNKNOWN_MEMBER_ID, refused(
        KafkaException, lambda: [p.error and raise_(p.error) for p in first(ADMIN.alter_consumer_group_offsets([altered])).topic_partitions],
    ).args[0].code(), 'altering while it has a member')
    member.reader.close()
    first(ADMIN.alter_consumer_group_offsets([altered]))
    same({0: 2, 3: 0}, offsets(), 'its offsets, altered')
    done(ADMIN.delete_consumer_groups([group]))
    assert group not in [found.group_id for found in ADMIN.list_consumer_groups().result(LIMIT).valid]
    same(KafkaError.GROUP_ID_NOT_FOUND, refusal(ADMIN.delete_consumer_groups([group])), 'deleting it again')


def first(futures):
    (answer,) = done(futures).values()
    return answer


def raise_(error):
    raise KafkaException(error)


def acls():
    from confluent_kafka.admin import (AclBinding, AclBindingFilter, AclOperation, AclPermissionType,
                                       ResourcePatternType, ResourceType)

    everything = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY)
    binding = AclBinding(ResourceType.TOPIC, 'topic', ResourcePatternType.LITERAL, 'User:somebody', '*', AclOperation.READ,
                         AclPermissionType.ALLOW)
    # describe_acls returns an empty list, whatever the broker answers.
    same([], ADMIN.describe_acls(everything).result(LIMIT), 'describe')
    same(KafkaError.SECURITY_DISABLED, refusal(ADMIN.create_acls([binding])), 'create')
    same(KafkaError.SECURITY_DISABLED, refusal(ADMIN.delete_acls([everything])), 'delete')


# --- a restart ---------------------------------------------------------------------------------------


def restart_before():
    topic = new_topic('restart')
    send(topic, numbers(1, 2000), acks='all')
    member = Member(PREFIX + 'restart', topic)
    wait('it reads', [member], lambda: len(member.read) >= 7)
    member.reader.commit(offsets=[TopicPartition(topic, 0, 7)], asynchronous=False)
    member.reader.close()


def restart_after():
    topic = PREFIX + 'restart'
    same(numbers(1, 2000), values_of(topic))
    member = Member(PREFIX + 'restart', topic)
    wait('it reads the rest', [member], lambda: len(member.read) >= 1993)
    same(numbers(8, 2000), member.read, 'what the group had left')
    member.reader.close()
    send(topic, [b'2001'])
    same([b'2001'], values_of(topic, 2000), 'what came later')


ROWS = {
    'metadata': metadata, 'topics': topics, 'partitions': partitions, 'codecs': codecs, 'values': values, 'large': large,
    'fetch': fetch, 'range': out_of_range, 'group': group, 'resume': resume, 'static': static, 'cooperative': cooperative,
    'kip-848': new_protocol, 'idempotent': idempotent, 'transactions': transactions, 'configs': configs,
    'delete-records': delete_records, 'groups': groups, 'acls': acls, 'sasl': not_written,
    'restart-before': restart_before, 'restart-after': restart_after,
}
if not NEW:
    ROWS |= dict.fromkeys(('kip-848', 'delete-records', 'groups', 'acls'), 'not in this version')

play(ROWS)
