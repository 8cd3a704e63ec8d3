"""The part of the Kafka protocol that misbehaving clients need, over plain sockets: no client library sends such requests."""

import socket
import struct

from matrix import BOOTSTRAP, LIMIT

# Key, version, the fields of the request and those of the answer. The versions precede the flexible encoding. A field is
# a letter: b h i q for integers of 1, 2, 4 and 8 bytes, ? for a boolean, s for a string and y for bytes, both of which may
# be None; [ ] is a list, of tuples if it has several fields.
APIS = {
    'Produce': (0, 7, 'shi[s[iy]]', '[s[ihqqq]]i'),
    'Fetch': (1, 11, 'iiiibii[s[iiqqi]][s[i]]s', 'ihi[s[ihqqq[qq]iy]]'),
    'ListOffsets': (2, 5, 'ib[s[iiq]]', 'i[s[ihqqi]]'),
    'Metadata': (3, 4, '[s]?', 'i[isis]si[hs?[hii[i][i]]]'),
    'OffsetCommit': (8, 7, 'siss[s[iqis]]', 'i[s[ih]]'),
    'OffsetFetch': (9, 5, 's[s[i]]', 'i[s[iqish]]h'),
    'FindCoordinator': (10, 2, 'sb', 'ihsisi'),
    'JoinGroup': (11, 5, 'siisss[sy]', 'ihisss[ssy]'),
    'Heartbeat': (12, 3, 'siss', 'ih'),
    'LeaveGroup': (13, 2, 'ss', 'ih'),
    'SyncGroup': (14, 3, 'siss[sy]', 'ihy'),
    'DescribeGroups': (15, 4, '[s]?', 'i[hssss[ssssyy]i]'),
    'ApiVersions': (18, 0, '', 'h[hhh]'),
    'CreateTopics': (19, 4, '[sih[i[i]][ss]]i?', 'i[shs]'),
    'DeleteTopics': (20, 1, '[s]i', 'i[sh]'),
    'DeleteRecords': (21, 1, '[s[iq]]i', 'i[s[iqh]]'),
    'DescribeConfigs': (32, 1, '[bs[s]]?', 'i[hsbs[ss?b?[ssb]]]'),
    'IncrementalAlterConfigs': (44, 0, '[bs[sbs]]?', 'i[hsbs]'),
}


class Client:
    """One connection."""

    def __init__(self, source=None):
        address = socket.getaddrinfo(*BOOTSTRAP.rsplit(':', 1), socket.AF_INET, socket.SOCK_STREAM)[0][4]
        self.socket = socket.create_connection(address, LIMIT, source and (source, 0))

    def call(self, api, *values):
        self.send(frame(api, *values))
        return self.answer(api)

    def send(self, data):
        self.socket.sendall(data)

    def answer(self, api):
        data = self.raw_answer()
        (correlation, *values), rest = unpack('i' + APIS[api][3], data)
        assert correlation == CORRELATION and not rest, (api, correlation, rest)
        return tuple(values)

    def raw_answer(self):
        return self.read(*I32.unpack(self.read(4)))

    def read(self, length):
        parts = []
        while length:
            part = self.socket.recv(min(length, 1 << 20))
            if not part:
                raise EOFError('the broker closed the connection')
            parts.append(part)
            length -= len(part)
        return b''.join(parts)

    def rest(self):
        """All further bytes until the broker closes the connection."""
        found = b''
        try:
            while part := self.socket.recv(1 << 16):
                found += part
        except ConnectionResetError:
            pass
        return found

    def close(self):
        self.socket.close()


CORRELATION = 7


def frame(api, *values):
    key, version, fields, _ = APIS[api]
    return framed(key, version, pack(fields, values))


def framed(key, version, body):
    text = struct.pack('>hhih', key, version, CORRELATION, 11) + b'misbehaving' + body
    return I32.pack(len(text)) + text


