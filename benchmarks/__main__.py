"""``python -m benchmarks``: every figure; ``python -m benchmarks.fleet`` and so on for one."""

from benchmarks import entrypoint_start, fleet, function_imports, soak, webhook_start

if __name__ == "__main__":
    webhook_start.main()
    function_imports.main()
    entrypoint_start.main()
    fleet.main()
    soak.main()
