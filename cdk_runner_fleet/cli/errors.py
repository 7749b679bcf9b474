"""What goes wrong for reasons a user can mend."""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)

__all__ = ["FleetError", "explain", "is_refused_as"]

_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_UNKNOWN_KEY = {"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"}
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}


class FleetError(Exception):
    """A failure to report without a traceback.

    Args:
        message: What was given or found, and the remedy.
        exit_code: The command's exit status: 1 for failures, 2 for wrong usage, 130 for Ctrl-C.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def is_refused_as(error: ClientError, *codes: str) -> bool:
    """Whether AWS refused a call with one of these error codes."""
    return error.response.get("Error", {}).get("Code") in codes


def explain(error: BotoCoreError | ClientError) -> str:
    """What an AWS error means for the user, with its remedy."""
    match error:
        case NoCredentialsError() | PartialCredentialsError():
            return (
                "no AWS credentials found: name a profile with --profile, "
                "run `aws sso login`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        case ProfileNotFound():
            return f"{error}: see `aws configure list-profiles` for those there are"
        case NoRegionError():
            return "no AWS region is set: give --region or set AWS_REGION"
        case EndpointConnectionError():
            return f"{error} Is --region right, and AWS_ENDPOINT_URL, if it is set?"
        case ClientError() if is_refused_as(error, *_EXPIRED):
            return "the AWS session has expired: sign in again, for example with `aws sso login`"
        case ClientError() if is_refused_as(error, *_UNKNOWN_KEY):
            return "AWS does not know these credentials: check --profile and the account"
        case ClientError() if is_refused_as(error, *_DENIED):
            return f"{error}. Ask for that permission, or use another --profile"
    return f"AWS call failed: {error}"
