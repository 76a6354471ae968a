"""The sealed format, version 1, as src/manual/sealed_format.md specifies it: opening, and what sealing shares with it.

Uses nothing of the Rust crate: Python's standard library and the package `cryptography` (38 and later) only.
"""

import hashlib
import hmac
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding

FORMAT = 1
SUITE_GCM, SUITE_CBC_HS512 = 1, 2
GCM_12, GCM_16, KWP, CBC, OAEP_SHA256, OAEP_SHA1 = 1, 2, 3, 4, 5, 6
PURPOSES = ("kms1", "kms2", "codec", "seal")
ID_SIZES = range(8, 33)
DATA_KEY_SIZE = 32
COMMITMENT_SIZE = 16

# What each AES mechanism leaves behind; an OAEP wrap is as long as the RSA modulus, and the commitment.
WRAPPED_SIZE = {GCM_12: 12 + 32 + 16, GCM_16: 16 + 32 + 16, KWP: 40, CBC: 16 + 32 + 16}
OAEP_HASH = {OAEP_SHA256: hashes.SHA256, OAEP_SHA1: hashes.SHA1}
RSA_MODULUS_SIZES = range(2048 // 8, 4096 // 8 + 1)


class Refused(Exception):
    """This sealed payload does not open; the message says what was wrong with it."""


@dataclass(frozen=True)
class Sealed:
    """The fields of a sealed payload, still closed."""

    suite: int
    mechanism: int
    id: bytes
    wrapped: bytes
    header: bytes  # every byte before the nonce or IV
    body: bytes  # nonce or IV, ciphertext, tag or MAC


class RsaKey:
    """An RSA private key that decrypts a ciphertext once: whoever tries variants of one sealed payload asks again."""

    def __init__(self, key):
        self.key, self.bits, self.known = key, key.key_size, {}

    def decrypt(self, mechanism, ciphertext):
        if (mechanism, ciphertext) not in self.known:
            digest = OAEP_HASH[mechanism]
            oaep = rsa_padding.OAEP(mgf=rsa_padding.MGF1(digest()), algorithm=digest(), label=None)
            try:
                self.known[mechanism, ciphertext] = self.key.decrypt(ciphertext, oaep)
            except ValueError:
                raise Refused("not an OAEP encryption under this root key") from None
        return self.known[mechanism, ciphertext]


def parse(data):
    """Takes a sealed payload apart. Every byte belongs to a field; every length is checked before it is used."""
    if len(data) < 4:
        raise Refused("shorter than its fixed fields")
    number, suite, mechanism, id_size = data[:4]
    if number != FORMAT:
        raise Refused(f"format {number}")
    if suite not in (SUITE_GCM, SUITE_CBC_HS512):
        raise Refused(f"suite {suite}")
    if mechanism not in WRAPPED_SIZE and mechanism not in OAEP_HASH:
        raise Refused(f"mechanism {mechanism}")
    if id_size not in ID_SIZES:
        raise Refused(f"an id of {id_size} bytes")
    wrapped_at = 4 + id_size + 2
    if len(data) < wrapped_at:
        raise Refused("ends inside the id or the length of the wrapped data key")
    (wrapped_size,) = struct.unpack(">H", data[wrapped_at - 2 : wrapped_at])
    if mechanism in WRAPPED_SIZE:
        if wrapped_size != WRAPPED_SIZE[mechanism]:
            raise Refused(f"a wrapped data key of {wrapped_size} bytes")
    elif wrapped_size - COMMITMENT_SIZE not in RSA_MODULUS_SIZES:
        raise Refused(f"a wrapped data key of {wrapped_size} bytes")
    body_at = wrapped_at + wrapped_size
    body = data[body_at:]
    if suite == SUITE_GCM and len(body) < 12 + 1 + 16:
        raise Refused("too short for nonce, one byte and tag")
    if suite == SUITE_CBC_HS512 and (len(body) < 16 + 16 + 32 or len(body) % 16 != 0):
        raise Refused("not IV, whole blocks and MAC")
    return Sealed(suite, mechanism, data[4 : 4 + id_size], data[wrapped_at:body_at], data[:body_at], body)


def derive(data_key, purpose, use, size):
    """HKDF-Expand with SHA-256 (RFC 5869, 2.3); the data key is the pseudorandom key."""
    info = b"dekhand/1/" + purpose.encode() + b"/" + use.encode()
    return HKDFExpand(algorithm=hashes.SHA256(), length=size, info=info).derive(data_key)


def wrap_associated_data(mechanism, key_id):
    """What mechanisms 1 and 2 authenticate beside the data key."""
    return b"dekhand/1/wrap" + bytes([mechanism]) + key_id


def commitment(data_key, purpose, mechanism, key_id, iv, ciphertext):
    """All the integrity of a wrap by mechanism 4, 5 or 6; `iv` is empty for 5 and 6."""
    key = derive(data_key, purpose, "commit", 32)
    message = bytes([FORMAT, mechanism, len(key_id)]) + key_id + iv + ciphertext
    return hmac.new(key, message, hashlib.sha256).digest()[:COMMITMENT_SIZE]


def payload_associated_data(purpose, header):
    """What both suites authenticate beside the payload."""
    return bytes([len(purpose)]) + purpose.encode() + header


def cbc_hs512_mac(mac_key, associated_data, iv, ciphertext):
    """HMAC-SHA-512 over A, IV, E and AL, its first half (RFC 7518, 5.2.2.1 and 5.2.5)."""
    bits = struct.pack(">Q", len(associated_data) * 8)
    return hmac.new(mac_key, associated_data + iv + ciphertext + bits, hashlib.sha512).digest()[:32]


def unwrap(root_key, purpose, sealed):
    """The data key. `root_key` is 32 bytes, or an RsaKey for mechanisms 5 and 6."""
    mechanism, wrapped = sealed.mechanism, sealed.wrapped
    if isinstance(root_key, bytes) == (mechanism in OAEP_HASH):
        raise Refused("the mechanism does not fit the root key")
    committed = None
    if mechanism in (GCM_12, GCM_16):
        iv_size = 12 if mechanism == GCM_12 else 16
        try:
            associated_data = wrap_associated_data(mechanism, sealed.id)
            data_key = AESGCM(root_key).decrypt(wrapped[:iv_size], wrapped[iv_size:], associated_data)
        except InvalidTag:
            raise Refused("the wrap's tag does not match") from None
    elif mechanism == KWP:
        try:
            data_key = aes_key_unwrap_with_padding(root_key, wrapped)
        except InvalidUnwrap:
            raise Refused("the wrap's integrity check does not match") from None
    elif mechanism == CBC:
        iv, ciphertext, committed = wrapped[:16], wrapped[16:48], wrapped[48:]
        decryptor = Cipher(algorithms.AES(root_key), modes.CBC(iv)).decryptor()
        data_key = decryptor.update(ciphertext) + decryptor.finalize()
    else:
        iv, ciphertext, committed = b"", wrapped[:-COMMITMENT_SIZE], wrapped[-COMMITMENT_SIZE:]
        if len(ciphertext) * 8 != root_key.bits:
            raise Refused("the wrap is not as long as the modulus")
        data_key = root_key.decrypt(mechanism, ciphertext)
    if len(data_key) != DATA_KEY_SIZE:
        raise Refused(f"a data key of {len(data_key)} bytes")
    if committed is not None:
        expected = commitment(data_key, purpose, mechanism, sealed.id, iv, ciphertext)
        if not hmac.compare_digest(expected, committed):
            raise Refused("the commitment does not match")
    return data_key


def open_body(data_key, purpose, sealed):
    """The payload, once its data key is known."""
    associated_data = payload_associated_data(purpose, sealed.header)
    body = sealed.body
    if sealed.suite == SUITE_GCM:
        key = derive(data_key, purpose, "gcm", 32)
        try:
            return AESGCM(key).decrypt(body[:12], body[12:], associated_data)
        except InvalidTag:
            raise Refused("the payload's tag does not match") from None
    keys = derive(data_key, purpose, "cbc-hs512", 64)
    return cbc_hs512_decrypt(keys, associated_data, body[:16], body[16:-32], body[-32:])


def cbc_hs512_decrypt(keys, associated_data, iv, ciphertext, mac):
    """Opens A256CBC-HS512: the MAC first, the padding only when it matches."""
    mac_key, encryption_key = keys[:32], keys[32:]
    if not hmac.compare_digest(cbc_hs512_mac(mac_key, associated_data, iv, ciphertext), mac):
        raise Refused("the payload's MAC does not match")
    decryptor = Cipher(algorithms.AES(encryption_key), modes.CBC(iv)).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    try:
        padded = decryptor.update(ciphertext) + decryptor.finalize()
        payload = unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        raise Refused("the padding is not PKCS#7") from None
    if not payload:
        raise Refused("an empty payload")
    return payload


def open_sealed(root_key, key_id, purpose, data):
    """(data key, payload) of a sealed payload that names `key_id`."""
    sealed = parse(data)
    if sealed.id != key_id:
        raise Refused("names another root key")
    data_key = unwrap(root_key, purpose, sealed)
    return data_key, open_body(data_key, purpose, sealed)
