"""Plays the rows in the arguments with aiokafka: 0.14, and 0.7, which has no admin client, no zstd and no static members."""

import asyncio
import os
import time
from contextlib import asynccontextmanager

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition, errors

from matrix_asyncio import BOOTSTRAP, LIMIT, PREFIX, not_written, play, refused, same, until

NEW = int(aiokafka.__version__.split('.')[1]) >= 8

if NEW:
    from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
else:
    import kafka.admin  # 0.7 is built on it, and its users take the admin client from there


@asynccontextmanager
async def admin():
    client = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def new_topic(name, partitions=1, **configs):
    topic = PREFIX + name
    if NEW:
        async with admin() as client:
            same([0], codes(await client.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])), 'create')
            await until('the topic is known', lambda: listed(client, topic))
    else:
        await asyncio.to_thread(create_by_kafka_python, topic, partitions)
    return topic


def create_by_kafka_python(topic, partitions):
    client = kafka.admin.KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    client.create_topics([kafka.admin.NewTopic(topic, partitions, 1)])
    client.close()


def codes(answer):
    """Takes an answer about topics; errors are numbers in it."""
    return [code for _, code, *_ in (answer.topic_errors if hasattr(answer, 'topic_errors') else answer.topic_error_codes)]


async def described(client, topic):
    """Its partitions, each with leader, replicas and ISR, from the list of all topics; or None."""
    for found in await client.describe_topics():
        if found['topic'] == topic:
            names = ('partition', 'leader', 'replicas', 'isr')
            return sorted(tuple(partition[name] for name in names) for partition in found['partitions']) or None


async def listed(client, topic):
    found = await described(client, topic)
    return found and [partition for partition, *_ in found]


async def send(topic, values, partition=0, **config):
    """Sends values, or dictionaries of arguments of `send`. All are acknowledged, or the first error is raised."""
    async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, **config) as producer:
        sent = []
        for value in values:
            fields = value if isinstance(value, dict) else {'value': value}
            sent.append(await producer.send(topic, partition=partition, **fields))
        await producer.flush()
        return [record and record.offset for record in await asyncio.gather(*sent)]  # with acks=0 there is no record


def consumer(*topics, **config):
    return AIOKafkaConsumer(
        *topics, bootstrap_servers=BOOTSTRAP, **{'enable_auto_commit': False, 'auto_offset_reset': 'earliest', **config})


@asynccontextmanager
async def reading(at, offset=None, **config):
    """A consumer at an offset of the partition, or at its beginning."""
    async with consumer(**config) as reader:
        reader.assign([at])
        if offset is None:
            await reader.seek_to_beginning(at)
        else:
            reader.seek(at, offset)
        yield reader


async def read(topic, offset=None, partition=0, end=None, **config):
    """The records from the offset, or from the beginning, to the end."""
    at = TopicPartition(topic, partition)
    async with reading(at, offset, **config) as reader:
        end = end or (await reader.end_offsets([at]))[at]
        found = []

        async def more():
            return await reader.position(at) >= end or found.extend(await next_of(reader))

        await until(f'the end of {topic}', more)
        return found


async def next_of(reader):
    return [record for records in (await reader.getmany(timeout_ms=200)).values() for record in records]


async def values_of(*arguments, **config):
    return [record.value for record in await read(*arguments, **config)]


async def next_values(reader):
    """The next values, as soon as there are some."""

    async def some():
        return await next_of(reader) or None

    return [record.value for record in await until('a record', some)]


def numbers(first, last):
    return [b'%d' % number for number in range(first, last + 1)]


# --- topics and records ------------------------------------------------------------------------------


