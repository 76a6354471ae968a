#!/usr/bin/env python3
"""Gives a fuzz target something to begin with, from files that the repository has anyway.

usage: seeds.py TARGET DIRECTORY
"""

import json
import random
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent


def seeds(target):
    """The inputs to begin with; none for a target that finds its way alone."""
    if target == "sealed_parse":
        for vector in sorted((TESTS / "vectors" / "v1").glob("*.json")):
            yield bytes.fromhex(json.loads(vector.read_text(encoding="utf-8"))["sealed"])
    elif target == "config_parse":
        example = (TESTS.parent / "config" / "dekhand.yaml").read_text(encoding="utf-8")
        yield example.encode()
        # Without its comments: shorter is faster. Then with the token that one of them describes.
        yield without_comments(example).encode()
        before, rest = example.split("    keyring:")
        _, after = rest.split("    #pkcs11:")
        token = ("    pkcs11:" + after).replace("\n    #", "\n    ")
        yield without_comments(before + token).encode()
    elif target == "keyring_parse":
        # The target puts a fitting digest in the place of one that does not fit.
        yield keyring([])
        yield keyring([version(1, "active")])
        yield keyring([version(1, "retired"), version(2, "active"), version(3, "pending")])
    elif target == "authority":
        # Connections that the target makes of any bytes; whole reads, and reads of other sizes.
        chance = random.Random(7)
        for number in range(60):
            yield bytes(4 if number % 2 else 0) + chance.randbytes(chance.randrange(20, 400))
    elif target == "decrypt":
        # Every sample as it is.
        for sample in range(12):
            yield bytes([sample])


def without_comments(text):
    """A configuration without what is no configuration."""
    lines = (line.split(" #")[0].rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("#"))


def version(number, state):
    """A version of a keyring."""
    since = {} if state == "pending" else {"since": "2026-03-01T12:00:00Z"}
    secret = {"origin": "generated", "key": f"{number:02x}" * 32}
    return {"number": number, "id": f"{number:02x}" * 16, "state": state, **since, **secret}


def keyring(versions):
    """A keyring file."""
    head = {"apiVersion": "dekhand/keyring/v1", "name": "kube-root"}
    return json.dumps({**head, "versions": versions, "digest": "00" * 32}).encode()


def main(target, directory):
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (directory / f"seed-{number}").write_bytes(seed)


if __name__ == "__main__":
    main(*sys.argv[1:])
