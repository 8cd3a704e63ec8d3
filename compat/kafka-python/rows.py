"""Plays the rows in the arguments with kafka-python: version 3, and 2.0.2, which has no idempotence and no static members."""

import os
import queue
import threading
import time

import kafka
from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka import errors
from kafka.admin import (ACL, ACLFilter, ACLOperation, ACLPermissionType, ACLResourcePatternType, ConfigResource,
                         ConfigResourceType, NewPartitions, NewTopic, ResourcePattern, ResourcePatternFilter, ResourceType)

from matrix import BOOTSTRAP, LIMIT, PREFIX, not_written, play, refused, same, until

NEW = int(kafka.__version__.split('.')[0]) >= 3

_of_thread = threading.local()


def admin():
    """The admin client of this thread; kafka-python's must not be shared."""
    if not hasattr(_of_thread, 'admin'):
        _of_thread.admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    return _of_thread.admin


def new_topic(name, partitions=1, **configs):
    topic = PREFIX + name
    if NEW:
        admin().create_topics({topic: {'num_partitions': partitions, 'configs': configs}}, wait_for_metadata=True)
    else:
        admin().create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])
        until('the topic is known', lambda: listed(topic))
    return topic


def listed(topic):
    """Its partitions in the list of all topics, or None."""
    names = ('name', 'partition_index') if NEW else ('topic', 'partition')
    for found in admin().describe_topics():
        if found[names[0]] == topic:
            return sorted(partition[names[1]] for partition in found['partitions']) or None


def described(topic):
    names = ('partition_index', 'leader_id', 'replica_nodes', 'isr_nodes') if NEW else ('partition', 'leader', 'replicas', 'isr')
    (found,) = admin().describe_topics([topic])
    return sorted(tuple(partition[name] for name in names) for partition in found['partitions'])


def send(topic, values, partition=0, **config):
    """Sends values, or dictionaries of arguments of `send`. All are acknowledged, or the first error is raised."""
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, **config)
    sent = []
    for value in values:
        fields = value if isinstance(value, dict) else {'value': value}
        sent.append(producer.send(topic, partition=partition, **fields))
    producer.flush(LIMIT)
    offsets = [future.get(LIMIT).offset for future in sent]
    producer.close()
    return offsets


def consumer(*topics, **config):
    return KafkaConsumer(*topics, bootstrap_servers=BOOTSTRAP, **{'enable_auto_commit': False, 'auto_offset_reset': 'earliest', **config})


def read(topic, offset=None, partition=0, end=None, **config):
    """The records from the offset, or from the beginning, to the end."""
    reader = consumer(**config)
    at = TopicPartition(topic, partition)
    reader.assign([at])
    reader.seek_to_beginning(at) if offset is None else reader.seek(at, offset)
    end = end or reader.end_offsets([at])[at]
    found = []
    until(f'the end of {topic}', lambda: reader.position(at) >= end or found.extend(next_of(reader)))
    reader.close()
    return found


def next_of(reader):
    return [record for records in reader.poll(1000).values() for record in records]


def values_of(*arguments, **config):
    return [record.value for record in read(*arguments, **config)]


def numbers(first, last):
    return [b'%d' % number for number in range(first, last + 1)]


# --- topics and records ------------------------------------------------------------------------------


def metadata():
    topic = new_topic('metadata', 3)
    cluster = admin().describe_cluster()
    (broker,) = cluster['brokers']
    id = broker['broker_id' if NEW else 'node_id']
    same(id, cluster['controller_id'], 'the controller')
    same(int(BOOTSTRAP.rsplit(':', 1)[1]), broker['port'], 'the port')
    same([(partition, id, [id], [id]) for partition in range(3)], described(topic))
    reader = consumer()
    assert topic in reader.topics()
    same({0, 1, 2}, reader.partitions_for_topic(topic))
    reader.close()


def topics():
    topic = new_topic('topics', 2, **{'cleanup.policy': 'compact'})
    same([0, 1], listed(topic), 'partitions')
    assert topic in admin().list_topics()
    refused(errors.TopicAlreadyExistsError, admin().create_topics, [NewTopic(topic, 1, 1)])
    refused(errors.InvalidTopicError, admin().create_topics, [NewTopic('no/slashes', 1, 1)])
    admin().delete_topics([topic])
    until('the topic is gone', lambda: listed(topic) is None)
    refused(errors.UnknownTopicOrPartitionError, admin().delete_topics, [topic])