async def metadata():
    topic = await new_topic('metadata', 3)
    async with AIOKafkaProducer(bootstrap_servers=BOOTSTRAP) as producer:
        same({0, 1, 2}, await producer.partitions_for(topic), 'what a producer knows')
        cluster = await producer.client.fetch_all_metadata()
        (broker,) = cluster.brokers()
        same(int(BOOTSTRAP.rsplit(':', 1)[1]), broker.port, 'the port')
        same(broker.nodeId, cluster.controller.nodeId, 'the controller')
        same([broker.nodeId] * 3, [cluster.leader_for_partition(TopicPartition(topic, partition)) for partition in range(3)])
    async with consumer(topic) as reader:
        assert topic in await reader.topics()
        same({0, 1, 2}, reader.partitions_for_topic(topic), 'what a consumer knows')
    if NEW:
        async with admin() as client:
            found = await client.describe_cluster()
            same(([broker.nodeId], broker.nodeId), ([b['node_id'] for b in found['brokers']], found['controller_id']), 'the cluster')
            id = broker.nodeId
            same([(partition, id, [id], [id]) for partition in range(3)], await described(client, topic))


async def topics():
    topic = await new_topic('topics', 2, **{'cleanup.policy': 'compact'})
    async with admin() as client:
        same([0, 1], await listed(client, topic), 'partitions')
        assert topic in await client.list_topics()
        same([errors.TopicAlreadyExistsError.errno], codes(await client.create_topics([NewTopic(topic, 1, 1)])), 'the same again')
        same([errors.InvalidTopicError.errno], codes(await client.create_topics([NewTopic('no/slashes', 1, 1)])), 'an illegal name')
        same([0], codes(await client.delete_topics([topic])), 'delete')

        async def gone():
            return await listed(client, topic) is None

        await until('the topic is gone', gone)
        same([errors.UnknownTopicOrPartitionError.errno], codes(await client.delete_topics([topic])), 'deleting it again')


async def partitions():
    topic = await new_topic('partitions')
    await send(topic, [b'old'])
    async with admin() as client:
        await client.create_partitions({topic: NewPartitions(3)})
        await refused(errors.InvalidPartitionsError, client.create_partitions({topic: NewPartitions(2)}))

        async def three():
            return await listed(client, topic) == [0, 1, 2]

        await until('three partitions', three)
    await send(topic, [b'new'], partition=2)
    same([[b'old'], [], [b'new']], [await values_of(topic, partition=partition) for partition in range(3)])


async def codecs():
    for codec in (None, 'gzip', 'snappy', 'lz4', *(['zstd'] if NEW else [])):
        topic = await new_topic(f'{codec}')
        for first, acks in ((1, 'all'), (501, 1), (1001, 0)):
            await send(topic, numbers(first, first + 499), acks=acks, compression_type=codec, linger_ms=20)
        # With acks=0 the producer does not wait, so the reader gets the end offset.
        same(numbers(1, 1500), await values_of(topic, end=1500), codec)


async def values():
    topic = await new_topic('values')
    now = int(time.time() * 1000)
    headers = [('b', b'2'), ('a', b'1'), ('a', b'3'), ('none', None), ('empty', b'')]
    await send(topic, [
        {'key': b'key', 'value': b'value', 'headers': headers, 'timestamp_ms': now - 5000},
        {'key': None, 'value': b'no key'},
        {'key': b'no value', 'value': None},
        {'key': b'', 'value': b''},
        {'key': 'ключ'.encode(), 'value': '値'.encode()},
    ])
    found = await read(topic)
    same(
        [(b'key', b'value'), (None, b'no key'), (b'no value', None), (b'', b''), ('ключ'.encode(), '値'.encode())],
        [(record.key, record.value) for record in found],
    )
    same(headers, list(found[0].headers), 'headers')
    same((0, now - 5000), (found[0].timestamp_type, found[0].timestamp), 'timestamp')


async def large():
    topic = await new_topic('large')
    big = os.urandom(1_000_000)
    await send(topic, [big], max_request_size=3_000_000)
    await refused(errors.MessageSizeTooLargeError, send(topic, [os.urandom(1_500_000)], max_request_size=3_000_000))
    await send(topic, [b'small'])
    same([(0, True), (1, False)], [(record.offset, record.value == big) for record in await read(topic)])


