"""The legs of a matrix and their names, by GitHub's rules.

Source: actions/runner, src/Sdk/WorkflowParser/Conversion (MatrixBuilder, JobNameBuilder) as
documentation; docs.github.com, "Running variations of jobs in a workflow".
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cdk_runner_fleet.local.twin.coercions import as_text, same
from cdk_runner_fleet.local.twin.expressions import ExpressionError, item_of

__all__ = ["MAX_LEGS", "Combination", "Matrix", "combinations", "leg_name"]

MAX_LEGS = 256  # docs.github.com, Actions limits: jobs a matrix generates per run
MAX_NAME = 100

Matrix = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One leg.

    Args:
        values: what the `matrix` context is in it.
        named: those of its values that its name shows: what `include` added is not among them.
    """

    values: Matrix
    named: Matrix


def combinations(matrix: object) -> list[Combination]:
    """The product of the vectors less `exclude`, then `include` extends it or adds to it.

    Raises:
        ExpressionError: GitHub takes no such matrix.
    """
    vectors, include, exclude = _checked(matrix)
    product = (
        dict(zip(vectors, values, strict=True)) for values in itertools.product(*vectors.values())
    )
    originals = [
        original
        for original in (product if vectors else ())
        if not any(_matches(original, pattern) for pattern in exclude)
    ]
    extended = [dict(original) for original in originals]
    added: list[Matrix] = []
    for extra in include:
        # It may add to a combination but not change a value that the vectors gave it.
        fixed = {name: value for name, value in extra.items() if _key(vectors, name)}
        free = {name: value for name, value in extra.items() if name not in fixed}
        fits = [index for index, each in enumerate(originals) if _matches(each, fixed)]
        for index in fits:
            for name, value in free.items():
                extended[index][_key(extended[index], name) or name] = value
        if not fits:
            added.append(fixed | free)
    found = [
        Combination(values=values, named=original)
        for values, original in zip(extended, originals, strict=True)
    ]
    found += [Combination(values=extra, named=extra) for extra in added]
    if not 1 <= len(found) <= MAX_LEGS:
        raise ExpressionError(f"The matrix has {len(found)} combinations; allowed: 1-{MAX_LEGS}")
    return found


def check_matrix(matrix: object) -> None:
    """What GitHub looks at as soon as it reads a matrix; raises ExpressionError."""
    _checked(matrix)


def leg_name(job: str, named: Matrix) -> str:
    """A leg's name, e.g. `test (3.12, linux)`; empty values are left out, a long one is cut."""
    values = ", ".join(text for text in _flat(named.values()) if text)
    name = f"{job} ({values})" if values else job
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 3]}..."


def _checked(matrix: object) -> tuple[dict[str, Any], list[Matrix], list[Matrix]]:
    """Its vectors, what it includes and what it excludes."""
    if not isinstance(matrix, Mapping):
        raise ExpressionError("A mapping was expected for the matrix")
    vectors = {
        name: value for name, value in matrix.items() if name.lower() not in ("include", "exclude")
    }
    for name, value in vectors.items():
        if not isinstance(value, list):
            raise ExpressionError(f"A sequence was expected for the matrix vector '{name}'")
        if not value:
            raise ExpressionError(f"Matrix vector '{name}' does not contain any values")
    include, exclude = _filters(matrix, "include"), _filters(matrix, "exclude")
    for pattern in exclude:
        for name in pattern:
            if not _key(vectors, name):
                raise ExpressionError(
                    f"Matrix exclude key '{name}' does not match any key within the matrix"
                )
    if not vectors and not include:
        raise ExpressionError("Matrix must define at least one vector")
    return vectors, include, exclude


def _filters(matrix: Matrix, name: str) -> list[Matrix]:
    key = _key(matrix, name)
    found = matrix[key] if key else None
    if found is None:
        return []
    if not isinstance(found, list):
        raise ExpressionError(f"A sequence was expected for the matrix {name}")
    for pattern in found:
        if not isinstance(pattern, Mapping):
            raise ExpressionError(f"A mapping was expected in the matrix {name}")
        if not pattern:
            raise ExpressionError(f"Matrix {name} filter must not be empty")
    return found


def _key(values: Matrix, name: str) -> str | None:
    """How a name is spelled in a mapping."""
    return next((key for key in values if key.lower() == name.lower()), None)


def _matches(value: object, pattern: object) -> bool:
    """Whether each value in a pattern equals, as `==` has it, what stands in its place."""
    if isinstance(pattern, Mapping):
        return all(_matches(item_of(value, key), inner) for key, inner in pattern.items())
    if isinstance(pattern, list):
        return all(_matches(item_of(value, index), inner) for index, inner in enumerate(pattern))
    return same(value, pattern)


def _flat(values: Iterable[Any]) -> list[str]:
    """The values in a leg's name; GitHub writes an object as its own values."""
    texts: list[str] = []
    for value in values:
        if isinstance(value, Mapping):
            texts += _flat(value.values())
        elif isinstance(value, list):
            texts += _flat(value)
        else:
            texts.append(as_text(value))
    return texts
