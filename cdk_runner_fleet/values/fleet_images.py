"""Which image each class runs in, by names that tell the images of one fleet apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cdk_runner_fleet.values.runner_class import ARCHITECTURES, Architecture, RunnerClass
from cdk_runner_fleet.values.runner_image import BuiltImage, ReadyImage, RunnerImage

_DEFAULT = "default"


@dataclass(frozen=True, kw_only=True)
class FleetImages:
    """The images of a fleet.

    Attributes:
        by_name: Each by its name, that of classes without one of their own first.
        of_classes: The names of those that classes have of their own.
        architectures: For each, those of the classes that run in it.
    """

    by_name: Mapping[str, RunnerImage]
    of_classes: Mapping[str, str]
    architectures: Mapping[str, Sequence[Architecture]]

    @classmethod
    def of(cls, default: RunnerImage, classes: Mapping[str, RunnerClass]) -> FleetImages:
        """Name the images of a fleet.

        Args:
            default: What classes without an image of their own run in. It is called ``default``
                unless it has a name.
            classes: The classes by name. An image of one of them is called like it unless it has a
                name; the same image in two classes is one.

        Raises:
            ValueError: if two images have one name.
        """
        by_name = {default.name or _DEFAULT: default}
        of_classes: dict[str, str] = {}
        for class_name, runner_class in classes.items():
            image = runner_class.image
            if image is None:
                continue
            known = next((name for name, one in by_name.items() if one == image), None)
            name = known or image.name or class_name
            if by_name.setdefault(name, image) != image:
                raise ValueError(
                    f"image of class {class_name!r} is called {name!r} and so is another one of "
                    "the fleet: give it a name of its own (name=)"
                )
            of_classes[class_name] = name
        used = {
            name: {
                one.architecture
                for class_name, one in classes.items()
                if of_classes.get(class_name, default.name or _DEFAULT) == name
            }
            for name in by_name
        }
        return cls(
            by_name=by_name,
            of_classes=of_classes,
            architectures={
                name: [one for one in ARCHITECTURES if one in found] for name, found in used.items()
            },
        )

    @property
    def default(self) -> RunnerImage:
        """What classes without an image of their own run in."""
        return next(iter(self.by_name.values()))

    @property
    def default_name(self) -> str:
        """What it is called."""
        return next(iter(self.by_name))

    @property
    def built(self) -> Mapping[str, BuiltImage]:
        """Those that are built."""
        return {name: one for name, one in self.by_name.items() if isinstance(one, BuiltImage)}

    @property
    def ready(self) -> Mapping[str, ReadyImage]:
        """Those that are there."""
        return {name: one for name, one in self.by_name.items() if isinstance(one, ReadyImage)}

    def first_class(self, name: str) -> str:
        """The first class that has an image of its own by this name."""
        return next(one for one, image in self.of_classes.items() if image == name)