async def fetch():
    topic = await new_topic('fetch')
    start = int(time.time() * 1000) - 1_000_000
    await send(topic, [{'value': b'%d' % number, 'timestamp_ms': start + 1000 * number} for number in range(100)])
    same(numbers(0, 99), await values_of(topic), 'from the beginning')
    same(numbers(40, 99), await values_of(topic, 40), 'from offset 40')
    at = TopicPartition(topic, 0)
    async with reading(at) as reader:
        same(({at: 0}, {at: 100}), (await reader.beginning_offsets([at]), await reader.end_offsets([at])), 'beginning and end')
        for asked, offset in ((start, 0), (start + 70_000, 70), (start + 70_001, 71)):
            found = (await reader.offsets_for_times({at: asked}))[at]
            same((offset, start + 1000 * offset), (found.offset, found.timestamp), f'the offset of time {asked - start}')
        same({at: None}, await reader.offsets_for_times({at: start + 99_001}), 'after the last')
        await reader.seek_to_end(at)
        same(100, await reader.position(at), 'the end')
        await send(topic, [b'100'])
        same([b'100'], await next_values(reader), 'what came after')


async def out_of_range():
    topic = await new_topic('range')
    at = TopicPartition(topic, 0)
    await send(topic, numbers(1, 3))
    async with reading(at, 99, auto_offset_reset='earliest') as reader:
        same(numbers(1, 3), await next_values(reader), 'earliest')
    async with reading(at, 99, auto_offset_reset='latest') as reader:

        async def at_the_end():
            return await next_of(reader) or await reader.position(at) == 3

        same(True, await until('it stands at the end', at_the_end), 'nothing is read')
        await send(topic, numbers(4, 4))
        same(numbers(4, 4), await next_values(reader), 'latest')
    async with reading(at, 99, auto_offset_reset='none') as reader:
        error = await refused(errors.OffsetOutOfRangeError, next_values(reader))
        same({at: 99}, error.args[0], 'the error')


# --- groups ------------------------------------------------------------------------------------------


class Member(ConsumerRebalanceListener):
    """A member of a group; it is polled while a test waits for it. It records assigned and revoked partitions."""

    def __init__(self, group, topic, **config):
        self.reader, self.topic = consumer(group_id=group, **config), topic
        self.given, self.taken, self.read = [], [], []
        self.reader.subscribe([topic], listener=self)

    @classmethod
    async def start(cls, *arguments, **config):
        """Returns when the member has joined the group and got its partitions."""
        member = cls(*arguments, **config)
        await asyncio.wait_for(member.reader.start(), LIMIT)
        return member

    def on_partitions_assigned(self, assigned):
        self.given.append({partition.partition for partition in assigned})

    def on_partitions_revoked(self, revoked):
        self.taken.append({partition.partition for partition in revoked})

    @property
    def owned(self):
        return {partition.partition for partition in self.reader.assignment()}

    async def poll(self):
        self.read += [record.value for record in await next_of(self.reader)]

    async def commit(self, offset=None, partition=0):
        await self.reader.commit({TopicPartition(self.topic, partition): offset} if offset is not None else None)

    async def stop(self):
        await self.reader.stop()


async def wait(what, members, condition):
    """Polls the members until the condition holds."""

    async def attempt():
        await asyncio.gather(*(member.poll() for member in members))
        return condition() or None

    await until(what, attempt)


def shared(members):
    """Whether the members own the four partitions of the topic, the same number each."""
    owned = sorted(partition for member in members for partition in member.owned)
    return owned == [0, 1, 2, 3] and all(len(member.owned) * len(members) == 4 for member in members)


async def group():
    topic, name = await new_topic('group', 4), PREFIX + 'group'
    one = await Member.start(name, topic)
    await wait('one has all', [one], lambda: shared([one]))
    two = await Member.start(name, topic)
    both = [one, two]
    await wait('two have half each', both, lambda: shared(both))
    for partition in range(4):
        await send(topic, [b'%d' % partition], partition)
    await wait('each reads its own', both, lambda: len(one.read) + len(two.read) == 4)
    for member in both:
        same(sorted(b'%d' % partition for partition in member.owned), sorted(member.read), 'what a member read')
        await member.commit()
        member.read.clear()
    await one.stop()
    await wait('the other has all', [two], lambda: shared([two]))
    for partition in range(4):
        await send(topic, [b'%d' % partition], partition)
    await wait('the other reads all', [two], lambda: len(two.read) == 4)
    same(numbers(0, 3), sorted(two.read), 'what the other read')
    await two.stop()


