import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlap.errors import StoreMismatchError
from overlap.store import open_objects
from overlap.store.addresses import read_address
from overlap.store.local import LocalObjects

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("S3://bucket/a/b//", "s3://bucket/a/b"),
        ("gs://my.bucket_1/sweeps/a=1,b=(2) +c-d", "gs://my.bucket_1/sweeps/a=1,b=(2) +c-d"),
    ],
)
def test_an_address_has_one_normal_form(url, normal):
    assert str(read_address(url)) == normal
    assert str(read_address(normal)) == normal


@pytest.mark.parametrize(
    "url",
    [
        f"s3://key:{SECRET}@bucket/a",
        f"s3://{SECRET}@bucket",
        f"s3://key:{SECRET}/with/slashes@bucket/a",
        f"gs://key:{SECRET}@bucket",
        f"s3://key:{SECRET}/bucket",
        f"s3://bucket/a?X-Amz-Signature={SECRET}",
        f"s3://bucket?secret={SECRET}",
        f"s3://bucket/a#{SECRET}",
        f"s3:key:{SECRET}@bucket",
        f"https://key:{SECRET}@host/bucket",
        f"https://host/bucket?token={SECRET}",
    ],
)
def test_an_address_with_a_secret_is_refused_and_not_repeated(url):
    with pytest.raises(StoreMismatchError) as caught:
        open_objects(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert any(word in str(caught.value) for word in ("AWS_", "GOOGLE_", "environment", "give a folder"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://", "'' is no bucket's name; expected s3://bucket/prefix"),
        ("s3:///a", "'' is no bucket's name"),
        ("gs://-b/a", "'-b' is no bucket's name; expected gs://bucket/prefix"),
        ("s3://a b/c", "'a b' is no bucket's name"),
        ("s3:/bucket/a", "'s3:/bucket/a' is no address; expected s3://bucket/prefix"),
        ("s3:bucket/a", "is no address; expected s3://bucket/prefix"),
        ("s3://bucket/a/../b", "'..' cannot be a part of the prefix"),
        ("s3://bucket/./b", "'.' cannot be a part of the prefix"),
        ("s3://bucket/a//b", "'' cannot be a part of the prefix"),
        ("s3://bucket/a%2Fb", "'a%2Fb' cannot be a part of the prefix"),
        ("s3://bucket/a\nb", "cannot be a part of the prefix"),
        ("http://host/a", "stores at 'http:' are not supported; give a folder, s3://bucket/prefix or gs://"),
        ("file:///tmp/a", "stores at 'file:' are not supported"),
    ],
)
def test_an_address_that_names_no_place_is_refused(url, message):
    with pytest.raises(StoreMismatchError) as caught:
        open_objects(url)
    assert message in str(caught.value)
    assert caught.value.exit_code == 3


@given(st.text(max_size=40))
def test_a_bucket_address_is_taken_in_normal_form_or_refused(rest):
    try:
        address = read_address(f"s3://{rest}")
    except StoreMismatchError:
        return
    assert str(read_address(str(address))) == str(address)
    assert not {"", ".", ".."} & set(address.prefix.split("/") if address.prefix else ())


@pytest.mark.parametrize("path", ["store", "./a/b", "C:/store", "with spaces", "s3", "a:b"])
def test_anything_else_is_a_folder(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    objects = open_objects(path)
    assert isinstance(objects, LocalObjects)
    assert objects.root == tmp_path / path


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(StoreMismatchError, match="is a file; expected a folder"):
        open_objects(str(tmp_path / "a"))


def test_a_bucket_is_opened_without_asking_it(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert open_objects("s3://bucket/a/").url == "s3://bucket/a"


def test_who_has_a_folder_does_not_wait_for_obstore():
    script = "import sys, overlap.store; overlap.store.open_objects('store'); print('obstore' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "False"