def partitions():
    topic = new_topic('partitions')
    send(topic, [b'old'])
    admin().create_partitions({topic: NewPartitions(3)})
    refused(errors.InvalidPartitionsError, admin().create_partitions, {topic: NewPartitions(2)})
    until('three partitions', lambda: listed(topic) == [0, 1, 2])
    send(topic, [b'new'], partition=2)
    same([[b'old'], [], [b'new']], [values_of(topic, partition=partition) for partition in range(3)])


def codecs():
    for codec in (None, 'gzip', 'snappy', 'lz4', 'zstd'):
        topic = new_topic(f'{codec}')
        for first, acks in ((1, 'all'), (501, 1), (1001, 0)):
            send(topic, numbers(first, first + 499), acks=acks, compression_type=codec, linger_ms=20)
        # With acks=0 the producer does not wait, so the reader gets the end offset.
        same(numbers(1, 1500), values_of(topic, end=1500), codec)


def values():
    topic = new_topic('values')
    now = int(time.time() * 1000)
    headers = [('b', b'2'), ('a', b'1'), ('a', b'3'), ('empty', b'')]  # kafka-python cannot send null here
    send(topic, [
        {'key': b'key', 'value': b'value', 'headers': headers, 'timestamp_ms': now - 5000},
        {'key': None, 'value': b'no key'},
        {'key': b'no value', 'value': None},
        {'key': b'', 'value': b''},
        {'key': 'ключ'.encode(), 'value': '値'.encode()},
    ])
    found = read(topic)
    same(
        [(b'key', b'value'), (None, b'no key'), (b'no value', None), (b'', b''), ('ключ'.encode(), '値'.encode())],
        [(record.key, record.value) for record in found],
    )
    same(headers, list(found[0].headers), 'headers')
    same((0, now - 5000), (found[0].timestamp_type, found[0].timestamp), 'timestamp')


def large():
    topic = new_topic('large')
    big = os.urandom(1_000_000)
    send(topic, [big], max_request_size=3_000_000)
    refused(errors.MessageSizeTooLargeError, send, topic, [os.urandom(1_500_000)], max_request_size=3_000_000)
    send(topic, [b'small'])
    same([(0, True), (1, False)], [(record.offset, record.value == big) for record in read(topic)])


def fetch():
    topic = new_topic('fetch')
    start = int(time.time() * 1000) - 1_000_000
    send(topic, [{'value': b'%d' % number, 'timestamp_ms': start + 1000 * number} for number in range(100)])
    same(numbers(0, 99), values_of(topic), 'from the beginning')
    same(numbers(40, 99), values_of(topic, 40), 'from offset 40')
    reader, at = consumer(), TopicPartition(topic, 0)
    same(({at: 0}, {at: 100}), (reader.beginning_offsets([at]), reader.end_offsets([at])), 'beginning and end')
    for asked, offset in ((start, 0), (start + 70_000, 70), (start + 70_001, 71)):
        found = reader.offsets_for_times({at: asked})[at]
        same((offset, start + 1000 * offset), (found.offset, found.timestamp), f'the offset of time {asked - start}')
    same({at: None}, reader.offsets_for_times({at: start + 99_001}), 'after the last')
    reader.assign([at])
    reader.seek_to_end(at)
    same(100, reader.position(at), 'the end')
    send(topic, [b'100'])
    same([b'100'], [record.value for record in until('a record', lambda: next_of(reader) or None)], 'what came after')
    reader.close()


def out_of_range():
    topic = new_topic('range')
    send(topic, numbers(1, 3))

    def from_99(reset):
        reader = consumer(auto_offset_reset=reset)
        reader.assign([TopicPartition(topic, 0)])
        reader.seek(TopicPartition(topic, 0), 99)
        return reader

    reader = from_99('earliest')
    same(numbers(1, 3), [record.value for record in until('a record', lambda: next_of(reader) or None)], 'earliest')
    reader.close()
    reader = from_99('latest')
    until('it stands at the end', lambda: next_of(reader) or reader.position(TopicPartition(topic, 0)) == 3)
    send(topic, numbers(4, 4))
    same(numbers(4, 4), [record.value for record in until('a record', lambda: next_of(reader) or None)], 'latest')
    reader.close()
    reader = from_99('none')
    error = refused(errors.OffsetOutOfRangeError, until, 'an error', lambda: next_of(reader) or None)
    same({TopicPartition(topic, 0): 99}, error.args[0], 'the error')
    reader.close()


# --- groups ------------------------------------------------------------------------------------------

moved = threading.Condition()  # some member has polled


