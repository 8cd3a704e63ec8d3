"""The rows of the matrix with aiokafka: 0.14, and 0.7, which has no admin client, no zstd and no static members. Its
coroutines run in one event loop, on a thread of its own."""

import asyncio
import threading

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition, errors
from aiokafka.abc import AbstractTokenProvider
from aiokafka.helpers import create_ssl_context

import client
from client import END, START, Cluster, Group, Record
from matrix import BOOTSTRAP, LIMIT, play, same, until

NEW = int(aiokafka.__version__.split('.')[1]) >= 8

if NEW:
    from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
else:
    import kafka.admin  # 0.7 is built on it, and its users take the admin client from there

LOOP = asyncio.new_event_loop()
threading.Thread(target=LOOP.run_forever, daemon=True).start()


def run(coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, LOOP).result(3 * LIMIT)


class Token(AbstractTokenProvider):
    def __init__(self, text):
        self.text = text

    async def token(self):
        return self.text


def broker(access=None):
    """The settings for its address, and those to get in there."""
    if access is None:
        return {'bootstrap_servers': BOOTSTRAP}
    certificate, key = access.certificate or (None, None)
    config = {'bootstrap_servers': access.bootstrap, 'security_protocol': access.protocol()}
    if access.token:
        config |= {'sasl_mechanism': access.mechanism, 'sasl_oauth_token_provider': Token(access.token)}
    elif access.mechanism:
        config |= {'sasl_mechanism': access.mechanism, 'sasl_plain_username': access.user, 'sasl_plain_password': access.password}
    if access.authority:
        config['ssl_context'] = create_ssl_context(cafile=access.authority, certfile=certificate, keyfile=key)
    return config


async def made(kind, *arguments, **config):
    """Objects of aiokafka are made in the event loop."""
    return kind(*arguments, **{**broker(), **config})


async def started(kind, *arguments, **config):
    one = await made(kind, *arguments, **config)
    await one.start()
    return one


def administer(use):
    """The result of the coroutine function with an admin client."""

    async def used():
        admin = await started(AIOKafkaAdminClient)
        try:
            return await use(admin)
        finally:
            await admin.close()

    return run(used())


def consumer(*topics, **config):
    config = {'enable_auto_commit': False, 'auto_offset_reset': 'earliest', **config}
    return run(started(AIOKafkaConsumer, *topics, **config))


def ask(use, **config):
    """The result of the coroutine function with a consumer."""
    one = consumer(**config)
    try:
        return run(use(one))
    finally:
        run(one.stop())


def check(answer):
    """Raises the error in an answer about one topic; errors are numbers in it."""
    ((_, code, *_),) = answer.topic_errors if hasattr(answer, 'topic_errors') else answer.topic_error_codes
    raise_code(code)


def raise_code(code):
    if code:
        raise errors.for_code(code)


class Reader(client.Reader):
    def __init__(self, at, offset, **config):
        self.reader, self.at = consumer(**config), at
        run(self.turn_to(offset))

    async def turn_to(self, offset):
        self.reader.assign([self.at])
        if offset == START:
            await self.reader.seek_to_beginning(self.at)
        elif offset == END:
            await self.reader.seek_to_end(self.at)
        else:
            self.reader.seek(self.at, offset)

    def poll(self):
        return [
            Record(record.value, record.key, record.headers, record.timestamp, record.offset, record.timestamp_type == 0)
            for records in run(self.reader.getmany(timeout_ms=200)).values() for record in records]

    def position(self):
        return run(self.reader.position(self.at))

    def close(self):
        run(self.reader.stop())


class Member(client.Member, ConsumerRebalanceListener):
    """Has joined the group and got its partitions from the start."""

    def __init__(self, group, topic, **config):
        super().__init__()
        self.topic = topic
        config = {'enable_auto_commit': False, 'auto_offset_reset': 'earliest', 'group_id': group, **config}
        self.reader = run(made(AIOKafkaConsumer, **config))
        self.reader.subscribe([topic], listener=self)
        run(asyncio.wait_for(self.reader.start(), LIMIT))

    def on_partitions_assigned(self, assigned):
        self.given.append({partition.partition for partition in assigned})

    def on_partitions_revoked(self, revoked):
        self.taken.append({partition.partition for partition in revoked})

    def poll(self):
        self.read += [record.value for records in run(self.reader.getmany(timeout_ms=100)).values() for record in records]
        self.owned = {partition.partition for partition in self.reader.assignment()}

    def commit(self, offset=None, partition=0):
        run(self.reader.commit({TopicPartition(self.topic, partition): offset} if offset is not None else None))

    def close(self):
        run(self.reader.stop())


