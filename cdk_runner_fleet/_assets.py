"""Where the files that travel with the library lie: the only module that knows disk paths.

In an installed wheel they are under ``cdk_runner_fleet/_bundled``; in a checkout (also an editable
install) at the repository's root. The bundle is looked for first, because site-packages could hold
somebody else's ``functions`` folder.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_BUNDLE = _PACKAGE / "_bundled"
_ROOT = _BUNDLE if _BUNDLE.is_dir() else _PACKAGE.parent

FUNCTIONS = _ROOT / "functions"
RUNNER_IMAGE = _ROOT / "runner_image"
RUNNER_RELEASE = RUNNER_IMAGE / "release.json"
STATE_MACHINE = _ROOT / "statemachines" / "runner_lifecycle.asl.json"
