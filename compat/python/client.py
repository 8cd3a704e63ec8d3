"""A client library for Python as its users call it. Each program in compat/*/main.py implements `Client`; matrix.py has the
steps and the expected results of each row of the matrix."""

import os
import subprocess
import sys
from dataclasses import dataclass

ACL_USER = os.environ.get('ACL_USER')

START, END = 'start', 'end'  # positions in a partition, beside offsets


@dataclass(frozen=True)
class Access:
    """How a client gets in at a listener; files are PEM."""
    bootstrap: str
    mechanism: str | None = None  # of SASL; None is without a login
    user: str | None = None
    password: str | None = None
    authority: str | None = None  # the file of the authority that the client trusts; None is without TLS
    certificate: tuple | None = None  # the files of the client's certificate and its key
    token: str | None = None  # the token that OAUTHBEARER sends

    def protocol(self):
        return ('SASL_' if self.mechanism else '') + ('SSL' if self.authority else 'PLAINTEXT')


@dataclass(frozen=True)
class Acl:
    """What the user ACL_USER may do, or may not."""
    resource: str  # topic or group
    name: str
    operation: str  # describe, read or write
    allows: bool = True


@dataclass
class Record:
    value: bytes | None
    key: bytes | None = None
    headers: tuple = ()
    timestamp: int | None = None  # ms; None lets the library choose
    offset: int | None = None
    is_create_time: bool | None = None  # or LogAppendTime; of a record that was read


@dataclass
class Cluster:
    ports: dict  # by broker
    controller: int
    # Each has its number, leader, replicas and ISR. The last two are None if the library does not tell them.
    partitions: list


@dataclass
class Group:
    state: str
    protocol_type: str | None  # None: the library does not tell it
    protocol: str
    members: list  # each has its client id and its partitions


class Reader:
    """A consumer of one partition, without a group."""

    def poll(self):
        """The next records; an empty list if there are none within a moment."""

    def position(self):
        """The offset of the next record; None while it is not known."""

    def close(self):
        pass


class Member:
    """A member of a group. It records the partitions it owns, each set that it was given or lost, and the values that it
    read. It may make progress only in `poll`."""

    def __init__(self):
        self.owned, self.given, self.taken, self.read = set(), [], [], []

    def poll(self):
        """Does the member's work for a moment."""

    def commit(self, offset=None, partition=0):
        """Commits an offset, or without one the positions of all partitions."""

    def close(self):
        """Leaves the group; a static member only disconnects."""


class Transactional:
    """A transactional producer that is initialised."""

    def begin(self):
        pass

    def send(self, topic, value):
        """Returns when the broker has answered."""

    def send_offset(self, group, topic, offset):
        """Partition 0 of the topic."""

    def commit(self):
        pass

    def abort(self):
        pass

    def close(self):
        pass


class Client:
    """Errors are the library's own; `code` returns Kafka's code of one. A method raises the library's error if the broker
    refuses."""

    LACKS = {}  # rows that the library cannot play, with the reason
    CODECS = ('none', 'gzip', 'snappy', 'lz4', 'zstd')
    SENDS_NULL_HEADERS = True
    ALTERING_KEEPS_OTHERS = True  # `alter` leaves the other settings as they are
    PROTOCOL = 'range'  # of a member of a group by default
    OUTSIDERS_ARE_REFUSED = True  # `alter_offsets` has an error while the group has a member
    DELETES_GROUPS = True
    KNOWS_REFUSED_TOPICS = True  # a topic that the user may not even describe is an error, not one to wait for
    MECHANISMS = ('PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512')  # of SASL

    def code(self, error):
        raise NotImplementedError

    # topics

    def cluster(self, topic):
        raise NotImplementedError

    def views(self, topic):
        """The numbers of the topic's partitions as each further part of the library knows them."""
        return []

    def partitions(self, topic):
        """The numbers of the topic's partitions in a list of all topics; None if it is not there."""
        raise NotImplementedError

    def create_topic(self, topic, partitions, configs):
        raise NotImplementedError

    def delete_topic(self, topic):
        raise NotImplementedError

    def add_partitions(self, topic, total):
        raise NotImplementedError

    # records

    def send(self, topic, records, partition=0, acks='all', codec='none', most_bytes=None, idempotent=False, access=None):
        """Returns the offsets when all records are acknowledged; with acks=0 they are None or less than 0. An idempotent
        producer makes many small batches. Without `access` it connects to BOOTSTRAP."""
        raise NotImplementedError

    def reader(self, topic, at=START, partition=0, reset='earliest', committed=False, access=None):
        """`reset` is earliest, latest or none; `committed` is the isolation level read_committed; `access` is as in `send`."""
        raise NotImplementedError

    def bounds(self, topic, partition=0):
        """The first and the end offset."""
        raise NotImplementedError

    def offset_at(self, topic, timestamp):
        """Offset and timestamp of the first record of this time or later, or None. The timestamp is None if the library
        does not tell it."""
        raise NotImplementedError

    def same_out_of_range(self, error, topic, offset):
        """Fails unless the error is the library's for an offset out of range that it may not reset."""
        raise NotImplementedError

    # groups

    def member(self, group, topic, static=None, client_id=None, cooperative=False, consumer_protocol=False, access=None):
        """`static` is the id of a static member."""
        raise NotImplementedError

    def committed(self, group, topic):
        """The group's offset in partition 0, or None."""
        raise NotImplementedError

    def groups(self):
        raise NotImplementedError

    def describe_group(self, group):
        raise NotImplementedError

    def offsets(self, group):
        """By partition."""
        raise NotImplementedError

    def alter_offsets(self, group, topic, offsets):
        raise NotImplementedError

    def delete_group(self, group):
        raise NotImplementedError

    def describe_consumer_group(self, group):
        """A group of KIP-848: its state, and the number of its members and of the first one's partitions."""
        raise NotImplementedError

    # the rest

    def transactional(self, transactional_id):
        raise NotImplementedError

    def is_fenced(self, error):
        raise NotImplementedError

    def settings(self, topic):
        """By name: the value, and whether it is the default."""
        raise NotImplementedError

    def alter(self, topic, name, value):
        raise NotImplementedError

    def delete_records(self, topic, before):
        """Returns the new low watermark."""
        raise NotImplementedError

    def is_refused_login(self, error):
        raise NotImplementedError

    def is_refused_token(self, error):
        return self.is_refused_login(error)

    def is_untrusted(self, error):
        """Whether it is the library's error for a broker whose certificate is not signed by an authority that it trusts."""
        raise NotImplementedError

    # A library without calls for ACLs leaves them to Jackdaw's command.

    HAS_ACLS = True

    def create_acl(self, acl):
        self._acl('add', acl)

    def delete_acl(self, acl):
        self._acl('remove', acl)

    def acls(self, topic):
        """The ACLs of the topic with this very name."""
        raise NotImplementedError

    @staticmethod
    def _acl(verb, acl):
        principal = '--allow-principal' if acl.allows else '--deny-principal'
        subprocess.run([
            os.environ['JACKDAW'], 'acl', verb, '--bootstrap', os.environ['BOOTSTRAP'], principal, f'User:{ACL_USER}',
            f'--{acl.resource}', acl.name, '--operation', acl.operation,
        ], check=True, stdout=sys.stderr)

    def acl_codes(self):
        """The error codes with which the broker answers DescribeAcls, CreateAcls and DeleteAcls, by name. An answer that
        the library hides is not among them."""
        raise NotImplementedError
