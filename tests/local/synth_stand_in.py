"""`python -m tests.local.synth_stand_in OUTDIR`: says that it ran, and is done at once."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    outdir = Path(sys.argv[1])
    context = json.load(sys.stdin)
    with Path(os.environ["SYNTHESES"]).open("a") as log:
        log.write(f"{outdir}\n")
    if "edits" in context:
        Path(context["edits"]).write_text("edited\n")
    if "wrong" in context:
        sys.exit("wrong is a setting that cannot work" if context["wrong"] == "fails" else 2)
    (outdir / "asset.1").mkdir(parents=True)
    (outdir / "RunnerFleet.template.json").write_text(json.dumps(context))
    script = outdir / "asset.1" / "run.sh"
    script.write_text("true\n")
    script.chmod(0o755)
