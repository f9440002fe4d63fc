"""How secrets come in, and that half of them, unused ones, or ones on the command line are refused."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra import redaction
from infra.errors import SettingsError
from infra.redaction import redact
from infra.secrecy import refuse_secret_options
from infra.settings import KafkaSettings, RedisSettings, RoleSettings, environment_name, load, secret_names
from producers.settings import CameraSettings

SASL = {"kafka.security_protocol": "SASL_SSL", "kafka.sasl_username": "u"}
SECRET = "Kj7-vale-Oxide"


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test reads as a secret is not searched for in the texts of later tests."""
    monkeypatch.setattr(redaction, "_remembered", frozenset())
    monkeypatch.setattr(redaction, "_pattern", None)


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"], ids=["bare", "newline", "windows"])
def test_secret_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    """`SIMVG_…_FILE` names a file with the secret; the newline that ends it is no part of it."""
    (tmp_path / "password").write_bytes(f"{SECRET}{ending}".encode())
    monkeypatch.setenv("SIMVG_KAFKA__SASL_PASSWORD_FILE", str(tmp_path / "password"))
    kafka = load(RoleSettings, flags=SASL).kafka
    assert kafka.sasl_password == SecretStr(SECRET)


def test_address_with_credentials_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that may hold a password can come from a file too."""
    (tmp_path / "url").write_text(f"redis://u:{SECRET}@h:1/0\n", encoding="utf-8")
    monkeypatch.setenv("SIMVG_REDIS__URL_FILE", str(tmp_path / "url"))
    assert load(RoleSettings).redis.url == f"redis://u:{SECRET}@h:1/0"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"\n", "is empty"),
        (b"x" * 64_001, "is over 64000 bytes"),
        (b"\xff\xfe", "is no UTF-8 text"),
    ],
    ids=["missing", "empty", "long", "binary"],
)
def test_file_without_a_secret_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, message: str
) -> None:
    """A file that cannot be the secret names itself and the variable."""
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("SIMVG_KAFKA__SASL_PASSWORD_FILE", str(path))
    with pytest.raises(SettingsError, match=message) as refused:
        load(RoleSettings, flags=SASL)
    assert str(path) in str(refused.value)
    assert "SIMVG_KAFKA__SASL_PASSWORD_FILE" in str(refused.value)


def test_secret_given_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable and its file at once: nobody could say which one holds."""
    monkeypatch.setenv("SIMVG_KAFKA__SASL_PASSWORD", SECRET)
    monkeypatch.setenv("SIMVG_KAFKA__SASL_PASSWORD_FILE", str(tmp_path / "password"))
    with pytest.raises(SettingsError, match="both SIMVG_KAFKA__SASL_PASSWORD and SIMVG_KAFKA__SASL_PASSWORD_FILE"):
        load(RoleSettings, flags=SASL)


