# SPDX-License-Identifier: MIT
"""A document of records, written and read as JSON again and again."""
import json
import random

import idle


def record(rng, number):
    return {"id": number, "name": "user%d" % number, "score": rng.random(),
            "tags": ["tag%d" % rng.randrange(1000) for _ in range(rng.randrange(8))],
            "address": {"street": "street %d" % rng.randrange(10000), "zip": str(rng.randrange(99999))},
            "text": "lorem ipsum " * rng.randrange(20)}


def main():
    rng = random.Random(2)
    document = [record(rng, number) for number in range(15000)]
    for _ in range(6):
        text = json.dumps(document)
        document = json.loads(text)


main()
idle.done()
