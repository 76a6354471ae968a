#!/usr/bin/env python3
"""Gives a fuzz target something to begin with, from files that the repository has anyway.

usage: seeds.py TARGET DIRECTORY
"""

import json
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent


def seeds(target):
    """The inputs to begin with; none for a target that finds its way alone."""
    if target == "sealed_parse":
        for vector in sorted((TESTS / "vectors" / "v1").glob("*.json")):
            yield bytes.fromhex(json.loads(vector.read_text(encoding="utf-8"))["sealed"])
    elif target == "decrypt":
        # Every sample as it is.
        for sample in range(12):
            yield bytes([sample])


def main(target, directory):
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (directory / f"seed-{number}").write_bytes(seed)


if __name__ == "__main__":
    main(*sys.argv[1:])
