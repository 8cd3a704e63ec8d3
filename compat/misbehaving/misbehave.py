"""Plays the misbehaviour named in its argument, and fails if the broker behaves differently from Apache Kafka 4.4.

bystander.py checks that a normal client is not affected meanwhile."""

import os
import random
import ssl
import struct
import sys
from collections import Counter

from matrix import LIMIT, PREFIX, same, until
from wire import CORRELATION, Client, batch, frame, framed, pack, values_in

GROUP_MAX_SIZE = 10  # as in server.properties

OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC, OFFSET_METADATA_TOO_LARGE, INVALID_TOPIC = 1, 3, 12, 17
ILLEGAL_GENERATION, UNKNOWN_MEMBER, REBALANCE, UNSUPPORTED_VERSION, INVALID_PARTITIONS = 22, 25, 27, 35, 37
INVALID_REQUEST, POLICY_VIOLATION, FETCH_SESSION_UNKNOWN, FETCH_EPOCH_INVALID = 42, 44, 70, 71
MEMBER_ID_REQUIRED, GROUP_FULL, UNKNOWN_SERVER_ERROR = 79, 81, -1

I32_MAX, I64_MAX = 2**31 - 1, 2**63 - 1
TIMEOUT = 1000 * LIMIT


def bystander_goes_on(rounds=1):
    """The bystander does this many more rounds; it is asked through the descriptors that `checks` has opened."""
    with open(6, 'rb', 0, closefd=False) as answers:
        for _ in range(rounds):
            os.write(5, b'\n')
            same(b'ok\n', answers.readline(), 'what the other client says')


# --- members of groups -------------------------------------------------------------------------------


class Member:
    """A member of a group that the program plays step by step."""

    def __init__(self, group, session=60_000, rebalance=60_000, metadata=b'a subscription'):
        self.client, self.group, self.id, self.generation = Client(), group, '', -1
        self.timeouts, self.metadata = (session, rebalance), metadata
        self.members, self.history = [], []

    def ask_to_join(self):
        """Sends JoinGroup with the member id that the coordinator assigned; the answer may take a long time."""
        if not self.id:
            self.send_join()
            code, *_, self.id, _ = self.client.answer('JoinGroup')[1:]
            if code != MEMBER_ID_REQUIRED:
                return code
        self.send_join()

    def send_join(self):
        protocols = [('range', self.metadata)]
        self.client.send(frame('JoinGroup', self.group, *self.timeouts, self.id, None, 'consumer', protocols))

    def joined(self):
        """Reads the answer; returns its code."""
        code, self.generation, _, _, _, members = self.client.answer('JoinGroup')[1:]
        self.members = sorted(id for id, _, _ in members)
        return code

    def join(self):
        return self.ask_to_join() or self.joined()

    def send_sync(self):
        shares = [(id, b'the share of ' + id.encode()) for id in self.members]
        self.client.send(frame('SyncGroup', self.group, self.generation, self.id, None, shares))

    def synced(self):
        code, share = self.client.answer('SyncGroup')[1:]
        same(b'' if code else b'the share of ' + self.id.encode(), share, 'the assignment')
        return code

    def sync(self):
        self.send_sync()
        return self.synced()

    def settle(self):
        """As the leader: joins until it has its assignment, and records the members of each generation."""
        code = REBALANCE
        while code == REBALANCE:
            same(0, self.join(), 'JoinGroup of the leader')
            self.history.append(self.members)
            code = self.sync()
        same(0, code, 'SyncGroup of the leader')

    def beat(self):
        return self.client.call('Heartbeat', self.group, self.generation, self.id, None)[1]

    def until_rebalance(self):
        code = until('a rebalance', lambda: self.beat() or None)
        same(REBALANCE, code, 'Heartbeat')

    def commit(self, topic, offset, **other):
        """Returns the error code; `other` has the wrong fields."""
        of = {'group': self.group, 'generation': self.generation, 'id': self.id, 'partition': 0, 'metadata': '', **other}
        offsets = [(topic, [(of['partition'], offset, -1, of['metadata'])])]
        return self.client.call('OffsetCommit', of['group'], of['generation'], of['id'], None, offsets)[1][0][1][0][1]


