"""Settings: where they come from, in which order, and what is refused."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from infra.errors import SettingsError
from infra.redis_client import connect
from infra.settings import (
    KafkaSettings,
    RedisSettings,
    RoleSettings,
    StackSettings,
    dotted_names,
    environment_name,
    load,
)


class ExampleSettings(RoleSettings):
    """A role with a few settings of its own."""

    label: str
    rate: float = 5.0
    cameras: tuple[str, ...] = ("*",)


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_given_names_the_missing_setting() -> None:
    """A setting without default says how it can be given."""
    with pytest.raises(SettingsError, match=r"'label' is missing.*SIMVG_LABEL"):
        load(ExampleSettings)


def test_flags_over_environment_over_file_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source wins over those below it, key by key."""
    file = _file(tmp_path, "label: file\nrate: 1\nkafka:\n  bootstrap: file:1\n  prefix: file\n")
    monkeypatch.setenv("SIMVG_RATE", "2")
    monkeypatch.setenv("SIMVG_KAFKA__BOOTSTRAP", "environment:2")
    loaded = load(ExampleSettings, flags={"kafka.bootstrap": "flag:3"}, file=file)
    assert loaded.label == "file"
    assert loaded.rate == 2.0
    assert loaded.kafka.bootstrap == "flag:3"
    assert loaded.kafka.prefix == "file"
    assert loaded.redis == RedisSettings()


def test_flag_that_is_not_given_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """None means that the flag was not used."""
    monkeypatch.setenv("SIMVG_LABEL", "environment")
    assert load(ExampleSettings, flags={"label": None, "rate": None}).label == "environment"


def test_lists_in_the_environment_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting with several values is written as a JSON list."""
    monkeypatch.setenv("SIMVG_LABEL", "x")
    monkeypatch.setenv("SIMVG_CAMERAS", '["a", "b"]')
    assert load(ExampleSettings).cameras == ("a", "b")


def test_list_that_is_no_json_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value of the environment that cannot be parsed is named with its variable and the form it should have."""
    monkeypatch.setenv("SIMVG_CAMERAS", "a, b")
    with pytest.raises(SettingsError, match=r"variable SIMVG_CAMERAS = 'a, b' is no JSON .*\[\"a\", \"b\"\]"):
        load(ExampleSettings, flags={"label": "x"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label: x\nrat: 3", "unknown setting 'rat'; did you mean rate?"),
        ("label: x\nkafka: {bootstrp: 'h:1'}", "unknown setting 'kafka.bootstrp'; did you mean kafka.bootstrap?"),
        ("label: x\nzzzzzzz: 3", "unknown setting 'zzzzzzz'"),
    ],
    ids=["own", "nested", "like-nothing"],
)
def test_unknown_key_in_the_file_names_the_nearest(tmp_path: Path, text: str, message: str) -> None:
    """A misspelt key refuses to start and is told the key that was probably meant."""
    with pytest.raises(SettingsError) as refused:
        load(ExampleSettings, file=_file(tmp_path, text))
    assert str(refused.value) == message


def test_name_with_nothing_left_below_it_is_explained(tmp_path: Path) -> None:
    """Somebody made comments of all lines below it, but not of the name."""
    told = "setting 'kafka' stands for several settings and has none of them below it; write some below it, indented"
    with pytest.raises(SettingsError, match=told):
        load(ExampleSettings, file=_file(tmp_path, "label: x\nkafka:\n#  prefix: a"))


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("SIMVG_WORKER_SERVICE_HOST", "10.96.0.7", "enableServiceLinks: false"),
        ("SIMVG_WORKER_SERVICE_PORT_METRICS", "9100", "enableServiceLinks: false"),
        ("SIMVG_WORKER_PORT", "tcp://10.96.0.7:9100", "enableServiceLinks: false"),
        ("SIMVG_WORKER_PORT_9100_TCP_ADDR", "10.96.0.7", "enableServiceLinks: false"),
        ("SIMVG_KAFA_PORT", "9092", "correct it or unset it"),
    ],
)
def test_what_kubernetes_sets_for_a_service_is_told_from_a_slip(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, remedy: str
) -> None:
    """A Service whose name begins with simvg has such variables set in every pod beside it."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name} is no known setting.*{remedy}"):
        load(ExampleSettings, flags={"label": "x"})


def test_unknown_name_in_the_environment_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable is refused like a misspelt key."""
    monkeypatch.setenv("SIMVG_KAFKA_BOOTSTRAP", "h:1")
    with pytest.raises(SettingsError, match=r"SIMVG_KAFKA_BOOTSTRAP.*did you mean SIMVG_KAFKA__BOOTSTRAP\?"):
        load(ExampleSettings, flags={"label": "x"})