class Member(ConsumerRebalanceListener):
    """A member of a group on its own thread, because kafka-python's poll waits until the whole group has joined."""

    def __init__(self, group, topic, **config):
        self.owned, self.given, self.taken, self.read, self.error = set(), [], [], [], None
        self.topic, self.wishes, self.group = topic, queue.Queue(), group
        self.thread = threading.Thread(target=self.run, kwargs=config, daemon=True)
        self.thread.start()

    def run(self, **config):
        try:
            self.reader = consumer(group_id=self.group, **config)
            # Version 3 may loop for ever if it joins before it knows the topic's partitions, so it looks them up first.
            self.reader.partitions_for_topic(self.topic)
            self.reader.subscribe([self.topic], listener=self)
            wish = None
            while wish != self.reader.close:
                found = [record.value for records in self.reader.poll(100).values() for record in records]
                with moved:
                    self.read += found
                    self.owned = {partition.partition for partition in self.reader.assignment()}
                    moved.notify_all()
                try:
                    wish, done = self.wishes.get_nowait()
                except queue.Empty:
                    continue
                done.put(wish())
        except Exception as error:
            self.error = error

    def on_partitions_assigned(self, assigned):
        self.given.append({partition.partition for partition in assigned})

    def on_partitions_revoked(self, revoked):
        self.taken.append({partition.partition for partition in revoked})

    def do(self, wish):
        """Runs the call on the member's thread, because a consumer must not be shared."""
        done = queue.Queue()
        self.wishes.put((wish, done))
        return done.get(timeout=LIMIT)

    def commit(self, offset=None, partition=0):
        at = {TopicPartition(self.topic, partition): committed(offset)} if offset is not None else None
        self.do(lambda: self.reader.commit(at))

    def close(self):
        self.do(self.reader.close)
        self.thread.join(LIMIT)


def committed(offset):
    return OffsetAndMetadata(offset, '', -1) if NEW else OffsetAndMetadata(offset, '')


def wait(what, members, condition):
    def attempt():
        for member in members:
            if member.error:
                raise member.error
        with moved:
            return bool(condition()) or (moved.wait(1) and None)

    until(what, attempt)


def shared(members):
    """Whether the members own the four partitions of the topic, the same number each."""
    owned = sorted(partition for member in members for partition in member.owned)
    return owned == [0, 1, 2, 3] and all(len(member.owned) * len(members) == 4 for member in members)


def group():
    topic, name = new_topic('group', 4), PREFIX + 'group'
    one = Member(name, topic)
    wait('one has all', [one], lambda: shared([one]))
    two = Member(name, topic)
    both = [one, two]
    wait('two have half each', both, lambda: shared(both))
    for partition in range(4):
        send(topic, [b'%d' % partition], partition)
    wait('each reads its own', both, lambda: len(one.read) + len(two.read) == 4)
    for member in both:
        same(sorted(b'%d' % partition for partition in member.owned), sorted(member.read), 'what a member read')
        member.commit()
        member.read.clear()
    one.close()
    wait('the other has all', [two], lambda: shared([two]))
    for partition in range(4):
        send(topic, [b'%d' % partition], partition)
    wait('the other reads all', [two], lambda: len(two.read) == 4)
    same(numbers(0, 3), sorted(two.read), 'what the other read')
    two.close()


def resume():
    topic = new_topic('resume')
    send(topic, numbers(1, 20))

    def take(name, count):
        member = Member(PREFIX + name, topic)
        wait(f'{count} messages', [member], lambda: len(member.read) >= count)
        member.commit(int(member.read[0]) - 1 + count)
        member.close()
        return member.read[:count]

    same(numbers(1, 12), take('resume', 12))
    same(numbers(13, 20), take('resume', 8), 'the rest')
    send(topic, numbers(21, 25))
    same(numbers(21, 25), take('resume', 5), 'what came later')
    same(numbers(1, 25), take('resume-other', 25), 'another group')
    asks = consumer(group_id=PREFIX + 'resume')
    same(25, asks.committed(TopicPartition(topic, 0)), 'committed')
    asks.close()


def static():
    topic = new_topic('static', 4)
    start = lambda name: Member(PREFIX + 'static', topic, group_instance_id=name, session_timeout_ms=45_000)
    one, two = start('one'), start('two')
    wait('two have half each', [one, two], lambda: shared([one, two]))
    had, given, taken = set(one.owned), list(two.given), list(two.taken)
    one.close()
    again = start('one')
    wait('it has its partitions again', [again, two], lambda: again.owned)
    same(had, again.owned, 'the partitions of the one that came back')
    # A commit of the old generation would be refused.
    two.commit(0, min(two.owned))
    same((given, taken), (two.given, two.taken), 'what the other was given and lost')
    again.close()
    two.close()


