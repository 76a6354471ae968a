#!/usr/bin/env python3
"""Made the test vectors of the sealed format, version 1. Vectors are never edited: an existing file is not overwritten.

usage: make.py [DIRECTORY]                 (default: the directory v1 beside this program)

All randomness comes from a hash of the vector's name, so a second run gives the same bytes; except RSA keys and OAEP,
for which the library takes its own.
"""

import hashlib
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import sealed


def seeded(name, label, size):
    """`size` bytes that belong to this vector and label."""
    return hashlib.shake_256(f"dekhand vectors v1/{name}/{label}".encode()).digest(size)


def wrap(root_key, data_key, name, mechanism, purpose, key_id):
    """The wrapped data key."""
    if mechanism in (sealed.GCM_12, sealed.GCM_16):
        iv = seeded(name, "wrap iv", 12 if mechanism == sealed.GCM_12 else 16)
        return iv + AESGCM(root_key).encrypt(iv, data_key, sealed.wrap_associated_data(mechanism, key_id))
    if mechanism == sealed.KWP:
        return aes_key_wrap_with_padding(root_key, data_key)
    if mechanism == sealed.CBC:
        iv = seeded(name, "wrap iv", 16)
        encryptor = Cipher(algorithms.AES(root_key), modes.CBC(iv)).encryptor()
        ciphertext = encryptor.update(data_key) + encryptor.finalize()
    else:
        iv = b""
        digest = sealed.OAEP_HASH[mechanism]
        oaep = rsa_padding.OAEP(mgf=rsa_padding.MGF1(digest()), algorithm=digest(), label=None)
        ciphertext = root_key.public_key().encrypt(data_key, oaep)
    return iv + ciphertext + sealed.commitment(data_key, purpose, mechanism, key_id, iv, ciphertext)


def seal_body(data_key, name, suite, purpose, header, payload):
    """Nonce or IV, ciphertext, tag or MAC."""
    associated_data = sealed.payload_associated_data(purpose, header)
    if suite == sealed.SUITE_GCM:
        nonce = seeded(name, "nonce", 12)
        return nonce + AESGCM(sealed.derive(data_key, purpose, "gcm", 32)).encrypt(nonce, payload, associated_data)
    iv = seeded(name, "iv", 16)
    keys = sealed.derive(data_key, purpose, "cbc-hs512", 64)
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(keys[32:]), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(padder.update(payload) + padder.finalize()) + encryptor.finalize()
    return iv + ciphertext + sealed.cbc_hs512_mac(keys[:32], associated_data, iv, ciphertext)


def make(suite, mechanism, purpose, id_size, payload_size, root_key):
    """One vector, as the file holds it."""
    name = f"suite{suite}-mechanism{mechanism}-{purpose}-id{id_size}-payload{payload_size}"
    data_key = seeded(name, "data key", sealed.DATA_KEY_SIZE)
    key_id = seeded(name, "id", id_size)
    payload = seeded(name, "payload", payload_size)
    if root_key is None:
        root_key = seeded(name, "root key", 32)
        written_key = root_key.hex()
    else:
        written_key = root_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    wrapped = wrap(root_key, data_key, name, mechanism, purpose, key_id)
    header = bytes([sealed.FORMAT, suite, mechanism, id_size]) + key_id + len(wrapped).to_bytes(2, "big") + wrapped
    body = seal_body(data_key, name, suite, purpose, header, payload)
    return {
        "name": name,
        "suite": suite,
        "mechanism": mechanism,
        "purpose": purpose,
        "id": key_id.hex(),
        "root_key": written_key,
        "data_key": data_key.hex(),
        "payload": payload.hex(),
        "sealed": (header + body).hex(),
    }


def everything():
    """Each vector's suite, mechanism, purpose, id size, payload size and RSA key size."""
    for suite in (sealed.SUITE_GCM, sealed.SUITE_CBC_HS512):
        for mechanism in sealed.WRAPPED_SIZE:
            for id_size in (8, 16, 32):
                yield suite, mechanism, "kms2", id_size, 32, None
        for mechanism in sealed.OAEP_HASH:
            yield suite, mechanism, "kms2", 8, 32, 2048
            yield suite, mechanism, "kms2", 16, 32, 3072
        for purpose in ("kms1", "codec", "seal"):
            yield suite, sealed.GCM_12, purpose, 16, 32, None
        # A commitment is made with a key of the purpose: one that is not kms2 also there.
        yield suite, sealed.CBC, "seal", 16, 32, None
        for payload_size in (1, 15, 16, 17, 300):
            yield suite, sealed.GCM_12, "kms2", 16, payload_size, None
    # The largest modulus, once for each hash: opening it is slow.
    yield sealed.SUITE_GCM, sealed.OAEP_SHA256, "kms2", 32, 32, 4096
    yield sealed.SUITE_CBC_HS512, sealed.OAEP_SHA1, "kms2", 32, 32, 4096


def main(arguments):
    directory = Path(arguments[0]) if arguments else Path(__file__).resolve().parent / "v1"
    directory.mkdir(parents=True, exist_ok=True)
    rsa_keys, made, kept = {}, 0, 0
    for suite, mechanism, purpose, id_size, payload_size, bits in everything():
        if bits is not None and bits not in rsa_keys:
            rsa_keys[bits] = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        vector = make(suite, mechanism, purpose, id_size, payload_size, rsa_keys.get(bits))
        path = directory / (vector["name"] + ".json")
        try:
            with path.open("x", encoding="utf-8") as file:
                json.dump(vector, file, indent=2)
                file.write("\n")
            made += 1
        except FileExistsError:
            kept += 1
    print(f"{made} made, {kept} there already and left alone")


if __name__ == "__main__":
    main(sys.argv[1:])
