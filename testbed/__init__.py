"""A fleet on this machine that things go wrong with, and what must hold of it afterwards.

Shared by tests and benchmarks, and imports neither.
"""

import sys

from cdk_runner_fleet._assets import FUNCTIONS

sys.path.append(str(FUNCTIONS))  # no package that is installed: the stage reads the ledger with it
