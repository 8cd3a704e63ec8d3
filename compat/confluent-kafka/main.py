"""The rows of the matrix with confluent-kafka. Version 1.8 has only a part of the admin client."""

import time

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

import client
from client import ACL_USER, END, START, Acl, Cluster, Group, Record
from matrix import BOOTSTRAP, LIMIT, PREFIX, play, refused, same, until

NEW = int(confluent_kafka.version()[0].split('.')[0]) >= 2

# By default version 1.8 sends a timeout of 0. Kafka then answers REQUEST_TIMED_OUT and does nothing, and 1.8 takes that for
# success.
WITHIN = {'operation_timeout': LIMIT}

ADMIN = AdminClient({'bootstrap.servers': BOOTSTRAP})  # one for all: its futures fail once it is garbage collected

# The broker's certificate is of an unknown authority, or the broker wants one of the client: then only the log has the reason.
UNTRUSTED = KafkaError._SSL, KafkaError._ALL_BROKERS_DOWN

# Producers that are left alone: to end one may take forever.
STUCK = []


def result(futures):
    """The result of the only one of these futures."""
    (future,) = futures.values()
    return future.result(LIMIT)


def broker(access=None):
    """The settings for its address, and those to get in there."""
    if access is None:
        return {'bootstrap.servers': BOOTSTRAP}

    def failed(error):
        if error.code() in ((KafkaError._AUTHENTICATION,) if access.mechanism else UNTRUSTED):
            raise KafkaException(error)

    # Without the callback it tries to get in until the record is too old.
    config = {'bootstrap.servers': access.bootstrap, 'security.protocol': access.protocol(), 'error_cb': failed}
    if access.token:
        # Its end is told beside it, and the library sends no token that has ended.
        config |= {'sasl.mechanism': access.mechanism, 'oauth_cb': lambda _: (access.token, time.time() + 3600)}
    elif access.mechanism:
        config |= {'sasl.mechanism': access.mechanism, 'sasl.username': access.user, 'sasl.password': access.password}
    if access.authority:
        config['ssl.ca.location'] = access.authority
    if access.certificate:
        config['ssl.certificate.location'], config['ssl.key.location'] = access.certificate
    return config


def produced(config, topic, records, partition):
    """A producer with these records in its queue, and the list that its delivery reports go to."""
    producer, delivered = Producer(config), []

    def heard(error, message):
        delivered.append((error, message.offset()))

    for record in records:
        fields = {'timestamp': record.timestamp} if record.timestamp is not None else {}
        while True:
            try:
                producer.produce(
                    topic, record.value, record.key, partition, on_delivery=heard, headers=list(record.headers), **fields)
                break
            except BufferError:
                producer.poll(1)
        producer.poll(0)
    return producer, delivered


def emptied(producer, seconds):
    return any(producer.flush(1) == 0 for _ in range(seconds))


def consumer(group=None, **config):
    # A consumer with manual assignment needs a group id, too.
    return Consumer({
        **broker(),
        'group.id': group or PREFIX + 'nobody',
        'enable.auto.commit': False,
        'auto.offset.reset': 'earliest',
        'enable.partition.eof': True,
        **config,
    })


class Reader(client.Reader):
    def __init__(self, topic, partition, offset, **config):
        self.reader, self.next = consumer(**config), None
        named = {START: OFFSET_BEGINNING, END: OFFSET_END}
        self.reader.assign([TopicPartition(topic, partition, named.get(offset, offset))])

    def poll(self):
        message = self.reader.poll(1)
        # It asks for the coordinator of its group, although it has no use for it.
        if message is None or (message.error() and message.error().code() == KafkaError.GROUP_AUTHORIZATION_FAILED):
            return []
        if message.error() and message.error().code() != KafkaError._PARTITION_EOF:
            raise KafkaException(message.error())
        # The end of a partition has the offset of the next record.
        self.next = message.offset() + (0 if message.error() else 1)
        if message.error():
            return []
        kind, timestamp = message.timestamp()
        is_create_time = kind == confluent_kafka.TIMESTAMP_CREATE_TIME
        return [Record(message.value(), message.key(), message.headers() or (), timestamp, message.offset(), is_create_time)]

    def position(self):
        return self.next

    def close(self):
        self.reader.close()


class Member(client.Member):
    def __init__(self, group, topic, **config):
        super().__init__()
        self.topic, self.reader = topic, consumer(group, **config)
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

    def commit(self, offset=None, partition=0):
        which = {} if offset is None else {'offsets': [TopicPartition(self.topic, partition, offset)]}
        self.reader.commit(asynchronous=False, **which)

    def close(self):
        self.reader.close()


