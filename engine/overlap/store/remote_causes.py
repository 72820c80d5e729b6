"""Why a request to an object store failed, whether to try again, and what to do: read off obstore's errors."""

import math
import re
from dataclasses import dataclass

from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

from overlap.store.addresses import CREDENTIALS

CREDENTIALS_PATIENCE_S = 10.0  # a machine's metadata service may stumble; where there is none it stays silent

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_KIND = re.compile(r"kind: HttpErrorKind::(\w+)|HttpError \{\s+kind: (\w+)")
_METADATA = re.compile(r"169\.254\.\d|/latest/(api/token|meta-data)|computeMetadata|metadata\.google")
_EXPIRED = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
_AGAIN = {"RequestTimeout", "BadDigest", "IncompleteBody", "OperationAborted", "SlowDown"}  # whatever their status
_FULL = {"QuotaExceeded", "XMinioStorageFull"}
_AGAIN_STATUS = {408, 409, 425, 429}
_NEVER_STATUS = {501, 505}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What happened, in a few words without any secret; what to do; and for how long trying again has a point."""

    reason: str
    advice: str
    patience_s: float = 0.0
    full: bool = False


def cause_of(error: Exception, scheme: str) -> Cause:
    """Reads an obstore error; what it does not know for certain to be final, is worth trying again."""
    text = str(error)
    found = _STATUS.search(text)
    status = int(found[1]) if found else 0
    code = (_CODE.search(text) or [text, ""])[1]
    reason = f"{status} {code}".strip() if status else _first_line(text)
    if "NoSuchBucket" in text:
        return Cause(reason="there is no such bucket", advice="make it, or correct the address")
    if _METADATA.search(text):
        advice = f"set {CREDENTIALS[scheme]}"
        if scheme == "s3":
            advice += "; ~/.aws is not read, 'aws configure export-credentials --format env' prints what to set"
        return Cause(reason="there are no credentials", advice=advice, patience_s=CREDENTIALS_PATIENCE_S)
    if code in _FULL or status == 507:
        return Cause(reason=reason, advice="make room or raise the quota, and run the same command again", full=True)
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or status in {401, 403} or code in _EXPIRED:
        advice = f"check {CREDENTIALS[scheme]}: they must be allowed to list, read and write there"
        return Cause(reason=reason, advice=advice)
    if "BadScheme" in text:
        advice = "use https, or set AWS_ALLOW_HTTP=true if the network between is yours alone"
        return Cause(reason="the endpoint is plain http", advice=advice)
    if "configured region" in text or status in {301, 307, 308}:
        return Cause(reason="the bucket is in another region", advice="set AWS_REGION to the bucket's")
    final = (400 <= status < 500 and status not in _AGAIN_STATUS) or status in _NEVER_STATUS
    if isinstance(error, ValueError) or "invalid path" in text or (final and code not in _AGAIN):
        return Cause(reason=reason, advice="the store does not understand the request; check the address and endpoint")
    advice = "nothing that was stored is lost: run the same command again when the store answers"
    return Cause(reason=reason, advice=advice, patience_s=math.inf)


def is_missing_object(error: FileNotFoundError) -> bool:
    """False if it is the bucket that is missing."""
    return "NoSuchBucket" not in str(error)


def _first_line(text: str) -> str:
    """What stands before the debug part, without queries and quotations: both may hold tokens."""
    line = text.partition("\n")[0].rpartition(" - ")[2]
    kind = _KIND.search(text)
    line = re.sub(r'"[^"]*"', '"..."', re.sub(r"\?\S*", "?...", line))
    return f"{line} ({(kind[1] or kind[2]).lower()})" if kind else line