def test_file_of_a_setting_that_is_no_secret_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only secrets come from such files; everything else has its settings file."""
    monkeypatch.setenv("SIMVG_KAFKA__BOOTSTRAP_FILE", "x")
    with pytest.raises(SettingsError, match="SIMVG_KAFKA__BOOTSTRAP_FILE is no known setting"):
        load(RoleSettings)


@pytest.mark.parametrize(
    ("flags", "variable"),
    [
        ({"redis.url": f"redis://:{SECRET}@h:1/0"}, "SIMVG_REDIS__URL"),
        ({"id": "c", "source": f"rtsp://u:{SECRET}@h/s"}, "SIMVG_SOURCE"),
        ({"id": "c", "source": f"http://h/s?token={SECRET}"}, "SIMVG_SOURCE"),
        ({"id": "c", "source": f"rtsp://u:it's{SECRET}@h/s"}, "SIMVG_SOURCE"),
        ({"id": "c", "source": f"u:{SECRET}@10.0.0.7/s"}, "SIMVG_SOURCE"),
        ({"id": "c", "source": f"rtsp:/u:{SECRET}@10.0.0.7/s"}, "SIMVG_SOURCE"),
        ({"id": "c", "source": f"rtsp//u:{SECRET}@10.0.0.7/s"}, "SIMVG_SOURCE"),
        ({"id": "c", "source": f"rtsp:u:{SECRET}@10.0.0.7/s"}, "SIMVG_SOURCE"),
    ],
    ids=["redis", "camera", "token", "quote", "no-scheme", "one-slash", "no-colon", "no-slash"],
)
def test_credentials_on_the_command_line_are_refused(flags: dict[str, object], variable: str) -> None:
    """A flag that carries a password is refused with the variable and the file that may carry it."""
    with pytest.raises(SettingsError, match=f"give it as {variable}, or as a file named by {variable}_FILE") as refused:
        load(CameraSettings, flags=flags)
    assert SECRET not in str(refused.value)


def test_file_with_an_at_sign_is_no_credential(tmp_path: Path) -> None:
    """A recording whose name has an ``@`` in it may be given as a flag, and so may its folder as a line's."""
    (tmp_path / "a@b").mkdir()
    for source in (str(tmp_path / "a@b"), f"line:{tmp_path / 'a@b'}"):
        settings = load(CameraSettings, flags={"id": "c", "source": source})
        assert settings.source.get_secret_value() == source


@pytest.mark.parametrize(
    ("text", "setting", "variable"),
    [
        (f"kafka: {{sasl_password: {SECRET}}}", "kafka.sasl_password", "SIMVG_KAFKA__SASL_PASSWORD"),
        (f"kafka.oauth_client_secret: {SECRET}", "kafka.oauth_client_secret", "SIMVG_KAFKA__OAUTH_CLIENT_SECRET"),
        ("redis: {ssl_key_password: 1234}", "redis.ssl_key_password", "SIMVG_REDIS__SSL_KEY_PASSWORD"),
        (f"redis: {{url: 'redis://u:{SECRET}@h:1/0'}}", "redis.url", "SIMVG_REDIS__URL"),
        (f"source: 'rtsp://u:{SECRET}@h/s'", "source", "SIMVG_SOURCE"),
        (f"source: 'u:{SECRET}@h/s'", "source", "SIMVG_SOURCE"),
    ],
)
def test_secret_in_the_settings_file_is_refused(tmp_path: Path, text: str, setting: str, variable: str) -> None:
    """A settings file that holds a secret is refused with the variable and the file that may carry it."""
    (tmp_path / "settings.yaml").write_text(text, encoding="utf-8")
    match = f"settings.yaml holds {setting}: .* give it as {variable}, or as a file named by {variable}_FILE"
    with pytest.raises(SettingsError, match=match) as refused:
        load(CameraSettings, flags={"id": "c"}, file=tmp_path / "settings.yaml")
    assert SECRET not in str(refused.value)


def test_address_without_credentials_may_stand_in_the_settings_file(tmp_path: Path) -> None:
    """It is no secret, nor is the number of a device or an unset password."""
    text = "source: rtsp://10.0.0.7/s\nredis: {url: 'redis://h:1/0', password: null}\n"
    (tmp_path / "settings.yaml").write_text(text, encoding="utf-8")
    settings = load(CameraSettings, flags={"id": "c"}, file=tmp_path / "settings.yaml")
    assert (settings.source.get_secret_value(), settings.redis.url) == ("rtsp://10.0.0.7/s", "redis://h:1/0")


def _load_from(way: str, tmp_path: Path, cls: type[RoleSettings], name: str, value: str) -> RoleSettings:
    """Settings with this one value, from a flag or from a file; cameras get their id too."""
    flags = {"id": "c"} if cls is CameraSettings else {}
    file = tmp_path / "settings.yaml"
    file.write_text("" if way == "flag" else f"{name}: '{value}'\n", encoding="utf-8")
    return load(cls, flags=flags | ({name: value} if way == "flag" else {}), file=file)


