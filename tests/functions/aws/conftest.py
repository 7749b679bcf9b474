"""Secrets Manager and EventBridge as a delivery meets them."""

from __future__ import annotations

from .. import light_aws

light = light_aws.light
