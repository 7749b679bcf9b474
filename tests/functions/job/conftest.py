"""The functions that jobs come to."""

from __future__ import annotations

from .. import entry_points, light_aws

dispatch = entry_points.dispatch
light = light_aws.light
