"""Addresses of stores: what is let through, what is refused, what messages show."""

import socket

import pytest

from streamgmm.errors import DataError, SecurityError
from streamgmm.safe_paths import check_member
from streamgmm.sources import open_source
from streamgmm.sources._locations import locate, parquet_files, redacted


@pytest.mark.parametrize("text", ["a.zarr", "/data/a.zarr", "../a.zarr", "with space/ünï.zarr", "-a.zarr"])
def test_local_paths_pass(text):
    assert str(locate(text).path) == text
    assert locate(text).url is None


def test_a_file_url_is_a_path(tmp_path):
    assert locate(f"file://{tmp_path}/a%20b.zarr").path == tmp_path / "a b.zarr"
    assert locate(f"file://localhost{tmp_path}").path == tmp_path


@pytest.mark.parametrize("url", ["s3://bucket/a.zarr", "gs://bucket/a.zarr", "az://container/a.zarr"])
def test_buckets_pass(url):
    assert locate(url).url == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://host/a.zarr", "scheme 'http'.*did you mean 'https'"),
        ("ftp://host/a", "scheme 'ftp'"),
        ("memory://a", "scheme 'memory'"),
        ("reference://a.json", "scheme 'reference'"),
        ("github://a:b@c/d", "scheme 'github'"),
        ("simplecache::file:///etc/passwd", "chains two protocols"),
        ("zip://a::s3://bucket/b.zip", "chains two protocols"),
        ("s3://bucket/../other/a.zarr", r"holds '\.\.'"),
        ("s3://bucket/%2e%2e/other", r"holds '\.\.'"),
        ("s3://bucket/a\\b", "backslash"),
        ("file://host/a", "names a host"),
        ("s3://bucket/a::file:///etc", "chains two protocols"),
        ("https://[1/a", "is no URL"),
        ("a\0b", "NUL"),
    ],
)
def test_other_addresses_are_refused(url, said):
    with pytest.raises(SecurityError, match=said):
        open_source(url)


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("[::1]", "loopback"),
        ("localhost", "loopback"),
        ("169.254.169.254", "link-local"),
        ("[fe80::1]", "link-local"),
        ("0.0.0.0", "unspecified"),
        ("10.1.2.3", "private"),
        ("192.168.0.1", "private"),
        ("[fd00:ec2::254]", "private"),
        ("2130706433", "loopback"),  # 127.0.0.1 as one number
        ("[::ffff:127.0.0.1]", "loopback|private"),
    ],
)
def test_hosts_of_this_machine_and_network_are_refused(host, kind):
    with pytest.raises(SecurityError, match=kind):
        open_source(f"https://{host}/a.zarr")


def test_a_host_may_be_allowed_by_name():
    assert locate("https://127.0.0.1/a.zarr", allow_hosts=["127.0.0.1"]).url


def test_a_name_that_resolves_to_this_machine_is_refused(monkeypatch):
    answers = [(socket.AF_INET, 1, 6, "", ("93.184.216.34", 443)), (socket.AF_INET, 1, 6, "", ("127.0.0.1", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: answers)
    with pytest.raises(SecurityError, match="loopback"):
        locate("https://innocent.example/a.zarr")


def test_an_unknown_host_is_said(monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DataError, match=r"host name 'nowhere\.example' is not known"):
        locate("https://nowhere.example/a.zarr")


def test_a_url_without_a_host_is_refused():
    with pytest.raises(DataError, match="names no bucket"):
        locate("s3:///a")


def test_secrets_in_urls_are_not_shown():
    shown = redacted("https://user:canary@host/a?sig=canary#x")
    assert shown == "https://***@host/a?***"
    with pytest.raises(SecurityError) as caught:
        open_source("ftp://user:canary@host/a?sig=canary")
    assert "canary" not in str(caught.value)
    with pytest.raises(SecurityError) as caught:
        open_source("https://user:canary@127.0.0.1/a?sig=canary")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("name", ["pmra", "BT-VT", "a b", "ünï", "sub/column", "..a", "a.b"])
def test_plain_names_pass(name):
    assert check_member(name) == name


@pytest.mark.parametrize("name", ["..", "../a", "a/../b", "/etc/passwd", "a\\b", "..\\a", "C:\\a", "C:/a", "", "a//b", "./a", "a\0"])
def test_names_that_lead_out_are_refused(name):
    with pytest.raises(SecurityError, match="could lead out"):
        check_member(name)


def test_parquet_files_are_found_in_sorted_order(tmp_path):
    for name in ("b.parquet", "a.parquet", "dataset/Norder=1/Npix=2.parquet", "_metadata.parquet", ".hidden/c.parquet", "readme.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"PAR1")
    found = [str(path.relative_to(tmp_path)) for path in parquet_files(tmp_path)]
    assert found == ["a.parquet", "b.parquet", "dataset/Norder=1/Npix=2.parquet"]
    assert [path.name for path in parquet_files(tmp_path / "*.parquet")] == ["_metadata.parquet", "a.parquet", "b.parquet"]
    assert parquet_files(tmp_path / "nothing") == []


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="streamgmm ingest"):
        open_source(tmp_path / "a.csv")
