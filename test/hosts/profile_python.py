# SPDX-License-Identifier: MIT
"""profile_python.py FOLDER - a Python program that knows who has allocated what, and asks its profile.

Run under the preload with prof:true, prof_signal:USR2 and a prefix in FOLDER.  Every allocation that
is looked at is a bytes object of at least 8 MiB, of a size of its own; expect() notes the stack at
which it is made, as sys._getframe tells it.  At the end the sums per stack must be the profile's.
"""
import asyncio
import functools
import glob
import os
import re
import signal
import sys
import threading

MIB = 1 << 20
PAGE = 4096
HEADER = bytes().__sizeof__()
expected = {}
lock = threading.Lock()
made = 0


def expect(line=0):
    """The length of the next bytes object, to be made by the caller, so many lines from here."""
    global made
    with lock:
        made += 1
        size = 8 * MIB + made * PAGE
    stack = []
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)
        stack.append((name, code.co_filename, frame.f_lineno + line))
        line = 0
        frame = frame.f_back
    key = tuple(stack)
    with lock:
        expected[key] = expected.get(key, 0) + size
    return size - HEADER - 8  # whole pages with its header and the NUL


def plain():
    return bytes(expect())


def nested():
    def inner():
        return [bytes(expect()) for _ in range(2)]
    return inner()


def several_lines():
    return dict(
        one=1,
        two=len(
            bytes(expect())
        ),
    )


def generator(count):
    for _ in range(count):
        yield len(bytes(expect()))


def delegating():
    yield from generator(2)


class Thing:
    def __init__(self):
        self.size = len(bytes(expect()))

    @property
    def value(self):
        return len(bytes(expect()))

    @staticmethod
    def still():
        return len(bytes(expect()))

    @classmethod
    def of_class(cls):
        return len(bytes(expect()))

    def __lt__(self, other):
        return len(bytes(expect())) < 0

    def __del__(self):
        bytes(expect())


def recursive(depth):
    if depth == 0:
        return bytes(expect())
    return recursive(depth - 1)


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args):
        bytes(expect())
        return function(*args)
    return wrapper


@decorated
def under_a_wrapper():
    return bytes(expect())


def raising():
    try:
        raise ValueError
    except ValueError:
        bytes(expect())
    finally:
        bytes(expect())


def made_at_run_time():
    space = {"expect": expect}
    exec(compile("def größe():\n\n\n  return bytes(expect())\ngröße()\n", "/nirgends/ü.py", "exec"),
         space)
    return eval("len(bytes(expect()))", space)


def by_signal():
    def handler(number, frame):
        bytes(expect())
    signal.signal(signal.SIGUSR1, handler)
    os.kill(os.getpid(), signal.SIGUSR1)


def called_back():
    sorted(range(3), key=lambda n: len(bytes(expect())))
    list(map(lambda n: len(bytes(expect())), range(2)))
    re.sub("x", lambda match: str(len(bytes(expect()))), "axbx")
    sorted([Thing(), Thing()])


async def waiting(depth):
    bytes(expect())
    await asyncio.sleep(0)
    bytes(expect())
    if depth > 0:
        await waiting(depth - 1)


async def together():
    await asyncio.gather(waiting(2), waiting(0))
    await asyncio.get_running_loop().run_in_executor(None, plain)


def threads():
    workers = [threading.Thread(target=lambda: (plain(), recursive(3))) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def again(turn):
    """Specialised by the interpreter after some turns."""
    return len(bytes(expect())) if turn % 300 == 0 else 0


def work():
    for part in (plain, nested, several_lines, under_a_wrapper, raising, made_at_run_time, by_signal,
                 called_back, threads):
        part()
    list(generator(3))
    list(delegating())
    thing = Thing()
    thing.value, Thing.still(), Thing.of_class()
    del thing
    for depth in (1, 5, 60):
        recursive(depth)
    for turn in range(601):
        again(turn)
    asyncio.run(together())


def read_profile(path):
    """Cumulative bytes by stack of Python frames."""
    names, found, stack = {}, {}, None
    with open(path, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            frame = re.match(r"# frame (0x\w+) (\d+) (.*)\t(.*)\n", line)
            if frame:
                names[frame[1]] = (frame[3], frame[4], int(frame[2]))
            if line.startswith("@ "):
                stack = line.split()[1:]
            count = re.match(r"  t\*: \d+: \d+ \[\d+: (\d+)\]", line)
            if count and stack:
                key = tuple(stack)
                found[key] = found.get(key, 0) + int(count[1])
    result = {}
    for stack, count in found.items():
        key = tuple(names[address] for address in stack if address in names)
        result[key] = result.get(key, 0) + count
    return result


def main():
    work()
    os.kill(os.getpid(), signal.SIGUSR2)
    found = read_profile(glob.glob(os.path.join(sys.argv[1], "p.*.heap"))[0])
    wrong = 0
    for stack, size in expected.items():
        count = found.get(stack, 0)
        # Small objects made on the same line are sampled with it.
        if not size <= count <= size * 1.02 + MIB:
            wrong += 1
            print("expected %d, found %d at %s" % (size, count, stack[:4]))
    for stack, size in found.items():
        if size >= 8 * MIB and stack not in expected:
            wrong += 1
            print("not expected: %d at %s" % (size, stack[:4]))
    print("%s: %d stacks, %d wrong" % (sys.version.split()[0], len(expected), wrong))
    return 1 if wrong or len(expected) < 30 else 0


sys.exit(main())