@pytest.mark.parametrize("way", ["flag", "file"])
@pytest.mark.parametrize(
    "source",
    [
        f"rtsp://u:{SECRET}/x@10.0.0.7/s",
        f"rtsp://u:123456/{SECRET}@10.0.0.7/s",
        f"rtsp://u:12#{SECRET}@10.0.0.7/s",
        f"http://h/s@1?password={SECRET}",
        f"http://h/s?auth=no&pwd={SECRET}",
        f"http://h/s?auth=no{SECRET}",
        f"http://h/s?of=rtsp://u:{SECRET}@i/s",
        f"http://h/s?of=u{SECRET}@i",
        f"http://h/rtsp://u:{SECRET}@i/s",
        f"rtsp://10.0.0.7/user=a_pwd={SECRET}_channel=1",
        f"rtsp://10.0.0.7:554/user=a&password=x@{SECRET}",
        f"10.0.0.7/video?user=a&pwd={SECRET}",
        f"10.0.0.7/user=a&password=x@{SECRET}",
    ],
)
def test_credentials_in_an_odd_place_are_refused(tmp_path: Path, way: str, source: str) -> None:
    """A password that breaks up the address, and one behind a host that is plain itself."""
    with pytest.raises(SettingsError, match="give it as SIMVG_SOURCE") as refused:
        _load_from(way, tmp_path, CameraSettings, "source", source)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("way", ["flag", "file"])
@pytest.mark.parametrize(
    "source",
    [
        "rtsp://10.0.0.7/cam@1",
        "rtsp://10.0.0.7:554/cam@1",
        "rtsp://[fd00::7]:554/cam@1",
        "http://camera-1/a@b/c@d?channel=1",
        "http://10.0.0.7/video?auth=no",
        "http://10.0.0.7/video?key=1&channel=2",
        "http://10.0.0.7/cam@1?x=1&AUTH=Digest",
    ],
)
def test_address_of_a_plain_host_holds_no_credentials(tmp_path: Path, way: str, source: str) -> None:
    """Behind the host an ``@`` is a part of the path, and a switch is no secret whatever its name."""
    settings = _load_from(way, tmp_path, CameraSettings, "source", source)
    assert isinstance(settings, CameraSettings)
    assert settings.source.get_secret_value() == source


def test_socket_with_an_at_sign_is_no_credential() -> None:
    """A socket has no host, and without a user no credentials."""
    url = "unix:///run/redis@1.sock"
    assert load(RoleSettings, flags={"redis.url": url}).redis.url == url


@pytest.mark.parametrize("way", ["flag", "file"])
def test_what_counts_as_a_credential_is_told(tmp_path: Path, way: str) -> None:
    """A file that is not there yet and has an ``@`` in its name reads like a user: the refusal says why."""
    hint = r"\(what precedes an '@' counts as such unless the whole is a file that is there, .*'token='\)"
    with pytest.raises(SettingsError, match=hint):
        _load_from(way, tmp_path, CameraSettings, "source", "recordings@night/a.mp4")


@pytest.mark.parametrize("way", ["flag", "file"])
@pytest.mark.parametrize("password", [f"12/{SECRET}", f"1/2/{SECRET}", f"12#{SECRET}", f"{SECRET}/1", f"{SECRET}#1"])
def test_password_that_breaks_up_an_address_of_redis_is_refused(tmp_path: Path, way: str, password: str) -> None:
    """Also where it begins like a port, and without being shown."""
    with pytest.raises(SettingsError) as refused:
        _load_from(way, tmp_path, RoleSettings, "redis.url", f"redis://u:{password}@h:6379/0")
    assert SECRET not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "arguments",
    [
        ["work", "--sasl-password", SECRET],
        ["work", f"--kafka-sasl-password={SECRET}"],
        ["work", "--oauth_client_secret", SECRET],
        ["query", "list", "--password", SECRET],
    ],
    ids=lambda arguments: arguments[-1].partition("=")[0],
)
def test_option_that_would_carry_a_secret_is_refused(arguments: list[str]) -> None:
    """The option that somebody tries is answered with the variable to use."""
    secret = {name: environment_name(name) for name in secret_names(RoleSettings, only=True)}
    with pytest.raises(SettingsError, match=r"there is no option --.*SIMVG_.*_FILE") as refused:
        refuse_secret_options(arguments, secret)
    assert SECRET not in str(refused.value)