async def resume():
    topic = await new_topic('resume')
    await send(topic, numbers(1, 20))

    async def take(name, count):
        member = await Member.start(PREFIX + name, topic)
        await wait(f'{count} messages', [member], lambda: len(member.read) >= count)
        await member.commit(int(member.read[0]) - 1 + count)
        await member.stop()
        return member.read[:count]

    same(numbers(1, 12), await take('resume', 12))
    same(numbers(13, 20), await take('resume', 8), 'the rest')
    await send(topic, numbers(21, 25))
    same(numbers(21, 25), await take('resume', 5), 'what came later')
    same(numbers(1, 25), await take('resume-other', 25), 'another group')
    async with consumer(group_id=PREFIX + 'resume') as asks:
        same(25, await asks.committed(TopicPartition(topic, 0)), 'committed')


async def static():
    topic = await new_topic('static', 4)
    start = lambda name: Member.start(PREFIX + 'static', topic, group_instance_id=name, session_timeout_ms=45_000)
    one = await start('one')
    two = await start('two')
    await wait('two have half each', [one, two], lambda: shared([one, two]))
    had, given, taken = one.owned, list(two.given), list(two.taken)
    await one.stop()
    again = await start('one')
    await wait('it has its partitions again', [again, two], lambda: again.owned)
    same(had, again.owned, 'the partitions of the one that came back')
    # A commit of the old generation would be refused.
    await two.commit(0, min(two.owned))
    same((given, taken), (two.given, two.taken), 'what the other was given and lost')
    await again.stop()
    await two.stop()


# --- idempotent and transactional producers -----------------------------------------------------------


async def idempotent():
    topic = await new_topic('idempotent')
    same(list(range(5000)), await send(topic, numbers(1, 5000), enable_idempotence=True, max_batch_size=500), 'offsets')
    same(numbers(1, 5000), await values_of(topic))


async def transactions():
    topic, source, group = await new_topic('transactions'), await new_topic('transactions-source'), PREFIX + 'transactions'
    await send(source, numbers(1, 10))
    start = lambda: AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, transactional_id=PREFIX + 'transactions')
    at = TopicPartition(source, 0)
    async with start() as producer, consumer(group_id=group) as asks:

        async def write(value):
            await producer.begin_transaction()
            await producer.send_and_wait(topic, value)

        await write(b'committed')
        await producer.commit_transaction()
        await write(b'aborted')
        await producer.abort_transaction()
        for ends, value, offset in (
            (producer.abort_transaction, b'aborted with offsets', None),
            (producer.commit_transaction, b'with offsets', 4),
        ):
            await write(value)
            await producer.send_offsets_to_transaction({at: 4}, group)
            await ends()

            async def settled():
                # Kafka answers before the transaction has ended.
                return await asks.committed(at) == offset

            await until(f'offset {offset} after {value}', settled)

        # A marker follows each of the four.
        visible = lambda: values_of(topic, end=8, isolation_level='read_committed')
        same([b'committed', b'with offsets'], await visible(), 'read_committed')
        everything = [b'committed', b'aborted', b'aborted with offsets', b'with offsets']
        same(everything, await values_of(topic, end=8), 'read_uncommitted')

        # Another producer with the same id fences the first.
        async with start():
            await producer.begin_transaction()
            await refused(errors.ProducerFenced, producer.send_and_wait(topic, b'fenced'))
        same([b'committed', b'with offsets'], await visible(), 'after fencing')


# --- administration ----------------------------------------------------------------------------------


async def configs():
    topic = await new_topic('configs', **{'retention.ms': '86400000'})
    async with admin() as client:

        async def settings():
            """Name: (value, whether it is the default)."""
            (answer,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
            ((code, _, _, name, entries),) = answer.resources
            same((0, topic), (code, name))
            return {entry[0]: (entry[1], entry[3] != 1) for entry in entries}

        async def alter(name, value):
            """Alters one setting and drops the others; returns the code."""
            (answer,) = await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})])
            ((code, *_),) = answer.resources
            return code

        same(('86400000', False), (await settings())['retention.ms'])
        same(('delete', True), (await settings())['cleanup.policy'])
        same(0, await alter('cleanup.policy', 'compact'))

        async def known():
            return (await settings())['cleanup.policy'] == ('compact', False)

        await until('the alteration is known', known)
        same(('604800000', True), (await settings())['retention.ms'], 'the other setting')
        same(errors.InvalidConfigurationError.errno, await alter('cleanup.policy', 'nonsense'))