class Transactional(client.Transactional):
    def __init__(self, transactional_id):
        self.producer = Producer({'bootstrap.servers': BOOTSTRAP, 'transactional.id': transactional_id})
        self.producer.init_transactions(LIMIT)

    def begin(self):
        self.producer.begin_transaction()

    def send(self, topic, value):
        self.producer.produce(topic, value)
        self.producer.flush(LIMIT)

    def send_offset(self, group, topic, offset):
        reader = consumer(group)
        reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        self.producer.send_offsets_to_transaction([TopicPartition(topic, 0, offset)], reader.consumer_group_metadata(), LIMIT)
        reader.close()

    def commit(self):
        self.producer.commit_transaction(LIMIT)

    def abort(self):
        self.producer.abort_transaction(LIMIT)


class ConfluentKafka(client.Client):
    LACKS = {} if NEW else dict.fromkeys(('kip-848', 'delete-records', 'groups'), 'not in this version')
    HAS_ACLS = NEW
    ALTERING_KEEPS_OTHERS = NEW

    def code(self, error):
        return error.args[0].code()

    # topics

    def cluster(self, topic):
        found = ADMIN.list_topics(timeout=LIMIT)
        partitions = [(id, one.leader, one.replicas, one.isrs) for id, one in sorted(found.topics[topic].partitions.items())]
        if NEW:
            from confluent_kafka import TopicCollection

            cluster = ADMIN.describe_cluster().result(LIMIT)
            same((found.controller_id, [found.controller_id]), (cluster.controller.id, [node.id for node in cluster.nodes]), 'the cluster')
            assert cluster.cluster_id, cluster
            described = result(ADMIN.describe_topics(TopicCollection([topic])))
            same((topic, [id for id, *_ in partitions], False),
                 (described.name, [one.id for one in described.partitions], described.is_internal), 'the topic')
        return Cluster({id: broker.port for id, broker in found.brokers.items()}, found.controller_id, partitions)

    def partitions(self, topic):
        found = ADMIN.list_topics(timeout=LIMIT).topics.get(topic)
        return found and (sorted(found.partitions) or None)

    def create_topic(self, topic, partitions, configs):
        result(ADMIN.create_topics([NewTopic(topic, partitions, 1, config=configs)], **WITHIN))
        until('the topic is known', lambda: self.partitions(topic))

    def delete_topic(self, topic):
        result(ADMIN.delete_topics([topic], **WITHIN))

    def add_partitions(self, topic, total):
        result(ADMIN.create_partitions([NewPartitions(topic, total)], **WITHIN))

    # records

    def send(self, topic, records, partition=0, acks='all', codec='none', most_bytes=None, idempotent=False, access=None):
        config = {'acks': acks, 'compression.type': codec}
        if codec != 'none':
            config['linger.ms'] = 20
        if most_bytes:
            config['message.max.bytes'] = most_bytes
        if idempotent:
            config |= {'enable.idempotence': True, 'batch.num.messages': 50}
        producer, delivered = produced({**broker(access), **config}, topic, records, partition)
        # The thread of a new producer of version 1.8 sometimes never takes its first record, against Apache Kafka 4.4, too (2 of
        # 800 producers). Its records are given up before others are sent in their place: it may only have been slow.
        while not NEW and not emptied(producer, 20) and not delivered:
            producer.purge(in_flight=False)
            until('no message is left in the queue', lambda: producer.flush(1) == 0)
            if not all(error and error.code() == KafkaError._PURGE_QUEUE for error, _ in delivered):
                break
            STUCK.append(producer)
            producer, delivered = produced({**broker(access), **config}, topic, records, partition)
        # Version 2 raises the error of a callback only at the end of a flush.
        until('no message is left in the queue', lambda: producer.flush(1) == 0)
        same(len(records), len(delivered), 'delivery reports')
        for error, _ in delivered:
            if error:
                raise KafkaException(error)
        return [offset for _, offset in delivered]

    def reader(self, topic, at=START, partition=0, reset='earliest', committed=False, access=None):
        config = {'auto.offset.reset': 'error' if reset == 'none' else reset}
        config['isolation.level'] = 'read_committed' if committed else 'read_uncommitted'
        return Reader(topic, partition, at, **config, **broker(access))

    def bounds(self, topic, partition=0):
        reader = consumer()
        found = reader.get_watermark_offsets(TopicPartition(topic, partition), LIMIT)
        reader.close()
        return found

    def offset_at(self, topic, timestamp):
        reader = consumer()
        (found,) = reader.offsets_for_times([TopicPartition(topic, 0, timestamp)], LIMIT)
        reader.close()
        return None if found.offset == OFFSET_END else (found.offset, None)

    def same_out_of_range(self, error, topic, offset):
        same(KafkaError._AUTO_OFFSET_RESET, self.code(error), str(error))

    # groups

    def member(self, group, topic, static=None, client_id=None, cooperative=False, consumer_protocol=False, access=None):
        config = {} if access is None else broker(access)
        if static:
            config |= {'group.instance.id': static, 'session.timeout.ms': 45_000}
        if client_id:
            config['client.id'] = client_id
        if cooperative:
            config['partition.assignment.strategy'] = 'cooperative-sticky'
        if consumer_protocol:
            config['group.protocol'] = 'consumer'
        return Member(group, topic, **config)

    def committed(self, group, topic):
        asks = consumer(group)
        (found,) = asks.committed([TopicPartition(topic, 0)], LIMIT)
        asks.close()
        return None if found.offset == confluent_kafka.OFFSET_INVALID else found.offset

    def groups(self):
        return [found.group_id for found in ADMIN.list_consumer_groups().result(LIMIT).valid]

    def describe_group(self, group):
        found = result(ADMIN.describe_consumer_groups([group]))
        (listed,) = [one for one in ADMIN.list_consumer_groups().result(LIMIT).valid if one.group_id == group]
        same(listed.state, found.state, 'the state in the list')
        members = [(one.client_id, sorted(at.partition for at in one.assignment.topic_partitions)) for one in found.members]
        return Group(found.state.name.title(), None, found.partition_assignor, members)

    def offsets(self, group):
        from confluent_kafka import ConsumerGroupTopicPartitions

        found = result(ADMIN.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))
        return {at.partition: at.offset for at in found.topic_partitions if at.offset >= 0}

    def alter_offsets(self, group, topic, offsets):
        from confluent_kafka import ConsumerGroupTopicPartitions

        altered = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
        answer = result(ADMIN.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, altered)]))
        for at in answer.topic_partitions:
            if at.error:
                raise KafkaException(at.error)

    def delete_group(self, group):
        result(ADMIN.delete_consumer_groups([group]))

    def describe_consumer_group(self, group):
        from confluent_kafka import ConsumerGroupType

        listing = ADMIN.list_consumer_groups(types={ConsumerGroupType.CONSUMER}).result(LIMIT)
        assert group in [found.group_id for found in listing.valid], listing.valid
        found = result(ADMIN.describe_consumer_groups([group]))
        return found.state.name.title(), len(found.members), len(found.members[0].assignment.topic_partitions)

    # the rest

    def transactional(self, transactional_id):
        return Transactional(transactional_id)

    def is_fenced(self, error):
        return error.args[0].fatal()

    def settings(self, topic):
        found = result(ADMIN.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)]))
        return {name: (setting.value, setting.is_default) for name, setting in found.items()}

    def alter(self, topic, name, value):
        if NEW:
            from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigSource

            change = ConfigEntry(name, value, ConfigSource.DYNAMIC_TOPIC_CONFIG, incremental_operation=AlterConfigOpType.SET)
            result(ADMIN.incremental_alter_configs([ConfigResource('topic', topic, incremental_configs=[change])]))
        else:
            result(ADMIN.alter_configs([ConfigResource('topic', topic, set_config={name: value})]))

    def delete_records(self, topic, before):
        return result(ADMIN.delete_records([TopicPartition(topic, 0, before)])).low_watermark

    def is_refused_login(self, error):
        return self.code(error) == KafkaError._AUTHENTICATION

    def is_untrusted(self, error):
        return self.code(error) in UNTRUSTED

    def create_acl(self, acl):
        if not NEW:
            return super().create_acl(acl)
        same(None, result(ADMIN.create_acls([self.binding(acl)])), 'the answer')

    def delete_acl(self, acl):
        if not NEW:
            return super().delete_acl(acl)
        same(1, len(result(ADMIN.delete_acls([self.binding(acl, filter=True)]))), 'deleted ACLs')

    def acls(self, topic):
        from confluent_kafka.admin import AclBindingFilter, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

        asked = AclBindingFilter(
            ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, None, None, AclOperation.ANY, AclPermissionType.ANY)
        found = ADMIN.describe_acls(asked).result(LIMIT)
        return [Acl('topic', one.name, one.operation.name.lower(), one.permission_type == AclPermissionType.ALLOW) for one in found]

    def binding(self, acl, filter=False):
        from confluent_kafka.admin import (AclBinding, AclBindingFilter, AclOperation, AclPermissionType,
                                           ResourcePatternType, ResourceType)

        kind = AclBindingFilter if filter else AclBinding
        permission = AclPermissionType.ALLOW if acl.allows else AclPermissionType.DENY
        return kind(ResourceType[acl.resource.upper()], acl.name, ResourcePatternType.LITERAL, f'User:{ACL_USER}', '*',
                    AclOperation[acl.operation.upper()], permission)

    def acl_codes(self):
        from confluent_kafka.admin import (AclBinding, AclBindingFilter, AclOperation, AclPermissionType,
                                           ResourcePatternType, ResourceType)

        everything = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY)
        binding = AclBinding(ResourceType.TOPIC, 'topic', ResourcePatternType.LITERAL, 'User:somebody', '*', AclOperation.READ,
                             AclPermissionType.ALLOW)
        # describe_acls returns an empty list, whatever the broker answers.
        same([], ADMIN.describe_acls(everything).result(LIMIT), 'describe')
        create, delete = (refused(result, futures) for futures in (ADMIN.create_acls([binding]), ADMIN.delete_acls([everything])))
        return {'create': self.code(create), 'delete': self.code(delete)}


play(ConfluentKafka())
