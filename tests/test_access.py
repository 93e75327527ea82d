"""S3 as companies have it: proxies, certificates, profiles, services that are not Amazon's; and what `fruits check-access` says of each."""

import hashlib
import json
import re

import pytest
from conftest import KEY, SAMPLE, SECRET, rows, run, same
from faults import Proxy
from network import ForwardProxy, Line, certificates

NO_ROLE = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>Not authorized.</Message></Error></ErrorResponse>"
DENIED = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
SLOW_DOWN = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
STEPS = ["profile", "region", "endpoint", "proxy", "certificates", "credentials", "list", "read", "speed", "write", "copy", "condition", "delete"]


@pytest.fixture(scope="session")
def photos(s3):
    s3.upload(SAMPLE / "Kiwi", "company", "Test/Kiwi")
    return "s3://company/Test"


@pytest.fixture(scope="session")
def pem(tmp_path_factory):
    return certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def amazon(s3, aws, pem, monkeypatch):
    """Amazon's hosts, as they are reached through a proxy, with a company's certificate."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(pem[0]))
    with Line(s3.endpoint, pem[1]) as line, ForwardProxy({"*": line.endpoint}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url())
        yield proxy


def check(location, *arguments, status=0):
    """What check-access finds, by step; never a secret."""
    done = run("check-access", location, *arguments, status=status)
    for secret in (SECRET, KEY, "Signature", "hunter2"):
        assert secret not in done.stdout + done.stderr
    found = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert list(found) == [step for step in STEPS if step in found]
    return found


def by_path(path, headers):
    """Hides from moto, which takes hosts for buckets, which host it was."""
    headers["host"] = "127.0.0.1"
    return path


def says(*arguments):
    """The error of a command that fails."""
    return run(*arguments, status=1).stderr


def test_through_a_proxy_with_a_certificate_of_ones_own(s3, amazon, photos, pem, features_of, tmp_path, monkeypatch):
    run("features", photos, "--out", tmp_path / "out")
    assert same(rows(tmp_path / "out"), rows(features_of(SAMPLE / "Kiwi")))
    assert set(amazon.asked) == {"company.s3.eu-west-3.amazonaws.com:443"}
    found = check(photos)
    assert list(found) == STEPS
    assert "Contents" not in s3.client.list_objects_v2(Bucket="company", Prefix="Test/.fruits"), "what it wrote is gone"
    assert found["proxy"] == f"HTTPS_PROXY={amazon.url()}"
    assert found["certificates"].startswith(f"those of {pem[0]}")

    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setenv("https_proxy", amazon.url())
    run("features", photos, "--out", tmp_path / "lower")

    monkeypatch.delenv("AWS_CA_BUNDLE")
    assert "set AWS_CA_BUNDLE to the file of your company's certificates" in says("features", photos, "--out", tmp_path / "no")
    (tmp_path / "config").write_text(f"[default]\nca_bundle = {pem[0]}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    run("features", photos, "--out", tmp_path / "profile")
    monkeypatch.setenv("AWS_CA_BUNDLE", "/dev/null")
    assert "holds no certificate in PEM" in says("features", photos, "--out", tmp_path / "no")


def test_a_proxy_that_wants_a_password(s3, aws, photos, pem, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_CA_BUNDLE", str(pem[0]))
    with Line(s3.endpoint, pem[1]) as line, ForwardProxy({"*": line.endpoint}, login="me:hunter2") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url())
        assert "the proxy wants a name and a password" in check(photos, status=1)["list"]
        monkeypatch.setenv("HTTPS_PROXY", proxy.url("me:hunter2@"))
        assert check(photos)["proxy"] == f"HTTPS_PROXY={proxy.url()}"
        run("features", photos, "--out", tmp_path / "out")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2#@127.0.0.1:1")
    error = says("features", photos, "--out", tmp_path / "no")
    assert "HTTPS_PROXY: not the URL of a proxy, http://name:password@host:port" in error and "hunter2" not in error
    with ForwardProxy({}, refuses=True) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url())
        assert "the proxy does not let it through" in says("features", photos, "--out", tmp_path / "no")
        monkeypatch.setenv("NO_PROXY", "localhost,.amazonaws.com")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.amazonaws.com.invalid")
        assert "its name is not known here" in says("features", photos, "--out", tmp_path / "no") or proxy.asked


def test_a_proxy_for_plain_http(s3, aws, photos, tmp_path, monkeypatch):
    aws("http://storage.company.invalid")
    with Proxy(s3.endpoint, rewrite=by_path) as behind, ForwardProxy({"storage.company.invalid": behind.endpoint}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url())
        run("features", photos, "--out", tmp_path / "out")
        assert set(proxy.asked) == {"storage.company.invalid"}
        aws(s3.endpoint)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        proxy.asked.clear()
        found = check(photos)
        assert proxy.asked == [] and found["proxy"].endswith("no_proxy=127.0.0.1")


def test_profiles(s3, aws, photos, tmp_path, monkeypatch):
    """Each kind works, or the error says which kind it met and what to do."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    keys = f"aws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}"
    (tmp_path / "token").write_text("a.b.c")
    (tmp_path / "keys.json").write_text(json.dumps({"Version": 1, "AccessKeyId": KEY, "SecretAccessKey": SECRET}))
    role = "arn:aws:iam::123456789012:role/reader"
    profiles = {
        "keys": keys,
        "half": f"aws_access_key_id = {KEY}",
        "empty": "region = eu-west-3",
        "process": f"credential_process = cat {tmp_path}/keys.json",
        "broken": "credential_process = false",
        "role": f"role_arn = {role}\nsource_profile = keys",
        "code": f"role_arn = {role}\nsource_profile = keys\nmfa_serial = arn:aws:iam::123456789012:mfa/me",
        "web": f"role_arn = {role}\nweb_identity_token_file = {tmp_path}/token",
        "sso": "sso_session = company\nsso_account_id = 123456789012\nsso_role_name = reader",
        "over-sso": f"role_arn = {role}\nsource_profile = sso",
        "login": "login_session = arn:aws:iam::123456789012:user/me",
    }
    text = "".join(f"[profile {name}]\n{lines}\n" for name, lines in profiles.items())
    text += "[sso-session company]\nsso_region = eu-west-3\nsso_start_url = https://company.awsapps.com/start\n"
    (tmp_path / "config").write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))

    def found(name, status=0):
        monkeypatch.setenv("AWS_PROFILE", name)
        return check(photos, "--read-only", status=status)

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    for name in ("keys", "process", "role", "code", "web"):
        assert "credentials" in found(name) and "list" in found(name), name
    assert found("role")["profile"] == f"role: assumes the role {role}"
    for name, advice in {
        "half": "profile missing aws_secret_access_key",
        "empty": "no credentials from the profile empty, which has none",
        "broken": "(credential_process); see what `aws sts get-caller-identity --profile broken` says",
        "sso": "(single sign-on); sign in with `aws sso login --profile sso`",
        "over-sso": "sign in with `aws sso login --profile over-sso`",
        "login": "(login_session, of `aws login`); sign in with `aws login --profile login`, then `eval",
        "nobody": "there is no profile nobody in",
    }.items():
        assert advice in found(name, status=1)["credentials"], name
        assert advice in says("features", photos, "--out", tmp_path / "no")
    with Proxy(s3.endpoint, lambda request, nth: ("answer", 403, NO_ROLE) if request.startswith("POST") else None) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        assert "nobody is asked for a code here" in found("code", status=1)["credentials"]
        assert "AccessDenied" in found("web", status=1)["credentials"]

    # Signed in, single sign-on asks its portal for keys of the role.
    cache = tmp_path / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    token = {"accessToken": "hunter2", "expiresAt": "2099-01-01T00:00:00Z", "region": "eu-west-3", "startUrl": "https://company.awsapps.com/start"}
    (cache / f"{hashlib.sha1(b'company').hexdigest()}.json").write_text(json.dumps(token))
    answer = json.dumps({"roleCredentials": {"accessKeyId": KEY, "secretAccessKey": SECRET, "sessionToken": "s", "expiration": 4070908800000}})
    with Proxy(s3.endpoint, lambda request, nth: ("answer", 200, answer) if "federation" in request else None) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        assert found("sso")["credentials"].startswith("found; valid until 2099-01-01")