async def delete_records():
    topic = await new_topic('delete-records')
    at = TopicPartition(topic, 0)
    await send(topic, numbers(0, 9))
    async with admin() as client:
        same({at: 6}, await client.delete_records({at: RecordsToDelete(6)}))
        same(numbers(6, 9), await values_of(topic))
        async with consumer() as reader:
            same(({at: 6}, {at: 10}), (await reader.beginning_offsets([at]), await reader.end_offsets([at])), 'beginning and end')
        await refused(errors.OffsetOutOfRangeError, client.delete_records({at: RecordsToDelete(11)}))


async def groups():
    """aiokafka has no call that deletes a group."""
    from aiokafka.coordinator.protocol import ConsumerProtocol

    topic, group = await new_topic('groups', 4), PREFIX + 'groups'
    await send(topic, numbers(1, 5))
    member = await Member.start(group, topic, client_id='somebody')
    await wait('it reads', [member], lambda: len(member.read) == 5)
    await member.commit()
    async with admin() as client:

        async def offsets():
            found = await client.list_consumer_group_offsets(group)
            return {at.partition: stored.offset for at, stored in found.items()}

        async def describe():
            (answer,) = await client.describe_consumer_groups([group])
            ((code, name, *found),) = answer.groups
            same((0, group), (code, name))
            return found[:4]

        assert (group, 'consumer') in await client.list_consumer_groups()
        *found, members = await describe()
        same(['Stable', 'consumer', 'roundrobin'], found, 'the description')
        ((_, client_id, _, _, assignment),) = members
        same('somebody', client_id, 'its member')
        same([(topic, [0, 1, 2, 3])], ConsumerProtocol.ASSIGNMENT.decode(assignment).assignment, 'what it has')
        same(5, (await offsets())[0], 'its offset')

        # A consumer that is not a member alters the offsets while the group has no members.
        altered = {TopicPartition(topic, 0): 2, TopicPartition(topic, 3): 0}
        async with consumer(group_id=group) as outside:
            outside.assign(list(altered))
            await refused(errors.CommitFailedError, outside.commit(altered))
            await member.stop()
            same(['Empty', 'consumer', '', []], await describe(), 'the description without a member')
            await outside.commit(altered)
        same((2, 0), ((await offsets())[0], (await offsets())[3]), 'its offsets, altered')


# --- a restart ---------------------------------------------------------------------------------------


async def restart_before():
    topic = await new_topic('restart')
    await send(topic, numbers(1, 2000), acks='all')
    member = await Member.start(PREFIX + 'restart', topic)
    await wait('it reads', [member], lambda: len(member.read) >= 7)
    await member.commit(7)
    await member.stop()


async def restart_after():
    topic = PREFIX + 'restart'
    same(numbers(1, 2000), await values_of(topic))
    member = await Member.start(PREFIX + 'restart', topic)
    await wait('it reads the rest', [member], lambda: len(member.read) >= 1993)
    same(numbers(8, 2000), member.read, 'what the group had left')
    await member.stop()
    await send(topic, [b'2001'])
    same([b'2001'], await values_of(topic, 2000), 'what came later')


ROWS = {
    'metadata': metadata, 'topics': topics, 'partitions': partitions, 'codecs': codecs, 'values': values, 'large': large,
    'fetch': fetch, 'range': out_of_range, 'group': group, 'resume': resume, 'static': static, 'idempotent': idempotent,
    'transactions': transactions, 'configs': configs, 'delete-records': delete_records, 'groups': groups, 'sasl': not_written,
    'restart-before': restart_before, 'restart-after': restart_after,
}
if not NEW:
    ROWS |= dict.fromkeys(('topics', 'partitions', 'static', 'configs', 'delete-records', 'groups'), 'not in this version')

play(ROWS)
