#!/usr/bin/env python3
"""Opens test vectors of the sealed format, and sees that nothing else opens: no flipped bit, no other length or purpose.

usage: open.py [FILE or DIRECTORY]...      (default: the directory v1 beside this program)
"""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key

import sealed

FIELDS = {"name", "suite", "mechanism", "purpose", "id", "root_key", "data_key", "payload", "sealed"}

# RFC 7518, appendix B.3: the one construction here that is put together by hand.
B3_KEYS = bytes(range(64))
B3_IV = bytes.fromhex("1af38c2dc2b96ffdd86694092341bc04")
B3_PLAINTEXT = (
    b"A cipher system must not be required to be secret, and it must be able to fall into the hands of the enemy "
    b"without inconvenience"
)
B3_ASSOCIATED_DATA = b"The second principle of Auguste Kerckhoffs"
B3_CIPHERTEXT = bytes.fromhex(
    "4affaaadb78c31c5da4b1b590d10ffbd3dd8d5d302423526912da037ecbcc7bd822c301dd67c373bccb584ad3e9279c2"
    "e6d12a1374b77f077553df829410446b36ebd97066296ae6427ea75c2e0846a11a09ccf5370dc80bfecbad28c73f09b3"
    "a3b75e662a2594410ae496b2e2e6609e31e6e02cc837f053d21f37ff4f51950bbe2638d09dd7a4930930806d0703b1f6"
)
B3_TAG = bytes.fromhex("4dd3b4c088a7f45c216839645b2012bf2e6269a8c56a816dbc1b267761955bc5")


def load_root_key(text):
    if text.startswith("-----BEGIN"):
        return sealed.RsaKey(load_pem_private_key(text.encode(), password=None))
    return exactly(32, bytes.fromhex(text))


def exactly(size, value):
    if len(value) != size:
        raise ValueError(f"{len(value)} bytes where {size} are due")
    return value


def opens(root_key, key_id, purpose, data):
    """Whether anything at all comes out."""
    try:
        sealed.open_sealed(root_key, key_id, purpose, data)
    except sealed.Refused:
        return False
    return True


def variants(vector, data):
    """(what was done, expected id, purpose, bytes) of everything near this vector that must not open."""
    key_id, purpose = bytes.fromhex(vector["id"]), vector["purpose"]
    parsed = sealed.parse(data)
    # RSA is slow, and to it all bits of a ciphertext are alike: of the larger ones each byte has one bit flipped.
    sparse = range(0)
    if parsed.mechanism in sealed.OAEP_HASH and len(parsed.wrapped) > 2048 // 8 + sealed.COMMITMENT_SIZE:
        sparse = range(len(parsed.header) - len(parsed.wrapped), len(parsed.header) - sealed.COMMITMENT_SIZE)
    for at in range(len(data) * 8):
        if at // 8 in sparse and at % 8 != at // 8 % 8:
            continue
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        # A daemon looks the root key up by the id inside: also an attacker's id must not open.
        inside = bytes(flipped[4 : 4 + flipped[3]])
        yield f"bit {at % 8} of byte {at // 8} flipped", inside, purpose, bytes(flipped)
    for size in range(len(data)):
        yield f"cut to {size} bytes", key_id, purpose, data[:size]
    for size in (1, 2, 12, 16, 32):
        yield f"{size} bytes longer", key_id, purpose, data + bytes(size)
    for other in sealed.PURPOSES:
        if other != purpose:
            yield f"purpose {other}", key_id, other, data
    yield "another id expected", bytes([key_id[0] ^ 1]) + key_id[1:], purpose, data


def check(path):
    """What is wrong with one vector, as sentences; nothing when all is right."""
    try:
        vector = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(vector, dict) or set(vector) != FIELDS:
            return ["its fields are not " + ", ".join(sorted(FIELDS))]
        data = bytes.fromhex(vector["sealed"])
        root_key = load_root_key(vector["root_key"])
        key_id = bytes.fromhex(vector["id"])
        if vector["purpose"] not in sealed.PURPOSES:
            return [f"purpose {vector['purpose']!r} is unknown"]
        data_key, payload = sealed.open_sealed(root_key, key_id, vector["purpose"], data)
    except sealed.Refused as refusal:
        return [f"refused: {refusal}"]
    except (OSError, ValueError, TypeError) as error:
        return [f"unreadable: {error}"]
    parsed = sealed.parse(data)
    found = [
        f"{field} is not what the file says"
        for field, right in (
            ("payload", payload == bytes.fromhex(vector["payload"])),
            ("data_key", data_key == bytes.fromhex(vector["data_key"])),
            ("suite", parsed.suite == vector["suite"]),
            ("mechanism", parsed.mechanism == vector["mechanism"]),
        )
        if not right
    ]
    for done, key_id, purpose, changed in variants(vector, data):
        if opens(root_key, key_id, purpose, changed):
            found.append(f"opened with {done}")
    return found


def self_check():
    """A256CBC-HS512 against the RFC's own numbers, before anything is judged by it."""
    opened = sealed.cbc_hs512_decrypt(B3_KEYS, B3_ASSOCIATED_DATA, B3_IV, B3_CIPHERTEXT, B3_TAG)
    if opened != B3_PLAINTEXT:
        raise SystemExit("open.py does not open the example of RFC 7518, appendix B.3")


def collect(arguments):
    """The files to open. A place without any vector is a mistake, not a success."""
    files = []
    for place in arguments or [Path(__file__).resolve().parent / "v1"]:
        place = Path(place)
        found = sorted(place.glob("*.json")) if place.is_dir() else [place]
        if not found:
            raise SystemExit(f"no vectors in {place}")
        files += found
    return files


def main(arguments):
    self_check()
    files = collect(arguments)
    failed = 0
    with ProcessPoolExecutor() as workers:
        for path, found in zip(files, workers.map(check, files)):
            print("ok    " if not found else "FAILED", path.name)
            for sentence in found[:10]:
                print("       ", sentence)
            if len(found) > 10:
                print(f"        and {len(found) - 10} more")
            failed += bool(found)
    print(f"{len(files) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