def shape(fields):
    """'iqs[h]' as [Struct('>iq'), 's', [Struct('>h')]]: consecutive numbers are read and written at once."""
    lists, numbers = [[]], ''
    for letter in fields + ' ':
        if letter in 'bhiq?':
            numbers += letter
            continue
        if numbers:
            lists[-1].append(struct.Struct('>' + numbers))
            numbers = ''
        if letter == '[':
            lists.append([])
        elif letter == ']':
            done = lists.pop()
            lists[-1].append(done)
        elif letter != ' ':
            lists[-1].append(letter)
    return lists[0]


def is_scalar(fields):
    return len(fields) == 1 and (fields[0] in ('s', 'y') or isinstance(fields[0], struct.Struct) and len(fields[0].format) == 2)


def pack(fields, values):
    out = []
    _pack(shape(fields), values, out.append)
    return b''.join(out)


def _pack(fields, values, out):
    at = 0
    for field in fields:
        if isinstance(field, struct.Struct):
            count = len(field.format) - 1
            out(field.pack(*values[at:at + count]))
            at += count
            continue
        value, at = values[at], at + 1
        if isinstance(field, list):
            out(I32.pack(len(value)))
            scalar = is_scalar(field)
            for element in value:
                _pack(field, (element,) if scalar else element, out)
        else:
            data = value.encode() if isinstance(value, str) else value
            length = LENGTH[field]
            out(length.pack(-1) if data is None else length.pack(len(data)) + data)
    assert at == len(values), values


def unpack(fields, data):
    """The values and the remaining bytes."""
    values, at = _unpack(shape(fields), data, 0)
    return values, data[at:]


def _unpack(fields, data, at):
    values = []
    for field in fields:
        if isinstance(field, struct.Struct):
            values += field.unpack_from(data, at)
            at += field.size
        elif isinstance(field, list):
            (count,), at = I32.unpack_from(data, at), at + 4
            scalar, found = is_scalar(field), []
            for _ in range(count):
                element, at = _unpack(field, data, at)
                found.append(element[0] if scalar else element)
            values.append(found)
        else:
            (length,), at = LENGTH[field].unpack_from(data, at), at + LENGTH[field].size
            value = None if length < 0 else data[at:at + length]
            values.append(value.decode() if field == 's' and value is not None else value)
            at += max(length, 0)
    return tuple(values), at


I32 = struct.Struct('>i')
LENGTH = {'s': struct.Struct('>h'), 'y': I32}


# --- records -----------------------------------------------------------------------------------------


def batch(*values):
    """A batch of records that have only a value."""
    records = b''
    for delta, value in enumerate(values):
        body = b'\0\0' + varint(delta) + varint(-1) + varint(len(value)) + value + varint(0)
        records += varint(len(body)) + body
    behind_crc = struct.pack('>hiqqqhii', 0, len(values) - 1, 0, 0, -1, -1, -1, len(values)) + records
    behind_length = struct.pack('>ibI', 0, 2, crc32c(behind_crc)) + behind_crc
    return struct.pack('>qi', 0, len(behind_length)) + behind_length


def values_in(data):
    """The values of whole batches of such records."""
    found = []
    while data:
        (length,), (count,), at = I32.unpack_from(data, 8), I32.unpack_from(data, 57), 61
        for _ in range(count):
            # After the attributes: time, offset, no key, the value and its length, no headers.
            at = read_varint(data, at)[1] + 1
            for _ in range(4):
                size, at = read_varint(data, at)
            found.append(data[at:at + size])
            at += size + 1
        data = data[12 + length:]
    return found


def varint(number):
    number = number << 1 ^ number >> 63
    out = b''
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def read_varint(data, at):
    number = shift = 0
    while True:
        byte, at = data[at], at + 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number >> 1 ^ -(number & 1), at


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = _CRC[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xffffffff


def _crc_of(byte):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
    return byte


_CRC = [_crc_of(byte) for byte in range(256)]
