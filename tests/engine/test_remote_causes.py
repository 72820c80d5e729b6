import pytest
from obstore.exceptions import GenericError, PermissionDeniedError, UnauthenticatedError

from overlap.store.remote_causes import CREDENTIALS_PATIENCE_S, cause_of

FOREVER = float("inf")
ANSWER = "Generic S3 error: Error performing PUT http://h/b/a in 3ms - Server returned non-2xx status code: "


def answer(status, code):
    return f'{ANSWER}{status} Something: <?xml version="1.0"?>\n<Error><Code>{code}</Code></Error>\n\nDebug source:\nX'


@pytest.mark.parametrize(
    ("error", "reason", "patience_s"),
    [
        (GenericError(answer(503, "SlowDown")), "503 SlowDown", FOREVER),
        (GenericError(answer(500, "InternalError")), "500 InternalError", FOREVER),
        (GenericError(answer(429, "TooManyRequests")), "429 TooManyRequests", FOREVER),
        (GenericError(answer(400, "RequestTimeout")), "400 RequestTimeout", FOREVER),
        (GenericError(answer(400, "BadDigest")), "400 BadDigest", FOREVER),
        (GenericError(answer(409, "ConditionalRequestConflict")), "409 ConditionalRequestConflict", FOREVER),
        (GenericError("HTTP error: error sending request"), "HTTP error: error sending request", FOREVER),
        (OSError("got 3 bytes, expected 4"), "got 3 bytes, expected 4", FOREVER),
        (FileNotFoundError(answer(404, "NoSuchKey")), "404 NoSuchKey", 0),
        (GenericError("Encountered object with invalid path: Path x"), "Encountered object with invalid path", 0),
        (FileNotFoundError(answer(404, "NoSuchBucket")), "there is no such bucket", 0),
        (GenericError(answer(404, "NoSuchBucket")), "there is no such bucket", 0),
        (PermissionDeniedError(answer(403, "AccessDenied")), "403 AccessDenied", 0),
        (UnauthenticatedError(answer(401, "Unauthorized")), "401 Unauthorized", 0),
        (GenericError(answer(400, "ExpiredToken")), "400 ExpiredToken", 0),
        (GenericError(answer(400, "InvalidArgument")), "400 InvalidArgument", 0),
        (GenericError(answer(501, "NotImplemented")), "501 NotImplemented", 0),
        (GenericError(answer(301, "PermanentRedirect")), "the bucket is in another region", 0),
        (GenericError("Received redirect without LOCATION, incorrectly configured region"), "the bucket is in", 0),
        (GenericError("PUT http://169.254.169.254/latest/api/token"), "no credentials", CREDENTIALS_PATIENCE_S),
        (ValueError('Could not parse path: Path "a//b" contained'), "Could not parse path", 0),
    ],
)
def test_what_may_pass_is_tried_again_and_nothing_else(error, reason, patience_s):
    cause = cause_of(error, "s3")
    assert reason in cause.reason
    assert cause.patience_s == patience_s
    assert cause.advice


def test_no_query_and_no_quotation_is_repeated():
    error = GenericError('POST https://sts.amazonaws.com/?Action=A&WebIdentityToken=SECRET "SECRET" in 3ms\n\nSECRET')
    assert "SECRET" not in cause_of(error, "s3").reason


def test_the_advice_names_the_credentials_of_its_cloud():
    assert "GOOGLE_APPLICATION_CREDENTIALS" in cause_of(PermissionDeniedError("x"), "gs").advice


@pytest.mark.parametrize(("status", "code"), [(403, "QuotaExceeded"), (507, "XMinioStorageFull"), (507, "")])
def test_a_store_without_room_is_full(status, code):
    cause = cause_of(PermissionDeniedError(answer(status, code)), "s3")
    assert cause.full
    assert cause.patience_s == 0
