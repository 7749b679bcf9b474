"""``python -m benchmarks``: every figure; ``python -m benchmarks.fleet`` and so on for one."""

import argparse

from benchmarks import (
    cost,
    entrypoint_start,
    fleet,
    function_imports,
    library,
    soak,
    webhook_start,
)

if __name__ == "__main__":
    # sizes are each benchmark's own
    argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__).parse_args()
    webhook_start.main()
    function_imports.main()
    entrypoint_start.main()
    library.main()
    cost.main()
    fleet.main()
    soak.main()
