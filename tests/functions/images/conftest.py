"""The fixtures of all tests of images."""

from __future__ import annotations

from .. import image_fleet

fleet = image_fleet.fleet
unregistered = image_fleet.unregistered