def new_group(name):
    """A group with a coordinator that serves it."""
    name, client = PREFIX + name, Client()
    until('a coordinator', lambda: client.call('FindCoordinator', name, 0)[1] == 0)
    until('that serves', lambda: client.call('Heartbeat', name, 1, 'nobody', None)[1] == UNKNOWN_MEMBER)
    return name


def a_member_that_never_heartbeats():
    group, topic = new_group('never-heartbeats'), new_topic('never-heartbeats')
    good, silent = Member(group), Member(group, session=1000)
    good.settle()
    silent.ask_to_join()
    good.until_rebalance()
    good.settle()
    same(0, silent.joined(), 'its JoinGroup')
    while good.members != [good.id]:
        good.until_rebalance()
        good.settle()
    same([[good.id], sorted([good.id, silent.id]), [good.id]], good.history, 'with whom the other shares')
    same([UNKNOWN_MEMBER] * 3, [silent.beat(), silent.commit(topic, 1), silent.sync()], 'what it hears later')
    same((0, 0), (good.beat(), good.commit(topic, 1)), 'what the other hears')


def a_leader_that_never_syncs():
    group = new_group('leader-never-syncs')
    leader, other = Member(group, rebalance=2000), Member(group, rebalance=2000)
    leader.settle()
    other.ask_to_join()
    leader.until_rebalance()
    same((0, 0), (leader.join(), other.joined()), 'JoinGroup')
    same(sorted([leader.id, other.id]), leader.members)
    other.send_sync()
    same(REBALANCE, other.synced(), 'the SyncGroup of the other')
    other.settle()
    same([other.id], other.members, 'with whom the other shares')
    same([UNKNOWN_MEMBER] * 2, [leader.sync(), leader.beat()], 'what it hears later')


def a_follower_that_never_syncs():
    group = new_group('never-syncs')
    leader, silent = Member(group, rebalance=2000), Member(group, rebalance=2000)
    leader.settle()
    silent.ask_to_join()
    leader.until_rebalance()
    leader.settle()
    same(0, silent.joined(), 'its JoinGroup')
    leader.until_rebalance()
    leader.settle()
    same([[leader.id], sorted([leader.id, silent.id]), [leader.id]], leader.history, 'with whom the leader shares')
    same([UNKNOWN_MEMBER] * 2, [silent.sync(), silent.beat()], 'what it hears later')


def large_subscriptions():
    names = [f'{number:04}'.ljust(1000, 'x') for number in range(1000)]
    subscription = pack('h[s]y', (0, names, None))
    for number in range(10):
        group = new_group(f'large-{number}')
        member = Member(group, metadata=subscription)
        member.settle()
        (code, _, state, _, _, ((id, _, _, _, metadata, _),), _), = member.client.call('DescribeGroups', [group], False)[1]
        same((0, 'Stable', member.id), (code, state, id), 'the group')
        same(subscription, metadata, 'its subscription')


def a_full_group():
    group = new_group('full')
    leader, *others = members = [Member(group) for _ in range(GROUP_MAX_SIZE)]
    leader.settle()
    for member in others:
        member.ask_to_join()
    leader.until_rebalance()
    same([0] * GROUP_MAX_SIZE, [leader.join()] + [member.joined() for member in others], 'JoinGroup')
    same(0, leader.sync())
    same([GROUP_FULL] * 20, [Member(group).ask_to_join() for _ in range(20)], 'one too many')
    same([0] * GROUP_MAX_SIZE, [member.beat() for member in members], 'what the members hear')
    same(0, others[0].client.call('LeaveGroup', group, others[0].id)[1])
    late = Member(group)
    same(None, late.ask_to_join(), 'when there is room')


