# SPDX-License-Identifier: MIT
"""Class-heavy loops: small objects with attributes, methods that make new ones, a tree of nodes."""
import idle


class Vector:
    def __init__(self, x, y, z):
        self.x, self.y, self.z = x, y, z

    def __add__(self, other):
        return Vector(self.x + other.x, self.y + other.y, self.z + other.z)

    def scaled(self, by):
        return Vector(self.x * by, self.y * by, self.z * by)


class Node:
    def __init__(self, key):
        self.key, self.left, self.right = key, None, None


def insert(root, key):
    at = root
    while True:
        side = "left" if key < at.key else "right"
        down = getattr(at, side)
        if down is None:
            setattr(at, side, Node(key))
            return
        at = down


def main():
    speed, place = Vector(0.1, 0.2, 0.3), Vector(0.0, 0.0, 0.0)
    for step in range(1000000):
        place = place + speed.scaled(0.5)
    for turn in range(6):
        root, key = Node(1 << 30), turn + 1
        for _ in range(20000):
            key = key * 1103515245 + 12345 & 0x7fffffff
            insert(root, key)


main()
idle.done()