def cooperative():
    from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

    topic = new_topic('cooperative', 4)
    start = lambda: Member(PREFIX + 'cooperative', topic, partition_assignment_strategy=[CooperativeStickyAssignor])
    one = start()
    wait('one has all', [one], lambda: shared([one]))
    two = start()
    wait('two have half each', [one, two], lambda: shared([one, two]))
    same([2], [len(taken) for taken in one.taken if taken], 'how many the first lost')
    same({0, 1, 2, 3} - one.owned, two.owned, 'what the second has')
    same([{0, 1, 2, 3}], [given for given in one.given if given], 'what the first was given')
    one.close()
    wait('the other has all', [two], lambda: shared([two]))
    same([], [taken for taken in two.taken if taken], 'what the second lost')
    two.close()


# --- idempotent and transactional producers -----------------------------------------------------------


def idempotent():
    topic = new_topic('idempotent')
    same(list(range(5000)), send(topic, numbers(1, 5000), enable_idempotence=True, batch_size=500), 'offsets')
    same(numbers(1, 5000), values_of(topic))


def transactions():
    topic, source = new_topic('transactions'), new_topic('transactions-source')
    send(source, numbers(1, 10))
    start = lambda: KafkaProducer(bootstrap_servers=BOOTSTRAP, transactional_id=PREFIX + 'transactions')
    producer = start()
    producer.init_transactions()

    def write(value):
        producer.begin_transaction()
        producer.send(topic, value).get(LIMIT)

    write(b'committed')
    producer.commit_transaction()
    write(b'aborted')
    producer.abort_transaction()

    reader = consumer(group_id=PREFIX + 'transactions')
    at = TopicPartition(source, 0)
    for ends, value, offset in ((producer.abort_transaction, b'aborted with offsets', None), (producer.commit_transaction, b'with offsets', 4)):
        write(value)
        producer.send_offsets_to_transaction({at: committed(4)}, reader.group_metadata())
        ends()
        same(offset, reader.committed(at), f'offset after {value}')
    reader.close()

    same([b'committed', b'with offsets'], values_of(topic, isolation_level='read_committed'), 'read_committed')
    everything = [b'committed', b'aborted', b'aborted with offsets', b'with offsets']
    same(everything, values_of(topic), 'read_uncommitted')

    # Another producer with the same id fences the first.
    other = start()
    other.init_transactions()
    producer.begin_transaction()
    refused(errors.ProducerFencedError, producer.send(topic, b'fenced').get, LIMIT)
    other.close()
    same([b'committed', b'with offsets'], values_of(topic, isolation_level='read_committed'), 'after fencing')


# --- administration ----------------------------------------------------------------------------------


def settings(topic):
    """Name: (value, whether it is the default)."""
    asked = [ConfigResource(ConfigResourceType.TOPIC, topic)]
    if NEW:
        found = admin().describe_configs(asked, config_filter='all')['topic'][topic]
        return {name: (setting['value'], setting['config_source'] != 'DYNAMIC_TOPIC_CONFIG') for name, setting in found.items()}
    ((code, _, _, name, entries),) = admin().describe_configs(asked)[0].resources
    same((0, topic), (code, name))
    return {entry[0]: (entry[1], entry[3] != 1) for entry in entries}


def alter(topic, name, value):
    """Alters one setting (version 2 drops the others) and returns the result."""
    answer = admin().alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs={name: value})])
    if NEW:
        return answer['topic'][topic]
    return answer.resources[0][0]


def configs():
    topic = new_topic('configs', **{'retention.ms': '86400000'})
    same(('86400000', False), settings(topic)['retention.ms'])
    same(('delete', True), settings(topic)['cleanup.policy'])
    alter(topic, 'cleanup.policy', 'compact')
    until('the alteration is known', lambda: settings(topic)['cleanup.policy'] == ('compact', False))
    same('86400000' if NEW else '604800000', settings(topic)['retention.ms'][0], 'the other setting')
    said = alter(topic, 'cleanup.policy', 'nonsense')
    assert 'InvalidConfigurationError' in said if NEW else said == errors.InvalidConfigurationError.errno, said


def delete_records():
    topic = new_topic('delete-records')
    at = TopicPartition(topic, 0)
    send(topic, numbers(0, 9))
    same(6, admin().delete_records({at: 6})[at]['low_watermark'])
    same(numbers(6, 9), values_of(topic))
    reader = consumer()
    same(({at: 6}, {at: 10}), (reader.beginning_offsets([at]), reader.end_offsets([at])), 'beginning and end')
    reader.close()
    refused(errors.OffsetOutOfRangeError, admin().delete_records, {at: 11})