def commits_for_others():
    topic, group = new_topic('commits'), new_group('commits')
    good, other = Member(group), Member(new_group('commits-other'))
    good.settle()
    other.settle()
    same(0, good.commit(topic, 7), 'its own')
    good.settle()
    stranger = Member(group)
    stranger.generation = good.generation
    wrong = {
        'an unknown member': stranger.commit(topic, 1, id='nobody'),
        'a member of another group': other.commit(topic, 1, group=group, generation=good.generation),
        'no member': stranger.commit(topic, 1, generation=-1),
        'no member, of this generation': stranger.commit(topic, 1),
        'an older generation': good.commit(topic, 1, generation=good.generation - 1),
        'a generation to come': good.commit(topic, 1, generation=good.generation + 1),
        'metadata of 4097 bytes': good.commit(topic, 1, metadata='m' * 4097),
        'an unknown topic': good.commit(PREFIX + 'nowhere', 1),
        'an unknown partition': good.commit(topic, 1, partition=1),
        'a group of nobody that never was, in a generation': stranger.commit(topic, 1, group=PREFIX + 'nobody', generation=3),
    }
    same({
        'an unknown member': UNKNOWN_MEMBER,
        'a member of another group': UNKNOWN_MEMBER,
        'no member': UNKNOWN_MEMBER,
        'no member, of this generation': UNKNOWN_MEMBER,
        'an older generation': ILLEGAL_GENERATION,
        'a generation to come': ILLEGAL_GENERATION,
        'metadata of 4097 bytes': OFFSET_METADATA_TOO_LARGE,
        'an unknown topic': UNKNOWN_TOPIC,
        'an unknown partition': UNKNOWN_TOPIC,
        'a group of nobody that never was, in a generation': ILLEGAL_GENERATION,
    }, wrong, 'commits')
    offsets = good.client.call('OffsetFetch', group, [(topic, [0])])[1]
    same([(topic, [(0, 7, -1, '', 0)])], offsets, 'what is committed')
    same((0, 0), (good.beat(), good.commit(topic, 8, metadata='m' * 4096)), 'what the member hears')


# --- topics, records, fetches ------------------------------------------------------------------------


def create(names, partitions=1, validate_only=False):
    """Returns the error code of each name."""
    topics = [(name, partitions, 1, [], []) for name in names]
    return {name: code for name, code, _ in Client().call('CreateTopics', topics, TIMEOUT, validate_only)[1]}


def new_topic(name, partitions=1):
    """Creates a topic and waits until it accepts records."""
    name = PREFIX + name
    same({name: 0}, create([name], partitions))
    client = Client()
    at = [(partition, -1, -1) for partition in range(partitions)]
    codes = lambda: {code for _, code, *_ in client.call('ListOffsets', -1, 0, [(name, at)])[1][0][1]}
    until('the topic has leaders', lambda: codes() == {0})
    return name


def produce(topic, data, partition=0):
    (_, code, *_), = Client().call('Produce', None, 1, TIMEOUT, [(topic, [(partition, data)])])[0][0][1]
    same(0, code, 'Produce')


def fetch(topics, max_bytes=1 << 20, min_bytes=1, max_wait=0, session=(0, -1)):
    return frame('Fetch', -1, max_wait, min_bytes, max_bytes, 0, *session, topics, [], '')


def part(partition, offset=0, max_bytes=1 << 20):
    return partition, -1, offset, -1, max_bytes


def fetched(client, topic, *parts, **other):
    """The code and the values of each partition."""
    client.send(fetch([(topic, parts)], **other))
    code, _, topics = client.answer('Fetch')[1:]
    same(0, code, 'Fetch')
    return [(code, values_in(records)) for _, code, *_, records in topics[0][1]]


def read(topic):
    client, found = Client(), []
    while True:
        (code, values), = fetched(client, topic, part(0, len(found)))
        same(0, code)
        if not values:
            return found
        found += values


