"""One side of DH-HMAC-CHAP, written from the specification with Python's own hashes and integers: what Tercet's is compared with.

    peer.py host KEY CONTROLLER-KEY HOST-NQN SUBSYSTEM-NQN HASH GROUP
    peer.py controller KEY CONTROLLER-KEY HOST-NQN SUBSYSTEM-NQN HASH GROUP

KEY is DHHC-1:...; CONTROLLER-KEY may be '-'; HASH and GROUP are numbers. Messages go out and come in as lines of hexadecimal digits.
The last line out is 'authenticated', or 'failed' with the reason code explanation.
"""
import base64
import hashlib
import hmac
import secrets
import struct
import sys
import zlib

HASHES = {1: hashlib.sha256, 2: hashlib.sha384, 3: hashlib.sha512}
# RFC 7919, appendix A: bits and the number that makes the prime.
PRIMES = {1: (2048, 560316), 2: (3072, 2625351), 3: (4096, 5736041), 4: (6144, 15705020), 5: (8192, 10965728)}


def floor_of_e(bits):
    """floor(2**bits * e), by the series."""
    guard = 64
    term = total = 1 << (bits + guard)
    number = 1
    while term:
        term //= number
        total += term
        number += 1
    return total >> guard


def prime(group):
    bits, offset = PRIMES[group]
    return 2**bits - 2 ** (bits - 64) + (floor_of_e(bits - 130) + offset) * 2**64 - 1


class Side:
    def __init__(self, key, controller_key, host, subsystem, hash_id, group):
        self.key, self.controller_key = key, controller_key
        self.host, self.subsystem = host.encode(), subsystem.encode()
        self.hash_id, self.group = int(hash_id), int(group)
        self.length = HASHES[self.hash_id]().digest_size
        self.session = None
        if self.group:
            self.prime = prime(self.group)
            self.size = PRIMES[self.group][0] // 8
            self.private = secrets.randbits(256)
            self.public = pow(2, self.private, self.prime).to_bytes(self.size, "big")
        else:
            self.public = b""

    def meet(self, public):
        if self.group:
            shared = pow(int.from_bytes(public, "big"), self.private, self.prime).to_bytes(self.size, "big")
            self.session = HASHES[self.hash_id](shared).digest()

    def own_key(self, text, name):
        _, hash_id, encoded, _ = text.split(":")
        decoded = base64.b64decode(encoded)
        key, check = decoded[:-4], decoded[-4:]
        assert zlib.crc32(key).to_bytes(4, "little") == check
        if hash_id == "00":
            return key
        return hmac.new(key, name + b"NVMe-over-Fabrics", HASHES[int(hash_id)]).digest()

    def response(self, text, challenge, sequence, transaction, role, own, other):
        if self.session:
            challenge = hmac.new(self.session, challenge, HASHES[self.hash_id]).digest()
        data = challenge + struct.pack("<IHB", sequence, transaction, 0) + role + own + b"\0" + other
        return hmac.new(self.own_key(text, own), data, HASHES[self.hash_id]).digest()

    def host_response(self, challenge, sequence, transaction):
        return self.response(self.key, challenge, sequence, transaction, b"HostHost", self.host, self.subsystem)

    def controller_response(self, challenge, sequence, transaction):
        return self.response(
            self.controller_key, challenge, sequence, transaction, b"Controller", self.subsystem, self.host)


def send(data):
    print(data.hex(), flush=True)


def receive():
    return bytes.fromhex(sys.stdin.readline().strip())


def end(text):
    print(text, flush=True)
    sys.exit(0)


def expect(data, kind, identifier):
    if data[0] == 0 and data[1] in (0xF0, 0xF1):
        end(f"failed {data[7]}")
    assert (data[0], data[1]) == (kind, identifier), data.hex()


def host(side):
    transaction = secrets.randbits(16)
    descriptor = bytearray(64)
    descriptor[0], descriptor[2], descriptor[3] = 1, 1, 1
    descriptor[4], descriptor[34] = side.hash_id, side.group
    send(struct.pack("<BBHHBB", 0, 0, 0, transaction, 0, 1) + bytes(descriptor))
    challenge = receive()
    expect(challenge, 1, 1)
    _, _, _, number, length, _, hash_id, group, size, sequence = struct.unpack("<BBHHBBBBHI", challenge[:16])
    assert (number, length, hash_id, group) == (transaction, side.length, side.hash_id, side.group)
    assert len(challenge) == 16 + length + size and sequence != 0
    value = challenge[16 : 16 + length]
    side.meet(challenge[16 + length :])
    response = side.host_response(value, sequence, transaction)
    asks = side.controller_key != "-"
    own, own_sequence = (secrets.token_bytes(length), 4711) if asks else (bytes(length), 0)
    head = struct.pack("<BBHHBBBBHI", 1, 2, 0, transaction, length, 0, int(asks), 0, len(side.public), own_sequence)
    send(head + response + own + side.public)
    success = receive()
    expect(success, 1, 3)
    assert success[6] == length and success[8] == int(asks)
    if asks:
        if success[16 : 16 + length] != side.controller_response(own, own_sequence, transaction):
            send(struct.pack("<BBHHBB", 0, 0xF0, 0, transaction, 1, 1))
            end("failed 1")
        send(struct.pack("<BBHH", 1, 4, 0, transaction) + bytes(10))
    end("authenticated")


def controller(side):
    negotiate = receive()
    expect(negotiate, 0, 0)
    transaction = struct.unpack("<H", negotiate[4:6])[0]
    assert negotiate[6] == 0 and negotiate[7] == 1 and negotiate[8] == 1
    assert side.hash_id in negotiate[12 : 12 + negotiate[10]] and side.group in negotiate[42 : 42 + negotiate[11]]
    value, sequence = secrets.token_bytes(side.length), secrets.randbits(31) + 1
    head = struct.pack(
        "<BBHHBBBBHI", 1, 1, 0, transaction, side.length, 0, side.hash_id, side.group, len(side.public), sequence)
    send(head + value + side.public)
    reply = receive()
    expect(reply, 1, 2)
    length = side.length
    _, _, _, number, said, _, asks, _, size, their_sequence = struct.unpack("<BBHHBBBBHI", reply[:16])
    assert (number, said, size) == (transaction, length, len(side.public))
    side.meet(reply[16 + 2 * length :])
    if reply[16 : 16 + length] != side.host_response(value, sequence, transaction):
        send(struct.pack("<BBHHBB", 0, 0xF1, 0, transaction, 1, 1))
        end("failed 1")
    answer = bytes(length)
    if asks:
        answer = side.controller_response(reply[16 + length : 16 + 2 * length], their_sequence, transaction)
    send(struct.pack("<BBHHBBB", 1, 3, 0, transaction, length, 0, asks) + bytes(7) + answer)
    if asks:
        expect(receive(), 1, 4)
    end("authenticated")


if __name__ == "__main__":
    {"host": host, "controller": controller}[sys.argv[1]](Side(*sys.argv[2:]))
