# SPDX-License-Identifier: MIT
"""String building: joins, formats, replacements, slices, a buffer that grows."""
import io

import idle


def main():
    for turn in range(20):
        parts = ["%d:%s;" % (n, "abc" * (n % 50)) for n in range(30000)]
        text = "".join(parts)
        text = text.replace("abc", "defg").upper()
        lines = text.split(";")
        buffer = io.StringIO()
        for line in lines:
            buffer.write(line.center(80))
            buffer.write("\n")
        whole = buffer.getvalue()
        pieces = [whole[at:at + 1000] for at in range(0, len(whole), 700)]
        encoded = [piece.encode() for piece in pieces]
        b"".join(encoded).decode()
        grown = ""
        for n in range(20000):
            grown += str(n)


main()
idle.done()