def fetches_with_odd_limits():
    topic, client = new_topic('limits', 2), Client()
    produce(topic, batch(b'a', b'b'))
    produce(topic, batch(b'c', b'd'))
    first, everything = [(0, [b'a', b'b'])], [(0, [b'a', b'b', b'c', b'd'])]
    for limit, expected in ((0, first), (1, first), (I32_MAX, everything)):
        same(expected, fetched(client, topic, part(0), max_bytes=limit), f'max_bytes {limit}')
        same(expected, fetched(client, topic, part(0, 0, limit)), f'partition_max_bytes {limit}')
    # Kafka answers UNKNOWN_SERVER_ERROR; docs/differences.md explains INVALID_REQUEST.
    refused = (UNKNOWN_SERVER_ERROR, []), (INVALID_REQUEST, [])
    for limit in (-1, -2**31):
        for parts, limits in (([part(0)], {'max_bytes': limit}), ([part(0, 0, limit)], {})):
            (answer,) = fetched(client, topic, *parts, **limits)
            assert answer in refused, (limit, answer)
    for wait in (-2**31, -1, 0, 1):
        same(everything, fetched(client, topic, part(0), min_bytes=I32_MAX, max_wait=wait), f'max_wait {wait}')
    for offset in (-2**63, -1, 5, I64_MAX):
        same([(OFFSET_OUT_OF_RANGE, [])], fetched(client, topic, part(0, offset)), f'offset {offset}')


def fetches_that_wait_and_go():
    topic = new_topic('waiting')
    waiting = [Client() for _ in range(100)]
    for client in waiting:
        client.send(fetch([(topic, [part(0)])], min_bytes=I32_MAX, max_wait=I32_MAX))
    one = Client()
    one.send(fetch([(topic, [part(0)])], max_wait=I32_MAX))
    for client in waiting:
        client.close()
    produce(topic, batch(b'a'))
    same([b'a'], values_in(one.answer('Fetch')[3][0][1][0][-1]), 'what one gets that waits on')


def unknown_fetch_sessions():
    topic, client = new_topic('sessions'), Client()

    def told(session):
        client.send(fetch([(topic, [part(0)])], session=session))
        return client.answer('Fetch')[1:3]

    for session in ((999_999_999, 1), (0, 5), (0, -2), (-1, 1)):
        same((FETCH_SESSION_UNKNOWN, 0), told(session), f'session {session}')
    code, id = told((0, 0))
    same((0, True), (code, id != 0), 'a new session')
    for epoch in (5, 2, I32_MAX):
        same((FETCH_EPOCH_INVALID, 0), told((id, epoch)), f'epoch {epoch}')
    same((0, id), told((id, 1)), 'the session itself')


def fetch_of_100_000_partitions():
    topic, client = new_topic('many'), Client()
    produce(topic, batch(b'a'))
    found = fetched(client, topic, *map(part, range(100_000)))
    same([(0, [b'a'])] + 99_999 * [(UNKNOWN_TOPIC, [])], found)


def five_produces_and_gone():
    for acks in (1, 0):
        for turn in range(20):
            topic, client = new_topic(f'gone-{acks}-{turn}'), Client()
            batches = [batch(b'%d' % number) for number in range(5)]
            client.send(b''.join(frame('Produce', None, acks, TIMEOUT, [(topic, [(0, data)])]) for data in batches))
            client.close()
            # Some may still be in flight and arrive after this one.
            produce(topic, batch(b'another'))
            found = [value for value in read(topic) if value != b'another']
            same([b'%d' % number for number in range(len(found))], found, f'what is kept with acks={acks}')


def many_topics():
    names = [f'{PREFIX}many-{number}' for number in range(2000)]
    same(Counter({0: 2000}), Counter(create(names).values()), 'CreateTopics')
    client = Client()
    same(Counter({0: 2000}), Counter(code for _, code in client.call('DeleteTopics', names, TIMEOUT)[1]), 'DeleteTopics')
    told = lambda names, **other: dict(Counter(create(names, **other).values()))
    same({POLICY_VIOLATION: 6000}, told([f'{PREFIX}{number}' for number in range(6000)]), 'a topic and its partition are two records')
    same({POLICY_VIOLATION: 10_001}, told([f'{PREFIX}{number}' for number in range(10_001)]), 'too many')
    same({INVALID_TOPIC: 10_000}, told([f'{PREFIX}/{number}' for number in range(10_000)]), 'illegal names')
    same({POLICY_VIOLATION: 10_001}, told([f'{PREFIX}/{number}' for number in range(10_001)]), 'too many illegal names')