def test_services_that_are_not_amazons(s3, aws, photos, tmp_path, monkeypatch):
    unknown = "<Error><Code>NotImplemented</Code><Message>A header you provided implies functionality that is not implemented.</Message></Error>"
    refused = []

    def knows_no_checksum(request, nth):
        headers = proxy.headers[nth]
        if request.startswith("PUT") and any("checksum" in name for name in headers):
            refused.append(request)
            return ("answer", 501, unknown)

    with Proxy(s3.endpoint, knows_no_checksum) as proxy:
        aws(proxy.endpoint)
        assert "AWS_REQUEST_CHECKSUM_CALCULATION=when_required" in check(photos, status=1)["write"]
        assert "AWS_REQUEST_CHECKSUM_CALCULATION=when_required" in says("features", photos, "--out", "s3://company/checksums")
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        run("features", photos, "--out", "s3://company/checksums")
    assert refused

    # The bucket in the host's name.
    def by_host(path, headers):
        bucket, _, _ = headers["host"].partition(".")
        return by_path(f"/{bucket}{path}", headers)

    with Proxy(s3.endpoint, rewrite=by_host) as host, Proxy(s3.endpoint, rewrite=by_path) as other, ForwardProxy(
        {"company.storage.invalid": host.endpoint, "storage.invalid": other.endpoint}
    ) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url())
        aws("http://storage.invalid")
        monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true")
        run("features", photos, "--out", tmp_path / "host")
        assert set(proxy.asked) == {"company.storage.invalid"}
        monkeypatch.delenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST")
        (tmp_path / "config").write_text("[default]\ns3 =\n  addressing_style = virtual\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        assert check(photos)["endpoint"].endswith("bucket's name in the host's name")
        monkeypatch.delenv("AWS_CONFIG_FILE")
        run("features", photos, "--out", tmp_path / "path")
        assert "set AWS_VIRTUAL_HOSTED_STYLE_REQUEST=true" in says("features", "s3://nobody/Test", "--out", tmp_path / "no")
    forbidden = "<Error><Code>SecondLevelDomainForbidden</Code><Message>Please use virtual hosted style to access.</Message></Error>"
    monkeypatch.delenv("HTTP_PROXY")
    with Proxy(s3.endpoint, lambda request, nth: ("answer", 403, forbidden)) as proxy:
        aws(proxy.endpoint)
        assert "set AWS_VIRTUAL_HOSTED_STYLE_REQUEST=true" in check(photos, status=1)["list"]


def test_an_access_point(s3, aws, photos, pem, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_CA_BUNDLE", str(pem[0]))
    point = "arn:aws:s3:eu-west-3:123456789012:accesspoint/point"

    def of_bucket(path, headers):
        source = headers.get("x-amz-copy-source")
        if source:
            headers["x-amz-copy-source"] = re.sub(r"^arn%3A.*point/point/object", "company", source)
        return by_path(f"/company{path}", headers)

    with Proxy(s3.endpoint, rewrite=of_bucket) as behind, Line(behind.endpoint, pem[1]) as line, ForwardProxy({"*": line.endpoint}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url())
        monkeypatch.setenv("AWS_REGION", "us-east-1")  # the ARN names another
        run("features", f"s3://{point}/Test", "--out", f"s3://{point}/point", "-v")
        assert set(proxy.asked) == {"point-123456789012.s3-accesspoint.eu-west-3.amazonaws.com:443"}
    keys = [item["Key"] for item in s3.client.list_objects_v2(Bucket="company", Prefix="point/")["Contents"]]
    assert "point/_SUCCESS" in keys


def test_a_listing_in_no_order(s3, aws, photos, features_of, tmp_path):
    photos_there = s3.client.list_objects_v2(Bucket="company", Prefix="Test/")["Contents"]

    def listing(objects):
        entries = "".join(f"<Contents><Key>{o['Key']}</Key><Size>{o['Size']}</Size><ETag>{o['ETag']}</ETag></Contents>" for o in objects)
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"

    for name, objects in {"back": photos_there[::-1], "odd": photos_there[1::2] + photos_there[::2]}.items():
        answer = listing(objects)
        with Proxy(s3.endpoint, lambda request, nth: ("answer", 200, answer) if "list-type" in request else None) as proxy:
            aws(proxy.endpoint)
            run("features", photos, "--out", tmp_path / name)
            assert same(rows(tmp_path / name), rows(features_of(SAMPLE / "Kiwi")))
            answer = listing(objects[::-1])
            again = run("features", photos, "--out", tmp_path / name, "--resume", "--json").json
            assert (again["photos"], again["reused"]) == (16, 16)


def test_a_page_of_a_listing_may_take_long(s3, aws, photos, tmp_path):
    with Proxy(s3.endpoint, lambda request, nth: ("late", 12) if "list-type" in request else None) as proxy:
        aws(proxy.endpoint)
        done = run("features", photos, "--out", tmp_path / "out")
    assert "16 photos" in done.stderr and "did not come within 10 s" in done.stderr


def test_what_is_too_large_for_one_copy_is_copied_in_parts(s3, aws, photos, features_of, tmp_path):
    too_large = "<Error><Code>InvalidRequest</Code><Message>The specified copy source is larger than the maximum allowable size for a copy source: 5368709120</Message></Error>"

    def copies_nothing_whole(request, nth):
        is_copy = ".parquet" in request and "x-amz-copy-source" in proxy.headers[nth] and "uploadId" not in request
        return ("answer", 400, too_large) if is_copy else None

    with Proxy(s3.endpoint, copies_nothing_whole) as proxy:
        aws(proxy.endpoint)
        run("features", photos, "--out", "s3://company/parts")
        assert sum("partNumber=1" in request for request in proxy.requests) == 1
    assert same(rows(s3.download("s3://company/parts", tmp_path / "out")), rows(features_of(SAMPLE / "Kiwi")))
    assert not s3.client.list_multipart_uploads(Bucket="company").get("Uploads")


@pytest.mark.parametrize("rate, delay", [(30_000, 0.005), (1_000_000, 0.2)])
def test_a_slow_line_and_a_long_one_lose_nothing(rate, delay, s3, aws, photos, features_of, tmp_path):
    with Line(s3.endpoint, rate=rate, delay=delay) as line:
        aws(line.endpoint)
        out = f"s3://company/line-{rate}"
        answer = run("features", photos, "--out", out, "--json").json
        print(f"{rate} bytes/s, {delay} s: {answer['seconds']:.1f} s, {line.passed} bytes")
    assert (answer["photos"], answer["failures"]) == (16, 0)
    aws(s3.endpoint)
    assert same(rows(s3.download(out, tmp_path / "out")), rows(features_of(SAMPLE / "Kiwi")))


def test_who_asks_pays(s3, aws, photos, tmp_path, monkeypatch):
    def pays(request, nth):
        return None if proxy.headers[nth].get("x-amz-request-payer") == "requester" else ("answer", 403, DENIED)

    with Proxy(s3.endpoint, pays) as proxy:
        aws(proxy.endpoint)
        assert "access denied" in says("features", photos, "--out", tmp_path / "no")
        monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
        run("features", photos, "--out", "s3://company/paid")
        assert list(check(photos)) == STEPS


def test_what_check_access_says_of_what_is_denied(s3, aws, photos, tmp_path):
    def denies(*methods):
        return lambda request, nth: ("answer", 403, DENIED) if request.startswith(methods) else None

    for methods, step, action in [
        (("GET /company?", "GET /company/?"), "list", "s3:ListBucket"),
        (("GET /company/Test",), "read", "s3:GetObject"),
        (("PUT",), "write", "s3:PutObject"),
        (("DELETE",), "condition", "s3:DeleteObject"),
    ]:
        with Proxy(s3.endpoint, denies(*methods)) as proxy:
            aws(proxy.endpoint)
            found = check(photos, status=1)
            assert found[step].startswith("FAILED: access denied") and action in found[step], found
    with Proxy(s3.endpoint, denies("PUT", "DELETE")) as proxy:
        aws(proxy.endpoint)
        assert list(check(photos, "--read-only")) == STEPS[:9]
    assert list(check(SAMPLE, "--read-only")) == STEPS[6:9]
    assert list(check(tmp_path)) == [STEPS[6], *STEPS[9:]] and not list(tmp_path.iterdir())


def test_what_is_told_holds_no_secret(amazon, photos, s3, aws, pem, tmp_path, monkeypatch):
    busy = Proxy(s3.endpoint, lambda request, nth: ("answer", 503, SLOW_DOWN) if nth % 4 == 3 else None)
    with busy, Line(busy.endpoint, pem[1]) as line, ForwardProxy({"*": line.endpoint}, login="me:hunter2") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url("me:hunter2@"))
        monkeypatch.setenv("AWS_SESSION_TOKEN", "token-of-a-test")
        done = run("-vv", "features", photos, "--out", "s3://company/told", "--json")
        assert done.json["photos"] == 16
        quiet = run("features", photos, "--out", "s3://company/quiet")
        monkeypatch.setenv("RUST_LOG", "trace")
        traced = run("features", photos, "--out", "s3://company/traced")
    assert re.search(r"INFO GET company\.s3\.eu-west-3\.amazonaws\.com/Test/Kiwi/\S+ status=503 attempt=1 sent=0", done.stderr)
    assert re.search(r"DEBUG .* status=200 attempt=1", done.stderr) and "part written" in done.stderr
    assert "INFO" not in quiet.stderr
    assert "DEBUG" in traced.stderr
    for told in (done, traced):
        for secret in (SECRET, KEY, "Signature", "Credential", "authorization", "hunter2", "token-of-a-test", "bWU6aHVudGVyMg", "JFIF"):
            assert secret.lower() not in told.stderr.lower(), secret
        assert "DEBUG" not in told.stdout
