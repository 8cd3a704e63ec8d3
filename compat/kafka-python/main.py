"""The rows of the matrix with kafka-python: version 3, and 2.0.2, which has no idempotence and no static members."""

import queue
import re
import ssl
import threading

import kafka
from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka import errors
from kafka.admin import (ACL, ACLFilter, ACLOperation, ACLPermissionType, ACLResourcePatternType, ConfigResource,
                         ConfigResourceType, NewPartitions, NewTopic, ResourcePattern, ResourcePatternFilter, ResourceType)

import client
from client import ACL_USER, END, START, Acl, Cluster, Group, Record
from matrix import BOOTSTRAP, LIMIT, play, refused, same, until

NEW = int(kafka.__version__.split('.')[0]) >= 3

if NEW:
    from kafka.net.sasl.oauth import AbstractTokenProvider
else:
    from kafka.oauth import AbstractTokenProvider

_of_thread = threading.local()


def admin():
    """The admin client of this thread; kafka-python's must not be shared."""
    if not hasattr(_of_thread, 'admin'):
        _of_thread.admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    return _of_thread.admin


class Token(AbstractTokenProvider):
    def __init__(self, text):
        self.text = text

    def token(self):
        return self.text


def broker(access=None):
    """The settings for its address, and those to get in there."""
    if access is None:
        return {'bootstrap_servers': BOOTSTRAP}
    certificate, key = access.certificate or (None, None)
    return {
        'bootstrap_servers': access.bootstrap,
        'security_protocol': access.protocol(),
        'sasl_mechanism': access.mechanism,
        'sasl_plain_username': access.user,
        'sasl_plain_password': access.password,
        'sasl_oauth_token_provider': access.token and Token(access.token),
        'ssl_cafile': access.authority,
        'ssl_certfile': certificate,
        'ssl_keyfile': key,
        **({'bootstrap_timeout_ms': 10_000} if NEW else {}),  # it tries again, even if the password is wrong
    }


def consumer(*topics, **config):
    return KafkaConsumer(*topics, **{**broker(), 'enable_auto_commit': False, 'auto_offset_reset': 'earliest', **config})


def stored(offset):
    return OffsetAndMetadata(offset, '', -1) if NEW else OffsetAndMetadata(offset, '')


class Reader(client.Reader):
    def __init__(self, at, offset, **config):
        self.reader, self.at = consumer(**config), at
        self.reader.assign([at])
        if offset in (START, END):
            (self.reader.seek_to_beginning if offset == START else self.reader.seek_to_end)(at)
        else:
            self.reader.seek(at, offset)

    def poll(self):
        return [
            Record(record.value, record.key, record.headers, record.timestamp, record.offset, record.timestamp_type == 0)
            for records in self.reader.poll(200).values() for record in records]

    def position(self):
        return self.reader.position(self.at)

    def close(self):
        self.reader.close()


class Member(client.Member, ConsumerRebalanceListener):
    """It is polled on its own thread, because kafka-python's poll waits until the whole group has joined."""

    def __init__(self, group, topic, **config):
        super().__init__()
        self.group, self.topic, self.error = group, topic, None
        self.wishes, self.moved = queue.Queue(), threading.Condition()
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
                with self.moved:
                    self.read += found
                    self.owned = {partition.partition for partition in self.reader.assignment()}
                    self.moved.notify_all()
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

    def poll(self):
        if self.error:
            raise self.error
        with self.moved:
            self.moved.wait(0.1)

    def do(self, wish):
        """Runs the call on the member's thread, because a consumer must not be shared."""
        done = queue.Queue()
        self.wishes.put((wish, done))
        return done.get(timeout=LIMIT)

    def commit(self, offset=None, partition=0):
        at = {TopicPartition(self.topic, partition): stored(offset)} if offset is not None else None
        self.do(lambda: self.reader.commit(at))

    def close(self):
        if not self.error:
            self.do(self.reader.close)
        self.thread.join(LIMIT)


class Transactional(client.Transactional):
    def __init__(self, transactional_id):
        self.producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, transactional_id=transactional_id)
        self.producer.init_transactions()
        self.begin, self.commit, self.abort = (
            self.producer.begin_transaction, self.producer.commit_transaction, self.producer.abort_transaction)

    def send(self, topic, value):
        self.producer.send(topic, value).get(LIMIT)

    def send_offset(self, group, topic, offset):
        reader = consumer(group_id=group)
        self.producer.send_offsets_to_transaction({TopicPartition(topic, 0): stored(offset)}, reader.group_metadata())
        reader.close()

    def close(self):
        self.producer.close()