def odd_topics():
    odd = ['', '.', '..', 'a/b', 'a b', 'ü', 'a\0b', '\n', 'x' * 250, 'x' * 32_000]
    same(dict.fromkeys(odd, INVALID_TOPIC), create(odd), 'illegal names')
    good = PREFIX + 'odd'
    for partitions, code in ((0, INVALID_PARTITIONS), (-5, INVALID_PARTITIONS), (10_001, POLICY_VIOLATION),
                             (1_000_000, POLICY_VIOLATION), (I32_MAX, POLICY_VIOLATION)):
        same({good: code}, create([good], partitions), f'{partitions} partitions')
    same({good: INVALID_REQUEST, good + '-2': 0}, create([good, good + '-2', good]), 'a name twice')
    same({good: POLICY_VIOLATION, 'a/b': POLICY_VIOLATION}, create([good, 'a/b'], 1_000_000), 'too much beside an illegal name')
    same({good: 0}, create([good]), 'the name itself')


def deleting_too_much():
    topic, client = new_topic('deleting'), Client()
    produce(topic, batch(b'a', b'b', b'c'))
    told = lambda topic, partition, offset: client.call('DeleteRecords', [(topic, [(partition, offset)])], TIMEOUT)[1][0][1][0]
    for offset in (4, I64_MAX, -2, -2**63):
        same((0, -1, OFFSET_OUT_OF_RANGE), told(topic, 0, offset), f'to offset {offset}')
    for partition in (1, -1, I32_MAX):
        same((partition, -1, UNKNOWN_TOPIC), told(topic, partition, 0), f'partition {partition}')
    same((0, -1, UNKNOWN_TOPIC), told(PREFIX + 'nowhere', 0, 0), 'an unknown topic')
    same([b'a', b'b', b'c'], read(topic), 'what is there')


def metadata_of_unknown_names():
    client = Client()
    names = [f'{PREFIX}unknown-{number}' for number in range(10_000)]
    told = lambda names, create: Counter(topic[0] for topic in client.call('Metadata', names, create)[4])
    same(Counter({UNKNOWN_TOPIC: 10_000}), told(names, False), 'unknown')
    same(Counter({INVALID_TOPIC: 10_000}), told(['/' + name for name in names], True), 'illegal')
    same(Counter({UNKNOWN_TOPIC: 1}), told(names[:1] * 10_000, False), 'one many times')


# --- bytes and connections ---------------------------------------------------------------------------


def tls_hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname='localhost').do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