def test_settings_of_other_roles_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack's ports do not keep another role from starting."""
    monkeypatch.setenv("SIMVG_KAFKA_PORT", "20000")
    assert load(ExampleSettings, flags={"label": "x"}).label == "x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "holds list"),
        ("a: [", "is no YAML"),
        (None, "cannot be read: No such file"),
    ],
    ids=["list", "broken", "missing"],
)
def test_unreadable_file_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    """A file that cannot be used is named with what is wrong."""
    path = tmp_path / "settings.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=message) as refused:
        load(ExampleSettings, file=path)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("@Kj7-vale", "at line 3, column 18"),
        ("%Kj7-vale", "at line 3, column 18"),
        ("`Kj7-vale", "at line 3, column 18"),
        ("*Kj7-vale", "at line 3, column 18"),
        ("!Kj7-vale x", "at line 3, column 18"),
        ("Kj7-vale: x", "at line 3, column 26"),
        ("Kj7-vale:", "at line 3, column 26"),
        ('"Kj7-vale', r"at line 4, column 1 \(begun at line 3, column 18\)"),
        ("{Kj7-vale", r"at line 4, column 1 \(begun at line 3, column 18\)"),
    ],
    ids=["at", "percent", "backtick", "alias", "tag", "colon", "end", "quote", "brace"],
)
def test_line_that_is_no_yaml_is_placed_but_not_quoted(tmp_path: Path, value: str, place: str) -> None:
    """A password often begins with what YAML cannot read: its place is told, and neither the line nor a part of it."""
    file = _file(tmp_path, f"label: x\nkafka:\n  sasl_password: {value}\n")
    with pytest.raises(SettingsError, match=f"{place}.*quote values") as refused:
        load(ExampleSettings, file=file)
    assert str(file) in str(refused.value)
    shown = "".join(traceback.format_exception(refused.value))
    assert "Kj7" not in shown
    assert "vale" not in shown


@pytest.mark.parametrize("value", ["2026-13-01", "0x_"], ids=["date", "number"])
def test_date_or_number_that_does_not_exist_is_not_quoted(tmp_path: Path, value: str) -> None:
    """YAML takes a password of such a form for a date or a number."""
    with pytest.raises(SettingsError, match=r"holds a date or a number that .*or quote it") as refused:
        load(ExampleSettings, file=_file(tmp_path, f"label: x\nkafka:\n  sasl_password: {value}\n"))
    assert value not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"label: Kj7\xff", "is no UTF-8 text, from byte 11 on; save it as UTF-8"),
        (b"label: Kj7\x00vale", "holds a control character, character 11 of the file; remove it"),
    ],
    ids=["latin", "control"],
)
def test_file_that_is_no_text_is_placed_but_not_quoted(tmp_path: Path, content: bytes, message: str) -> None:
    """What no editor shows is told by its place."""
    (tmp_path / "settings.yaml").write_bytes(content)
    with pytest.raises(SettingsError, match=message) as refused:
        load(ExampleSettings, file=tmp_path / "settings.yaml")
    assert "Kj7" not in "".join(traceback.format_exception(refused.value))


def test_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """YAML alone takes the last of two blocks and forgets the first, with the encryption that it may have asked for."""
    file = _file(tmp_path, "label: x\nkafka:\n  bootstrap: a:1\nredis: {}\nkafka:\n  prefix: Kj7\n")
    with pytest.raises(SettingsError, match="has a key twice at line 5, column 1; the first would be forgotten"):
        load(ExampleSettings, file=file)
    anchors = _file(tmp_path, "label: x\nkafka: &k\n  prefix: a\nredis:\n  <<: *k\n  prefix: b\n")
    assert load(ExampleSettings, file=anchors).redis.prefix == "b", "what an anchor brings may be overridden"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kafka:\n  1: 2\n", "unknown setting 'kafka.1'"),
        ("kafka: &k\n  more: *k\n", "holds itself by an alias"),
        ("telemetry:\n  metrics_port: off\n", "setting 'telemetry.metrics_port' = False: yes, no, on, off, true and"),
        ("telemetry:\n  metrics_port: yes\n", "setting 'telemetry.metrics_port' = True: yes, no, on, off, true and"),
        ("rate: on\n", "setting 'rate' = True: yes, no, on, off, true and false are no value here"),
    ],
    ids=["number-as-key", "alias-of-itself", "off-as-port", "yes-as-port", "on-as-rate"],
)
def test_odd_yaml_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """What YAML makes of a slip is no crash and no other value than the one that was meant."""
    with pytest.raises(SettingsError) as refused:
        load(ExampleSettings, flags={"label": "x"}, file=_file(tmp_path, text))
    assert message in str(refused.value)