def test_other_options_pass() -> None:
    """Addresses and words after `--` are none of those."""
    secret = {name: environment_name(name) for name in secret_names(RoleSettings, only=True)}
    refuse_secret_options(["query", "add", "--redis", "redis://h", "--", "--password"], secret)


def test_what_was_read_as_a_secret_is_hidden_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a library puts it into words of its own."""
    monkeypatch.setenv("SIMVG_KAFKA__SASL_PASSWORD", SECRET)
    monkeypatch.setenv("SIMVG_SOURCE", "rtsp://u:p%40ss-Word@h/s")
    monkeypatch.setenv("SIMVG_ID", "c")
    load(CameraSettings, flags=SASL)
    assert redact(f"server said: {SECRET} is wrong") == "server said: *** is wrong"
    assert redact("tried p@ss-Word, then p%40ss-Word") == "tried ***, then ***"


@pytest.mark.parametrize("form", ["{}", "rtsp:/{}", "rtsp//{}", "rtsp:{}", "rtsp://{}"])
def test_password_of_a_mistyped_address_is_hidden_everywhere(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """Also where an address lacks a part of its ``scheme://``."""
    monkeypatch.setenv("SIMVG_SOURCE", form.format(f"u:{SECRET}/x@10.0.0.7/s"))
    load(CameraSettings, flags={"id": "c"})
    assert redact(f"tried {SECRET}/x") == "tried ***"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"security_protocol": "SASL_SSL"}, "SCRAM-SHA-512 needs sasl_username and sasl_password too"),
        ({"security_protocol": "SASL_SSL", "sasl_username": "u"}, "needs sasl_password too"),
        ({"sasl_password": SECRET}, "sasl_password would not be used with security_protocol PLAINTEXT"),
        (
            {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER", "oauth_client_id": "c"},
            "OAUTHBEARER needs oauth_token_url and oauth_client_secret too",
        ),
        ({"oauth_token_url": "http://sso.example/token"}, "write https://"),
        ({"ssl_ca": "/"}, "ssl_ca would not be used with security_protocol PLAINTEXT"),
        ({"security_protocol": "SSL", "ssl_ca": "/no/such.pem"}, "the file /no/such.pem of ssl_ca cannot be read"),
        ({"security_protocol": "SSL", "ssl_certificate": "/"}, "a client's certificate needs ssl_key too"),
    ],
    ids=["none", "half", "unused", "oauth", "http", "ca-unused", "no-file", "no-key"],
)
def test_credentials_that_do_not_go_together_are_refused(values: dict[str, str], message: str) -> None:
    """Before anything connects, with the names of the settings and without their values."""
    with pytest.raises(SettingsError, match=message) as refused:
        load(RoleSettings, flags={f"kafka.{name}": value for name, value in values.items()})
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"url": "redis://h:1", "ssl_ca": "/"}, "ssl_ca would not be used with an address of redis://"),
        ({"url": "redis://h:1", "username": "u"}, "a user of Redis needs password too"),
        ({"url": "rediss://h:1", "ssl_key": "/"}, "a client's certificate needs ssl_certificate too"),
    ],
    ids=["ca-unused", "half", "no-certificate"],
)
def test_redis_settings_that_do_not_go_together_are_refused(values: dict[str, str], message: str) -> None:
    """As for Kafka."""
    with pytest.raises(SettingsError, match=message):
        load(RoleSettings, flags={f"redis.{name}": value for name, value in values.items()})


def test_principal_is_as_the_broker_names_it() -> None:
    """User of SASL, client of OAuth, or nobody."""
    scram = KafkaSettings(security_protocol="SASL_SSL", sasl_username="w1", sasl_password=SecretStr(SECRET))
    assert (scram.principal, KafkaSettings().principal) == ("User:w1", "User:ANONYMOUS")
    assert RedisSettings(url="redis://w%31:x@h:1").user == "w1"