def groups():
    topic, group = new_topic('groups', 4), PREFIX + 'groups'
    send(topic, numbers(1, 5))
    member = Member(group, topic, client_id='somebody')
    wait('it reads', [member], lambda: len(member.read) == 5)
    member.commit()

    def listed_groups():
        if NEW:
            return {found['group_id']: found['protocol_type'] for found in admin().list_groups()}
        return dict(admin().list_consumer_groups())

    def offsets():
        found = admin().list_group_offsets({group: None})[group] if NEW else admin().list_consumer_group_offsets(group)
        return {at.partition: stored.offset for at, stored in found.items() if stored.offset >= 0}

    def delete():
        """The name of the error, or NoError or OK, depending on the version."""
        if NEW:
            return admin().delete_groups([group])[group]
        ((_, error),) = admin().delete_consumer_groups([group])
        return error.__name__

    same('consumer', listed_groups()[group], 'the list')
    if NEW:
        found = admin().describe_groups([group])[group]
        same(('Stable', 'consumer', 'range'), (found['group_state'], found['protocol_type'], found['protocol_data']), 'the description')
        same([('somebody', [0, 1, 2, 3])], [
            (m['client_id'], m['member_assignment']['assigned_partitions'][0]['partitions']) for m in found['members']], 'its members')
    else:
        (found,) = admin().describe_consumer_groups([group])
        same(('Stable', 'consumer', 'range'), (found.state, found.protocol_type, found.protocol), 'the description')
        same([('somebody', [(topic, [0, 1, 2, 3])])], [(m.client_id, m.member_assignment.assignment) for m in found.members], 'its members')
    same(5, offsets()[0], 'its offset')
    same('NonEmptyGroupError', delete(), 'deleting it while it has a member')
    member.close()

    altered = {TopicPartition(topic, 0): committed(2), TopicPartition(topic, 3): committed(0)}
    if NEW:
        admin().alter_group_offsets(group, altered)
    else:
        # Version 2 has no call for it: a consumer that is not a member commits.
        outside = consumer(group_id=group)
        outside.assign(list(altered))
        outside.commit(altered)
        outside.close()
    same((2, 0), (offsets()[0], offsets()[3]), 'its offsets, altered')
    same('OK' if NEW else 'NoError', delete(), 'deleting it')
    assert group not in listed_groups()
    same('GroupIdNotFoundError', delete(), 'deleting it again')


def acls():
    any_topic = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
    everything = ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, any_topic)
    one = ACL('User:somebody', '*', ACLOperation.READ, ACLPermissionType.ALLOW, ResourcePattern(ResourceType.TOPIC, 'topic'))
    refused(errors.SecurityDisabledError, admin().describe_acls, everything)
    (failed,) = admin().create_acls([one])['failed']
    same(errors.SecurityDisabledError, failed if NEW else failed[1], 'create')
    ((_, _, failed),) = admin().delete_acls([everything])
    same(errors.SecurityDisabledError, failed, 'delete')


# --- a restart ---------------------------------------------------------------------------------------


def restart_before():
    topic = new_topic('restart')
    send(topic, numbers(1, 2000), acks='all')
    member = Member(PREFIX + 'restart', topic)
    wait('it reads', [member], lambda: len(member.read) >= 7)
    member.commit(7)
    member.close()


def restart_after():
    topic = PREFIX + 'restart'
    same(numbers(1, 2000), values_of(topic))
    member = Member(PREFIX + 'restart', topic)
    wait('it reads the rest', [member], lambda: len(member.read) >= 1993)
    same(numbers(8, 2000), member.read, 'what the group had left')
    member.close()
    send(topic, [b'2001'])
    same([b'2001'], values_of(topic, 2000), 'what came later')


ROWS = {
    'metadata': metadata, 'topics': topics, 'partitions': partitions, 'codecs': codecs, 'values': values, 'large': large,
    'fetch': fetch, 'range': out_of_range, 'group': group, 'resume': resume, 'static': static, 'cooperative': cooperative,
    'kip-848': 'not in this client', 'idempotent': idempotent, 'transactions': transactions, 'configs': configs,
    'delete-records': delete_records, 'groups': groups, 'acls': acls, 'sasl': not_written,
    'restart-before': restart_before, 'restart-after': restart_after,
}
if not NEW:
    ROWS |= dict.fromkeys(('static', 'cooperative', 'idempotent', 'transactions', 'delete-records'), 'not in this version')

play(ROWS)