class Transactional(client.Transactional):
    def __init__(self, transactional_id):
        self.producer = run(started(AIOKafkaProducer, transactional_id=transactional_id))

    def begin(self):
        run(self.producer.begin_transaction())

    def send(self, topic, value):
        run(self.producer.send_and_wait(topic, value))

    def send_offset(self, group, topic, offset):
        run(self.producer.send_offsets_to_transaction({TopicPartition(topic, 0): offset}, group))

    def commit(self):
        run(self.producer.commit_transaction())

    def abort(self):
        run(self.producer.abort_transaction())

    def close(self):
        run(self.producer.stop())


class Aiokafka(client.Client):
    LACKS = {}
    HAS_ACLS = False
    if not NEW:
        LACKS = dict.fromkeys(('topics', 'partitions', 'static', 'configs', 'delete-records', 'groups'), 'not in this version')
    CODECS = client.Client.CODECS if NEW else ('none', 'gzip', 'snappy', 'lz4')
    ALTERING_KEEPS_OTHERS = False
    PROTOCOL = 'roundrobin'
    DELETES_GROUPS = False  # it has no call for it

    def code(self, error):
        # Its text for a commit that is refused, whatever the broker's code.
        return 25 if isinstance(error, errors.CommitFailedError) else error.errno

    # topics

    def cluster(self, topic):

        async def all_of(producer):
            return await producer.client.fetch_all_metadata()

        producer = run(started(AIOKafkaProducer))
        found = run(all_of(producer))
        run(producer.stop())
        leaders = [(partition, found.leader_for_partition(TopicPartition(topic, partition)), None, None) for partition in range(3)]
        cluster = Cluster({broker.nodeId: broker.port for broker in found.brokers()}, found.controller.nodeId, leaders)
        if NEW:
            described = administer(lambda admin: admin.describe_cluster())
            same((list(cluster.ports), cluster.controller),
                 ([broker['node_id'] for broker in described['brokers']], described['controller_id']), 'the cluster')
            cluster.partitions = self.described(topic)
        return cluster

    def views(self, topic):
        producer = run(started(AIOKafkaProducer))
        yield run(producer.partitions_for(topic))
        run(producer.stop())
        reader = consumer(topic)
        assert topic in run(reader.topics())
        yield reader.partitions_for_topic(topic)
        run(reader.stop())

    def described(self, topic):
        """Its partitions, each with leader, replicas and ISR, from the list of all topics; or None."""
        for found in administer(lambda admin: admin.describe_topics()):
            if found['topic'] == topic:
                names = ('partition', 'leader', 'replicas', 'isr')
                return sorted(tuple(partition[name] for name in names) for partition in found['partitions']) or None

    def partitions(self, topic):
        is_listed = topic in administer(lambda admin: admin.list_topics())
        found = is_listed and self.described(topic)
        return found and [partition for partition, *_ in found]

    def create_topic(self, topic, partitions, configs):
        if NEW:
            check(administer(lambda admin: admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])))
            until('the topic is known', lambda: self.partitions(topic))
        else:
            admin = kafka.admin.KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
            admin.create_topics([kafka.admin.NewTopic(topic, partitions, 1)])
            admin.close()

    def delete_topic(self, topic):
        check(administer(lambda admin: admin.delete_topics([topic])))

    def add_partitions(self, topic, total):
        administer(lambda admin: admin.create_partitions({topic: NewPartitions(total)}))

    # records

    def send(self, topic, records, partition=0, acks='all', codec='none', most_bytes=None, idempotent=False, access=None):
        config = {'acks': acks, 'enable_idempotence': idempotent, **broker(access)}
        if codec != 'none':
            config |= {'compression_type': codec, 'linger_ms': 20}
        if most_bytes:
            config['max_request_size'] = most_bytes
        if idempotent:
            config['max_batch_size'] = 500

        async def sent():
            async with await made(AIOKafkaProducer, **config) as producer:
                futures = [
                    await producer.send(topic, record.value, record.key, partition, record.timestamp, list(record.headers))
                    for record in records]
                await producer.flush()
                return [one and one.offset for one in await asyncio.gather(*futures)]  # with acks=0 there is none

        return run(sent())

    def reader(self, topic, at=START, partition=0, reset='earliest', committed=False, access=None):
        isolation = {'isolation_level': 'read_committed'} if committed else {}
        return Reader(TopicPartition(topic, partition), at, auto_offset_reset=reset, **isolation, **broker(access))

    def bounds(self, topic, partition=0):
        at = TopicPartition(topic, partition)

        async def both(reader):
            return (await reader.beginning_offsets([at]))[at], (await reader.end_offsets([at]))[at]

        return ask(both)

    def offset_at(self, topic, timestamp):
        at = TopicPartition(topic, 0)
        found = ask(lambda reader: reader.offsets_for_times({at: timestamp}))[at]
        return found and (found.offset, found.timestamp)

    def same_out_of_range(self, error, topic, offset):
        assert isinstance(error, errors.OffsetOutOfRangeError), error
        same({TopicPartition(topic, 0): offset}, error.args[0], 'the error')

    # groups

    def member(self, group, topic, static=None, client_id=None, cooperative=False, consumer_protocol=False, access=None):
        config = broker(access) | ({'client_id': client_id} if client_id else {})
        if static:
            config |= {'group_instance_id': static, 'session_timeout_ms': 45_000}
        return Member(group, topic, **config)

    def committed(self, group, topic):
        return ask(lambda reader: reader.committed(TopicPartition(topic, 0)), group_id=group)

    def groups(self):
        return [name for name, kind in administer(lambda admin: admin.list_consumer_groups()) if kind == 'consumer']

    def describe_group(self, group):
        from aiokafka.coordinator.protocol import ConsumerProtocol

        (answer,) = administer(lambda admin: admin.describe_consumer_groups([group]))
        ((code, name, state, kind, protocol, members, *_),) = answer.groups
        same((0, group), (code, name))
        owned = []
        for _, client_id, _, _, assignment in members:
            ((_, partitions),) = ConsumerProtocol.ASSIGNMENT.decode(assignment).assignment
            owned.append((client_id, partitions))
        return Group(state, kind, protocol, owned)

    def offsets(self, group):
        found = administer(lambda admin: admin.list_consumer_group_offsets(group))
        return {at.partition: stored.offset for at, stored in found.items()}

    def alter_offsets(self, group, topic, offsets):
        """A consumer that is not a member commits."""
        altered = {TopicPartition(topic, partition): offset for partition, offset in offsets.items()}

        async def commit(outside):
            outside.assign(list(altered))
            await outside.commit(altered)

        ask(commit, group_id=group)

    # the rest

    def transactional(self, transactional_id):
        return Transactional(transactional_id)

    def is_fenced(self, error):
        return isinstance(error, errors.ProducerFenced)

    def settings(self, topic):
        (answer,) = administer(lambda admin: admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]))
        ((code, _, _, name, entries),) = answer.resources
        same((0, topic), (code, name))
        return {entry[0]: (entry[1], entry[3] != 1) for entry in entries}

    def alter(self, topic, name, value):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})
        (answer,) = administer(lambda admin: admin.alter_configs([resource]))
        ((code, *_),) = answer.resources
        raise_code(code)

    def is_refused_login(self, error):
        return isinstance(error, errors.KafkaConnectionError)  # it writes the reason only to the log

    is_untrusted = is_refused_login

    def is_refused_token(self, error):
        # It takes the broker's answer to a bad token for success. Its next request ends the connection; before that, Kafka answers
        # it, without topics.
        return self.is_refused_login(error) or isinstance(error, errors.UnknownTopicOrPartitionError)

    def delete_records(self, topic, before):
        at = TopicPartition(topic, 0)
        return administer(lambda admin: admin.delete_records({at: RecordsToDelete(before)}))[at]


play(Aiokafka())
