# SPDX-License-Identifier: MIT
"""The memory of a program over time, as `reclaim run --plot` records it.

    family      the processes that a process has started, and what /proc says of each
    record      looks at them at intervals; what it saw as CSV
    draw        a picture, with matplotlib
"""