def test_home_folder_is_meant_also_where_no_shell_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` in the environment or a file is the user's folder, no folder of that name."""
    monkeypatch.setenv("HOME", "/home/mia")
    monkeypatch.setenv("SIMVG_STATE_DIR", "~/state")
    stack = load(StackSettings, file=_file(tmp_path, "library_cache: ~/cache\n"))
    assert (stack.state_dir, stack.library_cache) == (Path("/home/mia/state"), Path("/home/mia/cache"))
    with pytest.raises(SettingsError, match="~nobody-here/x begins with the home folder of nobody here"):
        load(StackSettings, flags={"state_dir": "~nobody-here/x"})


def test_empty_file_is_no_fault(tmp_path: Path) -> None:
    """An empty file gives no settings."""
    assert load(ExampleSettings, flags={"label": "x"}, file=_file(tmp_path, "")).rate == 5.0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"rate": "fast"}, "setting 'rate' = 'fast'"),
        ({"kafka.bootstrap": "localhost"}, "'localhost' is no broker address"),
        ({"kafka.bootstrap": "h:99999"}, "'h:99999' is no broker address"),
        ({"kafka.bootstrap": "h:0"}, "'h:0' is no broker address"),
        ({"telemetry.metrics_host": ""}, "should have at least 1 character"),
        ({"kafka.bootstrap": "u:hush@h:1"}, "'***@h:1' is no broker address"),
        ({"kafka.prefix": "a b"}, "'a b' is no topic prefix"),
        ({"redis.url": "http://x"}, "'http://x' is no Redis address"),
        ({"redis.url": "redis:/h"}, "'redis:/h' is no Redis address, which begins otherwise: write redis://"),
        ({"redis.url": "redis://h:port/0"}, "'redis://h:port/0' is no Redis address, for its host or its port"),
        ({"redis.url": "redis://h:70000"}, "for its host or its port cannot be read"),
        ({"redis.url": "redis://[::1/0"}, "for its host or its port cannot be read"),
        ({"redis.url": "redis://h:0/0"}, "for there is no port 0"),
        ({"redis.url": "redis://h/lines"}, "for its path is no number of a database"),
        ({"redis.url": "redis://h/0/1"}, "for its path is no number of a database"),
        ({"redis.url": "redis://h/0#1"}, "which has no '#' in it"),
        ({"redis.url": "redis://h/0?databse=1"}, "for after '?' it may have client_name, db, health_check_interval"),
        ({"redis.url": "redis://h/0?ssl_cert_reqs=none"}, "for after '?' it may have client_name, db, health"),
        ({"redis.url": "redis://h/0?socket_timeout=2"}, "for SIMVG_REDIS__TIMEOUT_S takes the place of socket_timeout"),
        (
            {"redis.url": "rediss://h?socket_connect_timeout=2&ssl_ca_certs=/ca.pem"},
            "for SIMVG_REDIS__TIMEOUT_S takes the place of socket_connect_timeout, "
            "SIMVG_REDIS__SSL_CA of ssl_ca_certs: write",
        ),
        ({"redis.url": "rediss://h?ssl_certfile=/c.pem"}, "SIMVG_REDIS__SSL_CERTIFICATE takes the place of ssl_cert"),
        ({"redis.url": "rediss://h?ssl_keyfile=/k.pem"}, "SIMVG_REDIS__SSL_KEY takes the place of ssl_keyfile"),
        ({"redis.url": "unix:///r.sock?socket_keepalive=true"}, "for after '?' it may have client_name, db, health"),
        ({"redis.url": "unix://"}, "for it names no socket"),
        ({"telemetry.metrics_port": 70000}, "setting 'telemetry.metrics_port' = 70000"),
        ({"telemetry.log_format": "xml"}, "setting 'telemetry.log_format' = 'xml'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_value_is_named(flags: dict[str, object], message: str) -> None:
    """A value out of range is told with its key."""
    with pytest.raises(SettingsError) as refused:
        load(ExampleSettings, flags={"label": "x", **flags})
    assert message in str(refused.value)


def test_secrets_are_never_shown() -> None:
    """Neither printing, dumping nor refusing settings shows a password."""
    kafka = KafkaSettings(security_protocol="SASL_SSL", sasl_username="u", sasl_password=SecretStr("hush"))
    redis = RedisSettings(url="redis://user:hush@host:1/0")
    assert redis.url == "redis://user:hush@host:1/0"
    for shown in (repr(kafka), str(kafka), repr(redis), str(redis), redis.model_dump_json(), repr(redis.model_dump())):
        assert "hush" not in shown
    with pytest.raises(SettingsError) as refused:
        load(ExampleSettings, flags={"redis.url": "htp://user:hush@host", "kafka.sasl_password": 7})
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    "password",
    ["hush#1", "hush/1", "hush?db=1", "hush 1", "1#hush", "1/hush", "1/2/hush", "1?hush", "1?hush=2", "hush?db"],
)
def test_password_that_is_not_escaped_is_not_shown(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    """An address whose password breaks it up is refused with the remedy, and nothing tells the password."""
    monkeypatch.setenv("SIMVG_REDIS__URL", f"redis://user:{password}@host:6379/0")
    with pytest.raises(SettingsError, match=r"the value is no Redis address, .*write %23 for '#'") as refused:
        load(RoleSettings)
    assert "hush" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("REDIS://h:1/0", "redis://h:1/0"),
        ("Rediss://h?ssl_cert_reqs=none", "rediss://h?ssl_cert_reqs=none"),
        ("redis://u:p%23a@[::1]:6379/2?db=3", "redis://u:p%23a@[::1]:6379/2?db=3"),
        ("unix://u:p@/run/redis.sock?db=1", "unix://u:p@/run/redis.sock?db=1"),
        ("redis://h", "redis://h"),
        ("redis://h/0/", "redis://h/0/"),
        ("redis://h/", "redis://h/"),
        ("redis://h/0?socket_keepalive=true", "redis://h/0?socket_keepalive=true"),
    ],
)
def test_address_of_redis_is_taken(url: str, taken: str) -> None:
    """Every form that the library knows, with the scheme in small letters."""
    settings = RedisSettings(url=url)
    assert settings.url == taken
    connect(settings).close()


def test_number_of_the_database_may_end_with_a_slash() -> None:
    """The database is the one that the address names."""
    client = connect(RedisSettings(url="redis://h/3/?socket_keepalive=true"))
    options = client.connection_pool.connection_kwargs
    assert (options["db"], options["socket_keepalive"], options["socket_timeout"]) == (3, True, 5.0)
    client.close()


def test_option_with_a_wrong_value_is_named_without_the_address() -> None:
    """What the library says of it may quote the address: it goes nowhere."""
    with pytest.raises(SettingsError, match=r"check what follows '\?' in SIMVG_REDIS__URL") as refused:
        connect(RedisSettings(url="redis://u:hush@h/0?max_connections=-1"))
    assert refused.value.__cause__ is refused.value.__context__ is None


def test_quoted_password_is_hidden_too() -> None:
    """Quotes end an address in a text; they do not in a setting."""
    settings = RedisSettings(url="redis://u:it's-hush@h:1/0")
    assert settings.shown_url == "redis://***@h:1/0"
    assert "hush" not in settings.model_dump_json()


def test_settings_are_frozen() -> None:
    """Settings do not change while a program runs."""
    with pytest.raises(ValidationError):
        KafkaSettings().bootstrap = "x:1"  # type: ignore[misc]


def test_every_key_has_a_name_in_the_environment() -> None:
    """Nested keys are joined by two underscores."""
    assert {"label", "kafka.bootstrap", "redis.url"} <= set(dotted_names(ExampleSettings))
    assert environment_name("kafka.bootstrap") == "SIMVG_KAFKA__BOOTSTRAP"