def binding(acl):
    permission = ACLPermissionType.ALLOW if acl.allows else ACLPermissionType.DENY
    resource = ResourcePattern(ResourceType[acl.resource.upper()], acl.name)
    return ACL(f'User:{ACL_USER}', '*', ACLOperation[acl.operation.upper()], permission, resource)


class KafkaPython(client.Client):
    LACKS = {'kip-848': 'not in this client'}
    if not NEW:
        LACKS |= dict.fromkeys(('static', 'cooperative', 'idempotent', 'transactions', 'delete-records'), 'not in this version')
    SENDS_NULL_HEADERS = False
    ALTERING_KEEPS_OTHERS = NEW
    KNOWS_REFUSED_TOPICS = NEW
    OUTSIDERS_ARE_REFUSED = False  # the call of version 3 has no error for it

    def code(self, error):
        return error.errno

    # topics

    def cluster(self, topic):
        cluster = admin().describe_cluster()
        id_name = 'broker_id' if NEW else 'node_id'
        names = ('partition_index', 'leader_id', 'replica_nodes', 'isr_nodes') if NEW else ('partition', 'leader', 'replicas', 'isr')
        (found,) = admin().describe_topics([topic])
        partitions = sorted(tuple(partition[name] for name in names) for partition in found['partitions'])
        return Cluster({broker[id_name]: broker['port'] for broker in cluster['brokers']}, cluster['controller_id'], partitions)

    def views(self, topic):
        reader = consumer()
        assert topic in reader.topics()
        yield reader.partitions_for_topic(topic)
        reader.close()

    def partitions(self, topic):
        if topic not in admin().list_topics():
            return None
        names = ('name', 'partition_index') if NEW else ('topic', 'partition')
        for found in admin().describe_topics():
            if found[names[0]] == topic:
                return sorted(partition[names[1]] for partition in found['partitions']) or None

    def create_topic(self, topic, partitions, configs):
        if NEW:
            admin().create_topics({topic: {'num_partitions': partitions, 'configs': configs}}, wait_for_metadata=True)
        else:
            admin().create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])
            until('the topic is known', lambda: self.partitions(topic))

    def delete_topic(self, topic):
        admin().delete_topics([topic])

    def add_partitions(self, topic, total):
        admin().create_partitions({topic: NewPartitions(total)})

    # records

    def send(self, topic, records, partition=0, acks='all', codec='none', most_bytes=None, idempotent=False, access=None):
        config = {'acks': acks, 'compression_type': None if codec == 'none' else codec, 'linger_ms': 20 if codec != 'none' else 0}
        if most_bytes:
            config['max_request_size'] = most_bytes
        if NEW:
            config['enable_idempotence'] = idempotent
        if idempotent:
            config['batch_size'] = 500
        producer = KafkaProducer(**broker(access), **config)
        sent = [
            producer.send(topic, record.value, record.key, list(record.headers), partition, record.timestamp) for record in records]
        producer.flush(LIMIT)
        try:
            return [future.get(LIMIT).offset for future in sent]
        finally:
            producer.close()

    def reader(self, topic, at=START, partition=0, reset='earliest', committed=False, access=None):
        isolation = {'isolation_level': 'read_committed'} if committed else {}
        return Reader(TopicPartition(topic, partition), at, auto_offset_reset=reset, **isolation, **broker(access))

    def bounds(self, topic, partition=0):
        at = TopicPartition(topic, partition)
        reader = consumer()
        found = reader.beginning_offsets([at])[at], reader.end_offsets([at])[at]
        reader.close()
        return found

    def offset_at(self, topic, timestamp):
        at = TopicPartition(topic, 0)
        reader = consumer()
        found = reader.offsets_for_times({at: timestamp})[at]
        reader.close()
        return found and (found.offset, found.timestamp)

    def same_out_of_range(self, error, topic, offset):
        assert isinstance(error, errors.OffsetOutOfRangeError), error
        same({TopicPartition(topic, 0): offset}, error.args[0], 'the error')

    # groups

    def member(self, group, topic, static=None, client_id=None, cooperative=False, consumer_protocol=False, access=None):
        config = broker(access)
        if static:
            config |= {'group_instance_id': static, 'session_timeout_ms': 45_000}
        if client_id:
            config['client_id'] = client_id
        if cooperative:
            from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

            config['partition_assignment_strategy'] = [CooperativeStickyAssignor]
        return Member(group, topic, **config)

    def committed(self, group, topic):
        asks = consumer(group_id=group)
        found = asks.committed(TopicPartition(topic, 0))
        asks.close()
        return found

    def groups(self):
        if NEW:
            return [found['group_id'] for found in admin().list_groups() if found['protocol_type'] == 'consumer']
        return [name for name, kind in admin().list_consumer_groups() if kind == 'consumer']

    def describe_group(self, group):
        if NEW:
            found = admin().describe_groups([group])[group]
            members = [(m['client_id'], m['member_assignment']['assigned_partitions'][0]['partitions']) for m in found['members']]
            return Group(found['group_state'], found['protocol_type'], found['protocol_data'], members)
        (found,) = admin().describe_consumer_groups([group])
        members = [(m.client_id, m.member_assignment.assignment[0][1]) for m in found.members]
        return Group(found.state, found.protocol_type, found.protocol, members)

    def offsets(self, group):
        found = admin().list_group_offsets({group: None})[group] if NEW else admin().list_consumer_group_offsets(group)
        return {at.partition: offset.offset for at, offset in found.items() if offset.offset >= 0}

    def alter_offsets(self, group, topic, offsets):
        altered = {TopicPartition(topic, partition): stored(offset) for partition, offset in offsets.items()}
        if NEW:
            admin().alter_group_offsets(group, altered)
            return
        # Version 2 has no call for it: a consumer that is not a member commits.
        outside = consumer(group_id=group)
        outside.assign(list(altered))
        outside.commit(altered)
        outside.close()

    def delete_group(self, group):
        if NEW:
            said = admin().delete_groups([group])[group]
            if said != 'OK':
                raise getattr(errors, said)
        else:
            ((_, error),) = admin().delete_consumer_groups([group])
            if error is not errors.NoError:
                raise error

    # the rest

    def transactional(self, transactional_id):
        return Transactional(transactional_id)

    def is_fenced(self, error):
        return isinstance(error, errors.ProducerFencedError)

    def settings(self, topic):
        asked = [ConfigResource(ConfigResourceType.TOPIC, topic)]
        if NEW:
            found = admin().describe_configs(asked, config_filter='all')['topic'][topic]
            return {name: (setting['value'], setting['config_source'] != 'DYNAMIC_TOPIC_CONFIG') for name, setting in found.items()}
        ((code, _, _, name, entries),) = admin().describe_configs(asked)[0].resources
        same((0, topic), (code, name))
        return {entry[0]: (entry[1], entry[3] != 1) for entry in entries}

    def alter(self, topic, name, value):
        answer = admin().alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs={name: value})])
        if not NEW:
            code = answer.resources[0][0]
            if code != 0:
                raise errors.for_code(code)
            return
        error = re.search(r'\w+Error', answer['topic'][topic])
        if error:
            raise getattr(errors, error[0])

    def delete_records(self, topic, before):
        at = TopicPartition(topic, 0)
        return admin().delete_records({at: before})[at]['low_watermark']

    def is_refused_login(self, error):
        # Both versions write the reason only to the log, except that of a token.
        refused = (errors.KafkaTimeoutError,) if NEW else (errors.NoBrokersAvailable, errors.AuthenticationFailedError)
        return isinstance(error, refused)

    def is_untrusted(self, error):
        return self.is_refused_login(error) or isinstance(error, ssl.SSLError)

    def create_acl(self, acl):
        made = admin().create_acls([binding(acl)])
        same([], made['failed'], 'ACLs that could not be created')

    def delete_acl(self, acl):
        ((_, deleted, error),) = admin().delete_acls([binding(acl)])
        same((1, 0), (len(deleted), error.errno), 'deleted ACLs')

    def acls(self, topic):
        any_of_it = ResourcePatternFilter(ResourceType.TOPIC, topic, ACLResourcePatternType.LITERAL)
        found, _ = admin().describe_acls(ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, any_of_it))
        return [Acl('topic', topic, one.operation.name.lower(), one.permission_type == ACLPermissionType.ALLOW) for one in found]

    def acl_codes(self):
        any_topic = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
        everything = ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, any_topic)
        one = ACL('User:somebody', '*', ACLOperation.READ, ACLPermissionType.ALLOW, ResourcePattern(ResourceType.TOPIC, 'topic'))
        (failed,) = admin().create_acls([one])['failed']
        ((_, _, not_deleted),) = admin().delete_acls([everything])
        return {
            'describe': refused(admin().describe_acls, everything).errno,
            'create': (failed if NEW else failed[1]).errno,
            'delete': not_deleted.errno,
        }


play(KafkaPython())