def no_kafka_at_all():
    length = struct.Struct('>i').pack
    produce = struct.pack('>hhi', 0, 7, 1)
    wrong = {f'a length of {number}': length(number) + produce for number in (I32_MAX, -1, -2**31, 0, 7)}
    # socket.request.max.bytes is 100 MiB by default.
    wrong['a byte too many'] = length(100 * 2**20 + 1) + produce
    wrong['TLS'] = tls_hello()
    for seed in range(50):
        noise = random.Random(seed)
        # Read as a length, it is too large or negative.
        wrong[f'noise {seed}'] = bytes([noise.randrange(16, 256)]) + noise.randbytes(noise.choice((7, 100, 100_000)))
    for what, data in wrong.items():
        client = Client()
        try:
            client.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        same(b'', client.rest(), what)
    client = Client()
    client.send(b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
    answer = client.rest()
    # Kafka only closes the connection. An HTTP answer before that is accepted, too.
    assert answer == b'' or answer.startswith(b'HTTP/1.1 400 '), answer


def what_is_not_offered():
    for key, version in ((200, 0), (-1, 0), (32767, 0), (3, 99), (0, 2), (0, 99), (1, 3), (3, -1), (4, 0), (7, 0), (11, 99)):
        client = Client()
        client.send(frame('ApiVersions') + framed(key, version, bytes(20)) + frame('ApiVersions'))
        client.answer('ApiVersions')
        same(b'', client.rest(), f'key {key} version {version}')
    for body in (b'', b'\xff', pack('i', (I32_MAX,)), pack('i', (1,)) + b'\x7f\xff'):
        client = Client()
        client.send(framed(3, 4, body))
        same(b'', client.rest(), f'a Metadata request of {body}')
    client = Client()
    for version in (99, 6, -1, 32767):
        client.send(framed(18, version, b'\0\x02a\x02b\0'))
        answer = client.raw_answer()
        same((CORRELATION, UNSUPPORTED_VERSION, 1, 18), struct.unpack_from('>ihih', answer), f'ApiVersions {version}')
    same(0, client.call('ApiVersions')[0], 'the connection after that')


def half_a_request():
    topic, halves = new_topic('half'), []
    requests = {'ApiVersions': frame('ApiVersions'), 'Metadata': frame('Metadata', [topic] * 1000, False),
                'Produce': frame('Produce', None, 1, TIMEOUT, [(topic, [(0, batch(bytes(100_000)))])])}
    for api, data in requests.items():
        for cut in (1, 3, 4, 6, 15, len(data) // 2, len(data) - 1):
            client = Client()
            client.send(data[:cut])
            halves.append((client, api, data[cut:]))
    bystander_goes_on()
    for client, api, rest in halves:
        client.send(rest)
        client.answer(api)
    same(7, len(read(topic)), 'records')


def silence():
    """With a small connections.max.idle.ms."""
    client, halves = Client(), [Client(), Client()]
    halves[1].send(frame('ApiVersions')[:9])
    for half in halves:
        # The client that sends requests is not idle.
        until('the broker closes', lambda: client.call('ApiVersions')[0] or closed(half) or None)


def closed(client):
    client.socket.setblocking(False)
    try:
        return client.socket.recv(1) == b''
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def answers_that_nobody_reads():
    topic = new_topic('unread')
    large = batch(bytes(1_000_000))
    for _ in range(20):
        produce(topic, large)
    held = [Client() for _ in range(20)]
    for client in held:
        client.send(300 * fetch([(topic, [part(0, 0, I32_MAX)])], max_bytes=I32_MAX))
    bystander_goes_on(20)


def many_connections():
    before = held_by_broker()
    for turn in range(1000):
        client = Client()
        if turn % 2:
            client.send(frame('ApiVersions'))
        client.close()
    clients = [Client() for _ in range(400)]
    for client in clients:
        client.call('ApiVersions')
        client.close()
    until('all are gone', lambda: held_by_broker() <= before)


def held_by_broker():
    """The broker's open files and connections, if these checks started it."""
    broker = os.environ['BROKER_PID']
    return len(os.listdir(f'/proc/{broker}/fd')) if broker else 0


def too_many_connections():
    """From an address that no other client uses."""
    most, address, admin = 20, '127.0.0.2', Client()

    def limit(*operation):
        setting = ('max.connections.per.ip', *operation)
        code, message, *_ = admin.call('IncrementalAlterConfigs', [(4, '', [setting])], False)[1][0]
        same((0, None), (code, message or None), 'IncrementalAlterConfigs')

    limit(0, str(most))
    until('so many are served and no more', lambda: served_of(address, most + 10) == most)
    same(most, served_of(address, 100), 'how many of 100 are served')
    limit(1, None)
    until('all are served again', lambda: served_of(address, most + 10) == most + 10)


def served_of(address, count):
    served = []
    for _ in range(count):
        try:
            client = Client(address)
            client.call('ApiVersions')
            served.append(client)
        except (EOFError, ConnectionError):
            pass
    for client in served:
        client.close()
    return len(served)


def setting(name):
    """Prints the broker's value of a setting."""
    cluster = Client().call('Metadata', [], False)
    (resource,) = Client().call('DescribeConfigs', [(4, str(cluster[1][0][0]), [name])], False)[1]
    print(resource[4][0][1])


globals()[sys.argv[1]](*sys.argv[2:])
