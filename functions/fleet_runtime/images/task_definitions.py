"""Has the families of images made and taken away, by the one function that may."""

from __future__ import annotations

import json

from botocore.exceptions import ClientError

from fleet_runtime.aws.client import Client
from fleet_runtime.job.image_reference import family_name


class TaskDefinitions:
    """Asks for what ``Families`` does, with the same words.

    Args:
        functions: A Lambda client.
        function_name: Who is asked.
        prefix: What the names of this deployment's families begin with.
    """

    def __init__(self, *, functions: Client, function_name: str, prefix: str) -> None:
        self._functions = functions
        self._function_name = function_name
        self._prefix = prefix

    def name(self, tag: str) -> str:
        """Return the name of an image's family."""
        return family_name(self._prefix, tag)

    def register(self, family: str, *, image: str, architecture: str) -> str:
        """Launch another image by a family from now on; returns the revision's ARN."""
        return self._ask("register", family=family, image=image, architecture=architecture)

    def keep_only(self, revision: str) -> None:
        """Take all other revisions of a family away; nothing happens if ``revision`` is empty."""
        if revision:
            self._ask("keep_only", revision=revision)

    def withdraw(self, family: str, *, image: str) -> None:
        """Let a family launch nothing any more, unless its newest revision is of another image."""
        self._ask("withdraw", family=family, image=image)

    def _ask(self, do: str, **about: str) -> str:
        payload = json.dumps({"do": do, **about}).encode()
        answer = self._functions.invoke(FunctionName=self._function_name, Payload=payload)
        told = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            # what AWS refused there is refused here, and tried again alike
            error = {"Code": told.get("errorType", ""), "Message": told.get("errorMessage", "")}
            raise ClientError({"Error": error}, "Invoke")
        return str(told["revision"])
