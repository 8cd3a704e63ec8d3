"""The rows of the matrix (compat/rows.tsv) for the clients in Python: steps and expected results. `play` plays those in the
arguments, several at the same time, and prints a line for each."""

import os
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from client import END, START, Access, Acl, Record

BOOTSTRAP = os.environ['BOOTSTRAP']
PREFIX = os.environ['PREFIX']
LIMIT = 90  # seconds for one operation; generous, for busy machines

# Kafka's error codes that the rows provoke.
OFFSET_OUT_OF_RANGE = 1
UNKNOWN_TOPIC_OR_PARTITION = 3
MESSAGE_TOO_LARGE = 10
INVALID_TOPIC = 17
UNKNOWN_MEMBER_ID = 25
TOPIC_AUTHORIZATION_FAILED = 29
GROUP_AUTHORIZATION_FAILED = 30
TOPIC_ALREADY_EXISTS = 36
INVALID_PARTITIONS = 37
INVALID_CONFIG = 40
SECURITY_DISABLED = 54
NON_EMPTY_GROUP = 68
GROUP_ID_NOT_FOUND = 69

_printing = threading.Lock()


def until(what, attempt):
    """Repeats the attempt until its result is neither None nor False, and returns that. The attempt itself waits a little, as a poll does."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        found = attempt()
        if found is not None and found is not False:
            return found
    raise AssertionError(f'after {LIMIT} seconds not yet: {what}')


def same(expected, actual, what='it'):
    if expected != actual:
        raise AssertionError(f'{what}: expected {brief(expected)}, got {brief(actual)}')


def brief(value):
    text = repr(value)
    return text if len(text) <= 300 else f'{text[:300]}… ({len(text)} characters)'


def refused(call, *arguments, **more):
    """The call must fail; its error is returned."""
    try:
        answer = call(*arguments, **more)
    except AssertionError:
        raise
    except Exception as error:
        return error
    raise AssertionError(f'not refused: {call}: {brief(answer)}')


def refused_with(client, code, call, *arguments, **more):
    error = refused(call, *arguments, **more)
    same(code, client.code(error), f'the code of {brief(error)}')


def new_topic(client, name, partitions=1, **configs):
    topic = PREFIX + name
    client.create_topic(topic, partitions, configs)
    return topic


def numbers(first, last):
    return [b'%d' % number for number in range(first, last + 1)]


def send(client, topic, values, partition=0, **how):
    return client.send(topic, [Record(value) for value in values], partition, **how)


def read(client, topic, at=START, partition=0, end=None, **how):
    """The records from there to the end, or up to this offset."""
    end = client.bounds(topic, partition)[1] if end is None else end
    reader = client.reader(topic, at, partition, **how)
    found = []

    def more():
        found.extend(reader.poll())
        position = reader.position()
        return position is not None and position >= end

    until(f'offset {end} of {topic}', more)
    reader.close()
    return found


def values_of(*arguments, **how):
    return [record.value for record in read(*arguments, **how)]


def take(reader, count, what):
    """The values of the next records, this many at least."""
    found = []

    def more():
        found.extend(record.value for record in reader.poll())
        return len(found) >= count

    until(what, more)
    return found


def stands_at(reader, offset):
    """Waits until the reader is there, without having read anything."""

    def there():
        same([], reader.poll(), 'nothing is read')
        return reader.position() == offset

    until(f'it stands at offset {offset}', there)


# --- topics and records ------------------------------------------------------------------------------


def metadata(client):
    topic = new_topic(client, 'metadata', 3)
    cluster = client.cluster(topic)
    same({cluster.controller: int(BOOTSTRAP.rsplit(':', 1)[1])}, cluster.ports, 'the broker, which is the controller, and its port')
    broker = cluster.controller
    for number, (partition, leader, replicas, isr) in enumerate(cluster.partitions):
        same((number, broker), (partition, leader), 'a partition and its leader')
        same(([broker], [broker]), (replicas or [broker], isr or [broker]), 'its replicas and ISR')
    same(3, len(cluster.partitions), 'partitions')
    for view in client.views(topic):
        same([0, 1, 2], sorted(view), 'partitions in another view')


def topics(client):
    topic = new_topic(client, 'topics', 2, **{'cleanup.policy': 'compact'})
    same([0, 1], client.partitions(topic), 'partitions')
    refused_with(client, TOPIC_ALREADY_EXISTS, client.create_topic, topic, 1, {})
    refused_with(client, INVALID_TOPIC, client.create_topic, 'no/slashes', 1, {})
    client.delete_topic(topic)
    until('the topic is gone', lambda: not client.partitions(topic))
    refused_with(client, UNKNOWN_TOPIC_OR_PARTITION, client.delete_topic, topic)


def partitions(client):
    topic = new_topic(client, 'partitions')
    send(client, topic, [b'old'])
    client.add_partitions(topic, 3)
    refused_with(client, INVALID_PARTITIONS, client.add_partitions, topic, 2)
    until('three partitions', lambda: client.partitions(topic) == [0, 1, 2])
    send(client, topic, [b'new'], partition=2)
    same([[b'old'], [], [b'new']], [values_of(client, topic, partition=partition) for partition in range(3)])


def codecs(client):
    for codec in client.CODECS:
        topic = new_topic(client, codec)
        for first, acks in ((1, 'all'), (501, 1), (1001, 0)):
            send(client, topic, numbers(first, first + 499), acks=acks, codec=codec)
        # With acks=0 the producer does not wait, so the reader is told the end offset.
        same(numbers(1, 1500), values_of(client, topic, end=1500), codec)


def values(client):
    topic = new_topic(client, 'values')
    now = int(time.time() * 1000)
    headers = [('b', b'2'), ('a', b'1'), ('a', b'3'), ('none', None), ('empty', b'')]
    if not client.SENDS_NULL_HEADERS:
        headers.remove(('none', None))
    pairs = [(b'key', b'value'), (None, b'no key'), (b'no value', None), (b'', b''), ('ключ'.encode(), '値'.encode())]
    sent = [Record(value, key) for key, value in pairs]
    sent[0].headers, sent[0].timestamp = headers, now - 5000
    client.send(topic, sent)
    found = read(client, topic)
    same(pairs, [(record.key, record.value) for record in found])
    same(headers, list(found[0].headers), 'headers')
    same((now - 5000, True), (found[0].timestamp, found[0].is_create_time), 'timestamp')


def large(client):
    topic = new_topic(client, 'large')
    big = os.urandom(1_000_000)
    send(client, topic, [big], most_bytes=3_000_000)
    refused_with(client, MESSAGE_TOO_LARGE, send, client, topic, [os.urandom(1_500_000)], most_bytes=3_000_000)
    send(client, topic, [b'small'])
    same([(0, True), (1, False)], [(record.offset, record.value == big) for record in read(client, topic)])


def fetch(client):
    topic = new_topic(client, 'fetch')
    start = int(time.time() * 1000) - 1_000_000
    client.send(topic, [Record(b'%d' % number, timestamp=start + 1000 * number) for number in range(100)])
    same(numbers(0, 99), values_of(client, topic), 'from the beginning')
    same(numbers(40, 99), values_of(client, topic, 40), 'from offset 40')
    same((0, 100), client.bounds(topic), 'beginning and end')
    for asked, offset in ((start, 0), (start + 70_000, 70), (start + 70_001, 71)):
        found, timestamp = client.offset_at(topic, asked)
        same(offset, found, f'the offset of time {asked - start}')
        same(start + 1000 * offset, start + 1000 * offset if timestamp is None else timestamp, 'its timestamp')
    same(None, client.offset_at(topic, start + 99_001), 'after the last')
    reader = client.reader(topic, END)
    stands_at(reader, 100)
    send(client, topic, [b'100'])
    same([b'100'], take(reader, 1, 'a record'), 'what came after')
    reader.close()


def out_of_range(client):
    topic = new_topic(client, 'range')
    send(client, topic, numbers(1, 3))
    reader = client.reader(topic, 99, reset='earliest')
    same(numbers(1, 3), take(reader, 3, 'three records'), 'earliest')
    reader.close()
    reader = client.reader(topic, 99, reset='latest')
    stands_at(reader, 3)
    send(client, topic, numbers(4, 4))
    same(numbers(4, 4), take(reader, 1, 'a record'), 'latest')
    reader.close()
    reader = client.reader(topic, 99, reset='none')
    client.same_out_of_range(refused(take, reader, 1, 'an error'), topic, 99)
    reader.close()


# --- groups ------------------------------------------------------------------------------------------


def wait(what, members, condition):
    """Lets the members work until the condition holds."""

    def attempt():
        for member in members:
            member.poll()
        return condition() or None

    until(what, attempt)


def shared(members):
    """Whether the members own the four partitions of the topic, the same number each."""
    owned = sorted(partition for member in members for partition in member.owned)
    return owned == [0, 1, 2, 3] and all(len(member.owned) * len(members) == 4 for member in members)


def share(client, name, **kind):
    """Two members share the partitions, then one leaves. Returns the other."""
    topic, group = new_topic(client, name, 4), PREFIX + name
    one = client.member(group, topic, **kind)
    wait('one has all', [one], lambda: shared([one]))
    two = client.member(group, topic, **kind)
    both = [one, two]
    wait('two have half each', both, lambda: shared(both))
    for partition in range(4):
        send(client, topic, [b'%d' % partition], partition)
    wait('each reads its own', both, lambda: len(one.read) + len(two.read) == 4)
    for member in both:
        same(sorted(b'%d' % partition for partition in member.owned), sorted(member.read), 'what a member read')
        member.commit()
        member.read.clear()
    one.close()
    wait('the other has all', [two], lambda: shared([two]))
    for partition in range(4):
        send(client, topic, [b'%d' % partition], partition)
    wait('the other reads all', [two], lambda: len(two.read) == 4)
    same(numbers(0, 3), sorted(two.read), 'what the other read')
    return two


def group(client):
    share(client, 'group').close()


def resume(client):
    topic = new_topic(client, 'resume')
    send(client, topic, numbers(1, 20))

    def taken(name, count):
        member = client.member(PREFIX + name, topic)
        wait(f'{count} messages', [member], lambda: len(member.read) >= count)
        member.commit(int(member.read[0]) - 1 + count)
        member.close()
        return member.read[:count]

    same(numbers(1, 12), taken('resume', 12))
    same(numbers(13, 20), taken('resume', 8), 'the rest')
    send(client, topic, numbers(21, 25))
    same(numbers(21, 25), taken('resume', 5), 'what came later')
    same(numbers(1, 25), taken('resume-other', 25), 'another group')
    same(25, client.committed(PREFIX + 'resume', topic), 'committed')


def static(client):
    topic = new_topic(client, 'static', 4)
    start = lambda name: client.member(PREFIX + 'static', topic, static=name)
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


def cooperative(client):
    topic = new_topic(client, 'cooperative', 4)
    start = lambda: client.member(PREFIX + 'cooperative', topic, cooperative=True)
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


def consumer_protocol(client):
    member = share(client, 'kip-848', consumer_protocol=True)
    same(('Stable', 1, 4), client.describe_consumer_group(PREFIX + 'kip-848'), 'the description')
    member.close()


# --- idempotent and transactional producers -----------------------------------------------------------


def idempotent(client):
    topic = new_topic(client, 'idempotent')
    same(list(range(5000)), send(client, topic, numbers(1, 5000), idempotent=True), 'offsets')
    same(numbers(1, 5000), values_of(client, topic))


def transactions(client):
    topic, source, group = new_topic(client, 'transactions'), new_topic(client, 'transactions-source'), PREFIX + 'transactions'
    send(client, source, numbers(1, 10))
    producer = client.transactional(PREFIX + 'transactions')

    def write(value):
        producer.begin()
        producer.send(topic, value)

    write(b'committed')
    producer.commit()
    write(b'aborted')
    producer.abort()
    for ends, value, offset in ((producer.abort, b'aborted with offsets', None), (producer.commit, b'with offsets', 4)):
        write(value)
        producer.send_offset(group, source, 4)
        ends()
        # Kafka answers before the transaction has ended.
        until(f'offset {offset} after {value}', lambda: client.committed(group, source) == offset)
    # A marker follows each of the four.
    visible = lambda: values_of(client, topic, end=8, committed=True)
    same([b'committed', b'with offsets'], visible(), 'read_committed')
    everything = [b'committed', b'aborted', b'aborted with offsets', b'with offsets']
    same(everything, values_of(client, topic, end=8), 'read_uncommitted')

    # Another producer with the same id fences the first.
    other = client.transactional(PREFIX + 'transactions')
    producer.begin()

    def written():
        producer.send(topic, b'fenced')
        producer.commit()

    error = refused(written)
    assert client.is_fenced(error), error
    other.close()
    same([b'committed', b'with offsets'], visible(), 'after fencing')


# --- administration ----------------------------------------------------------------------------------


def configs(client):
    topic = new_topic(client, 'configs', **{'retention.ms': '86400000'})
    same(('86400000', False), client.settings(topic)['retention.ms'])
    same(('delete', True), client.settings(topic)['cleanup.policy'])
    client.alter(topic, 'cleanup.policy', 'compact')
    until('the alteration is known', lambda: client.settings(topic)['cleanup.policy'] == ('compact', False))
    other = ('86400000', False) if client.ALTERING_KEEPS_OTHERS else ('604800000', True)
    same(other, client.settings(topic)['retention.ms'], 'the other setting')
    refused_with(client, INVALID_CONFIG, client.alter, topic, 'cleanup.policy', 'nonsense')
    same(('compact', False), client.settings(topic)['cleanup.policy'], 'after the refusal')


def delete_records(client):
    topic = new_topic(client, 'delete-records')
    send(client, topic, numbers(0, 9))
    same(6, client.delete_records(topic, 6), 'the low watermark')
    same(numbers(6, 9), values_of(client, topic))
    same((6, 10), client.bounds(topic), 'beginning and end')
    refused_with(client, OFFSET_OUT_OF_RANGE, client.delete_records, topic, 11)


def groups(client):
    topic, group = new_topic(client, 'groups', 4), PREFIX + 'groups'
    send(client, topic, numbers(1, 5))
    member = client.member(group, topic, client_id='somebody')
    wait('it reads', [member], lambda: len(member.read) == 5)
    member.commit()

    assert group in client.groups()
    found = client.describe_group(group)
    same(('Stable', client.PROTOCOL), (found.state, found.protocol), 'the description')
    assert found.protocol_type in ('consumer', None), found
    same([('somebody', [0, 1, 2, 3])], found.members, 'its members')
    same(5, client.offsets(group)[0], 'its offset')
    if client.DELETES_GROUPS:
        refused_with(client, NON_EMPTY_GROUP, client.delete_group, group)
    altered = {0: 2, 3: 0}
    if client.OUTSIDERS_ARE_REFUSED:
        refused_with(client, UNKNOWN_MEMBER_ID, client.alter_offsets, group, topic, altered)
    member.close()

    found = client.describe_group(group)
    same(('Empty', []), (found.state, found.members), 'the description without a member')
    client.alter_offsets(group, topic, altered)
    offsets = client.offsets(group)
    same(altered, {partition: offsets[partition] for partition in altered}, 'its offsets, altered')
    if client.DELETES_GROUPS:
        client.delete_group(group)
        assert group not in client.groups()
        refused_with(client, GROUP_ID_NOT_FOUND, client.delete_group, group)


def acls(client):
    codes = client.acl_codes()
    assert codes, 'no answer is seen'
    same(dict.fromkeys(codes, SECURITY_DISABLED), codes)


def acls_enforced(client):
    """BOOTSTRAP is of a super user, who gives rights to another one and takes them away."""
    topic, group, user = new_topic(client, 'acls-enforced'), PREFIX + 'acls-enforced', with_tls_and_login('ACL')
    send(client, topic, [b'1'])
    write = lambda: send(client, topic, [b'2'], access=user)
    read = lambda: values_of(client, topic, end=1, access=user)

    def join():
        member = client.member(group, topic, access=user)
        try:
            wait('it reads', [member], lambda: member.read)
            member.commit()
        finally:
            member.close()  # a member that was refused would join later

    if client.KNOWS_REFUSED_TOPICS:
        refused_with(client, TOPIC_AUTHORIZATION_FAILED, write)
    client.create_acl(Acl('topic', topic, 'describe'))
    refused_with(client, TOPIC_AUTHORIZATION_FAILED, read)
    client.create_acl(Acl('topic', topic, 'read'))
    same([b'1'], read())
    refused_with(client, GROUP_AUTHORIZATION_FAILED, join)
    client.create_acl(Acl('group', group, 'read'))
    join()
    refused_with(client, TOPIC_AUTHORIZATION_FAILED, write)
    allowed, denied = Acl('topic', topic, 'write'), Acl('topic', topic, 'write', allows=False)
    client.create_acl(allowed)
    same([1], write(), 'the offset')
    client.create_acl(denied)
    refused_with(client, TOPIC_AUTHORIZATION_FAILED, write)
    if client.HAS_ACLS:
        expected = {Acl('topic', topic, 'describe'), Acl('topic', topic, 'read'), allowed, denied}
        same(expected, set(client.acls(topic)), 'the ACLs')
    client.delete_acl(denied)
    same([2], write(), 'the offset')
    client.delete_acl(allowed)
    refused_with(client, TOPIC_AUTHORIZATION_FAILED, write)


# --- logins and TLS ----------------------------------------------------------------------------------


def certificates(name):
    return f'{os.environ["CERTIFICATES"]}/{name}.pem'


def with_tls(listener='TLS', authority='ca', **more):
    return Access(os.environ[f'{listener}_BOOTSTRAP'], authority=certificates(authority), **more)


def with_tls_and_login(who):
    """SASL or ACL, as in the names of the environment."""
    return with_tls('SASL_TLS', mechanism='SCRAM-SHA-256', user=os.environ[f'{who}_USER'], password=os.environ[f'{who}_PASSWORD'])


def sasl(client):
    topic, sent = new_topic(client, 'sasl'), []
    for mechanism in client.MECHANISMS:
        access = Access(os.environ['SASL_BOOTSTRAP'], mechanism, os.environ['SASL_USER'], os.environ['SASL_PASSWORD'])
        sent.append(mechanism.encode())
        send(client, topic, sent[-1:], access=access)
        same(sent, values_of(client, topic, access=access), mechanism)
        error = refused(send, client, topic, [b'refused'], access=replace(access, password='wrong'))
        assert client.is_refused_login(error), repr(error)
    same(sent, values_of(client, topic), 'all records')


def tls(client):
    topic, sent = new_topic(client, 'tls'), []
    # Only as `certified`, the name by a rule for that of the certificate, the client is a super user.
    certified = with_tls('CERTIFIED', certificate=(certificates('client'), certificates('client-key')))
    for name, access in (('tls', with_tls()), ('certificate', certified), ('login', with_tls_and_login('SASL'))):
        sent.append(name.encode())
        send(client, topic, sent[-1:], access=access)
        same(sent, values_of(client, topic, end=len(sent), access=access), name)
    for what, access in (('authority', with_tls(authority='other-ca')), ('certificate', with_tls('CERTIFIED'))):
        error = refused(send, client, topic, [b'refused'], access=access)
        assert client.is_untrusted(error), f'{what}: {error!r}'
    same(sent, values_of(client, topic), 'all records')


def oauth(client):
    topic = new_topic(client, 'oauth')

    def access(name):
        with open(f'{os.environ["CERTIFICATES"]}/{name}.jwt') as token:
            return with_tls('SASL_TLS', mechanism='OAUTHBEARER', token=token.read())

    same([0], send(client, topic, [b'1'], access=access('good')), 'the offset')
    same([b'1'], values_of(client, topic, end=1, access=access('good')))
    for wrong in ('expired', 'audience', 'stranger'):
        error = refused(send, client, topic, [b'refused'], access=access(wrong))
        assert client.is_refused_token(error), f'{wrong}: {error!r}'
    same([b'1'], values_of(client, topic), 'all records')


# --- a restart ---------------------------------------------------------------------------------------


def restart_before(client):
    topic = new_topic(client, 'restart')
    send(client, topic, numbers(1, 2000))
    member = client.member(PREFIX + 'restart', topic)
    wait('it reads', [member], lambda: len(member.read) >= 7)
    member.commit(7)
    member.close()


def restart_after(client):
    topic = PREFIX + 'restart'
    same(numbers(1, 2000), values_of(client, topic))
    member = client.member(PREFIX + 'restart', topic)
    wait('it reads the rest', [member], lambda: len(member.read) >= 1993)
    same(numbers(8, 2000), member.read, 'what the group had left')
    member.close()
    send(client, topic, [b'2001'])
    same([b'2001'], values_of(client, topic, 2000), 'what came later')


ROWS = {
    'metadata': metadata, 'topics': topics, 'partitions': partitions, 'codecs': codecs, 'values': values, 'large': large,
    'fetch': fetch, 'range': out_of_range, 'group': group, 'resume': resume, 'static': static, 'cooperative': cooperative,
    'kip-848': consumer_protocol, 'idempotent': idempotent, 'transactions': transactions, 'configs': configs,
    'delete-records': delete_records, 'groups': groups, 'acls': acls, 'acls-enforced': acls_enforced,
    'sasl': sasl, 'tls': tls, 'oauth': oauth,
    'restart-before': restart_before, 'restart-after': restart_after,
}


def play(client):

    def one(row):
        if row in client.LACKS or (row == 'acls' and not client.HAS_ACLS):
            return say('none', row, client.LACKS.get(row, 'no calls for ACLs'))
        try:
            ROWS[row](client)
            say('ok', row)
        except Exception as error:
            traceback.print_exception(error, file=sys.stderr)
            say('FAIL', row, f'{type(error).__name__}: {error}'.replace('\n', ' ')[:400])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, sys.argv[1:]))


def say(*words):
    with _printing:
        print(*words, flush=True)
