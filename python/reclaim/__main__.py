# SPDX-License-Identifier: MIT
"""python3 -m reclaim: the command-line tool."""
import sys

from reclaim.cli import main

sys.exit(main())
