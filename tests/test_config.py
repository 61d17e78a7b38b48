"""Configuration: which source decides, what each setting may be, and what an error says."""

from datetime import timedelta

import pytest

from infinitic.config import DEFAULT_URL, SETTINGS, Config, load_config, scheme_of, shown
from infinitic.errors import ConfigurationError

DAYS = 86_400


@pytest.fixture
def load(tmp_path):
    """`load(url, toml=…, pyproject=…, env={…}, **keywords)` in a directory with these files."""

    def loading(url=None, *, toml=None, pyproject=None, env=None, **keywords):
        for name, text in (("infinitic.toml", toml), ("pyproject.toml", pyproject)):
            if text is not None:
                (tmp_path / name).write_text(text, encoding="utf-8")
        return load_config(url, directory=tmp_path, environ=env or {}, **keywords)

    return loading


@pytest.fixture
def refusal(load):
    def loading(*args, **options):
        with pytest.raises(ConfigurationError) as refused:
            load(*args, **options)
        return str(refused.value)

    return loading


def test_without_a_word_it_is_one_sqlite_file(load):
    assert load() == Config(
        transport="sqlite:///.infinitic/infinitic.db",
        storage="sqlite:///.infinitic/infinitic.db",
        namespace="default",
        retention=7 * DAYS,
        format=1,
        concurrency=16,
        cache_instances=10_000,
        cache_bytes=268_435_456,
        durability="full",
        pulsar={},
    )


def test_each_source_gives_way_to_the_one_above(load):
    pyproject = "[tool.infinitic]\nconcurrency = 1\nretention = 1\nnamespace = 'one'\ncache_bytes = 1"
    toml = "concurrency = 2\nretention = 2\nnamespace = 'two'"
    env = {"INFINITIC_CONCURRENCY": "3", "INFINITIC_RETENTION": "3"}

    config = load(pyproject=pyproject, toml=toml, env=env, concurrency=4)

    assert config == Config(DEFAULT_URL, DEFAULT_URL, concurrency=4, retention=3, namespace="two", cache_bytes=1)


def test_every_setting_can_be_a_keyword_a_variable_or_in_either_file(load):
    whole = Config(
        transport="pulsar://h:6650/t/n",
        storage="redis://h",
        namespace="shop-1",
        retention=0.5,
        format=2,
        concurrency=4,
        cache_instances=5,
        cache_bytes=6,
        durability="normal",
        pulsar={"admin_url": "http://h:8080", "partitions": 7, "token": "x"},
    )
    toml = """
        transport = "pulsar://h:6650/t/n"
        storage = "redis://h"
        namespace = "shop-1"
        retention = 0.5
        format = 2
        concurrency = 4
        cache_instances = 5
        cache_bytes = 6
        durability = "normal"
        TABLE
        admin_url = "http://h:8080"
        partitions = 7
        token = "x"
    """
    env = {
        "INFINITIC_TRANSPORT": "pulsar://h:6650/t/n",
        "INFINITIC_STORAGE": "redis://h",
        "INFINITIC_NAMESPACE": "shop-1",
        "INFINITIC_RETENTION": "0.5",
        "INFINITIC_FORMAT": "2",
        "INFINITIC_CONCURRENCY": "4",
        "INFINITIC_CACHE_INSTANCES": "5",
        "INFINITIC_CACHE_BYTES": "6",
        "INFINITIC_DURABILITY": "normal",
        "INFINITIC_PULSAR__ADMIN_URL": "http://h:8080",
        "INFINITIC_PULSAR__PARTITIONS": "7",
        "INFINITIC_PULSAR__TOKEN": "x",
    }
    keywords = {
        "transport": "pulsar://h:6650/t/n",
        "storage": "redis://h",
        "namespace": "shop-1",
        "retention": timedelta(milliseconds=500),
        "format": 2,
        "concurrency": 4,
        "cache_instances": 5,
        "cache_bytes": 6,
        "durability": "normal",
        "pulsar": {"admin_url": "http://h:8080", "partitions": 7, "token": "x"},
    }

    assert load(env=env) == whole
    assert load(**keywords) == whole
    assert load(pyproject="[tool.infinitic]" + toml.replace("TABLE", "[tool.infinitic.pulsar]")) == whole
    assert load(pyproject="", toml=toml.replace("TABLE", "[pulsar]")) == whole


def test_the_settings_of_a_table_come_from_several_sources(load):
    config = load(
        toml="[pulsar]\npartitions = 4\nadmin_url = 'http://a'",
        env={"INFINITIC_PULSAR__ADMIN_URL": "http://b"},
        pulsar={"token": "x"},
    )

    assert config.pulsar == {"partitions": 4, "admin_url": "http://b", "token": "x"}


def test_what_is_not_ours_in_the_environment_and_in_pyproject_is_let_alone(load):
    pyproject = "[project]\nname = 'shop'\n[tool.ruff]\nline-length = 1"

    assert load(pyproject=pyproject, env={"PATH": "/bin", "infinitic_format": "x", "INFINITIC": "x"}) == load()


def test_a_keyword_that_is_none_and_a_variable_that_is_empty_are_not_given(load):
    assert load(None, storage=None, retention=None, env={"INFINITIC_STORAGE": "", "INFINITIC_RETENTION": ""}) == load()


@pytest.mark.parametrize("url", ["sqlite:///trips.db", "memory://trips"])
def test_one_embedded_url_is_transport_and_storage(load, url):
    both = Config(url, url)

    assert load(url) == load(transport=url) == load(storage=url) == both
    assert load(env={"INFINITIC_TRANSPORT": url}) == load(env={"INFINITIC_STORAGE": url}) == both
    assert load(toml=f"transport = '{url}'") == both


def test_one_url_of_a_server_is_a_transport_alone(load):
    assert load("pulsar://h") == Config("pulsar://h", None)


def test_one_url_of_a_server_goes_with_a_storage_that_is_configured(load):
    assert load("pulsar://h", env={"INFINITIC_STORAGE": "redis://h"}) == Config("pulsar://h", "redis://h")
    assert load("pulsar://h", storage="redis://h") == Config("pulsar://h", "redis://h")


def test_an_embedded_url_leaves_nothing_of_what_is_configured_below(load):
    env = {"INFINITIC_TRANSPORT": "pulsar://h", "INFINITIC_STORAGE": "redis://h"}

    assert load("sqlite:///a.db", env=env) == Config("sqlite:///a.db", "sqlite:///a.db")
    assert load(storage="sqlite:///a.db", env=env) == Config("sqlite:///a.db", "sqlite:///a.db")
    assert load("sqlite:///a.db", toml="storage = 'sqlite:///b.db'") == Config("sqlite:///a.db", "sqlite:///a.db")


def test_an_embedded_url_below_does_not_fill_up_what_is_above(load):
    assert load("pulsar://h", toml="transport = 'sqlite:///b.db'") == Config("pulsar://h", None)


def test_a_pair_of_one_source_is_taken_as_it_is(load):
    assert load(transport="memory://a", storage="redis://h") == Config("memory://a", "redis://h")
    assert load(transport="memory://a", storage="memory://b") == Config("memory://a", "memory://b")


def test_a_storage_alone_is_refused(refusal):
    assert refusal(storage="redis://u:secret@h") == (
        "storage = redis://u:***@h has no transport beside it. Give transport='pulsar://…', or INFINITIC_TRANSPORT."
    )


def test_a_url_beside_a_transport_is_refused(refusal):
    assert refusal("sqlite:///a.db", transport="pulsar://h") == (
        "Both the URL sqlite:///a.db and a transport were given as keywords. "
        "Give one URL, or transport=… and storage=…."
    )


def test_an_unknown_name_is_refused_with_its_source_and_the_nearest_known_one(refusal):
    assert refusal(retentoin=1) == "retentoin (keyword) is no setting. Did you mean retention?"
    assert refusal(env={"INFINITIC_RETENTOIN": "1"}) == (
        "INFINITIC_RETENTOIN (environment) is no setting. Did you mean INFINITIC_RETENTION?"
    )
    assert refusal(env={"INFINITIC_PULSAR__ADMINURL": "x"}) == (
        "INFINITIC_PULSAR__ADMINURL (environment) is no setting. Did you mean INFINITIC_PULSAR__ADMIN_URL?"
    )
    assert refusal(pulsar={"partition": 1}) == (
        "pulsar.partition (keyword) is no setting. Did you mean pulsar.partitions?"
    )
    assert refusal(admin_url="http://h") == "admin_url (keyword) is no setting. Did you mean pulsar.admin_url?"


def test_an_unknown_name_in_a_file_is_refused_with_the_file(refusal, tmp_path):
    assert refusal(toml="concurency = 1") == "concurency (infinitic.toml) is no setting. Did you mean concurrency?"
    (tmp_path / "infinitic.toml").unlink()
    assert refusal(pyproject="[tool.infinitic]\nstorages = 'x'") == (
        "storages (pyproject.toml, [tool.infinitic]) is no setting. Did you mean storage?"
    )


def test_an_unknown_name_like_no_other_names_them_all(refusal):
    assert refusal(xyz=1) == f"xyz (keyword) is no setting. There are {', '.join(SETTINGS)}."


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("transport", "trips.db", "a URL, as in sqlite:///.infinitic/infinitic.db"),
        ("storage", 5, "a URL, as in sqlite:///.infinitic/infinitic.db"),
        ("namespace", "", "a name of letters, digits, '_', '.' and '-'"),
        ("namespace", "my shop", "a name of letters, digits, '_', '.' and '-'"),
        ("namespace", "1st", "a name of letters, digits, '_', '.' and '-'"),
        ("retention", -1, "a number of seconds, 0 or more"),
        ("retention", "7 days", "a number of seconds, 0 or more"),
        ("retention", True, "a number of seconds, 0 or more"),
        ("retention", float("nan"), "a number of seconds, 0 or more"),
        ("retention", float("inf"), "a number of seconds, 0 or more"),
        ("format", 0, "1 or 2"),
        ("format", 3, "1 or 2"),
        ("concurrency", 0, "a whole number from 1 on"),
        ("concurrency", 1.5, "a whole number from 1 on"),
        ("concurrency", True, "a whole number from 1 on"),
        ("concurrency", "4", "a whole number from 1 on"),
        ("cache_instances", -1, "a whole number from 0 on"),
        ("cache_bytes", -1, "a whole number from 0 on"),
        ("durability", "half", "'full' or 'normal'"),
        ("durability", [], "'full' or 'normal'"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_would(refusal, name, value, expected):
    assert refusal(**{name: value}) == f"{name} = {value!r} (keyword) is not {expected}"


def test_a_value_that_does_not_fit_is_refused_with_its_source(refusal, tmp_path):
    seconds = "is not a number of seconds, 0 or more"

    assert refusal(env={"INFINITIC_RETENTION": "soon"}) == f"INFINITIC_RETENTION = 'soon' (environment) {seconds}"
    assert refusal(env={"INFINITIC_RETENTION": "-1"}) == f"INFINITIC_RETENTION = -1.0 (environment) {seconds}"
    assert refusal(toml="retention = '7'") == f"retention = '7' (infinitic.toml) {seconds}"
    (tmp_path / "infinitic.toml").unlink()
    assert refusal(pyproject="tool.infinitic.retention = '7'") == (
        f"retention = '7' (pyproject.toml, [tool.infinitic]) {seconds}"
    )


def test_a_value_below_is_checked_even_where_another_decides(refusal):
    assert "infinitic.toml" in refusal(toml="concurrency = 'x'", concurrency=4)


def test_a_table_that_is_none_is_refused(refusal):
    assert refusal(toml="pulsar = 5") == "pulsar = 5 (infinitic.toml) is not a table"


def test_a_section_of_pyproject_that_is_no_table_is_refused(refusal):
    assert refusal(pyproject="[tool]\ninfinitic = 5") == "infinitic (pyproject.toml, [tool.infinitic]) is not a table"


def test_a_broken_file_is_refused_with_what_is_wrong(refusal):
    assert refusal(toml="retention = ") == "infinitic.toml cannot be read: Invalid value (at end of document)"


def test_a_directory_in_place_of_a_file_is_refused(refusal, tmp_path):
    (tmp_path / "infinitic.toml").mkdir()

    assert refusal().startswith("infinitic.toml cannot be read: ")


def test_secrets_are_not_printed(load, refusal):
    config = load("pulsar://u:secret@h", storage="redis://:secret@h", pulsar={"token": "secret"})

    assert "secret" not in repr(config)
    assert "secret" not in refusal(pulsar={"token": ["secret"]})
    assert "secret" not in refusal(env={"INFINITIC_CACHE_BYTES": "redis://u:secret@h"})


def test_a_url_is_shown_without_its_password():
    assert shown("redis://u:secret@h:1/0") == "redis://u:***@h:1/0"
    assert shown("redis://:secret@h") == "redis://:***@h"
    assert shown("redis://u:what/is@not?quoted#here@h:1/0") == "redis://u:***@h:1/0"
    assert shown("redis://h:6379/0") == "redis://h:6379/0"
    assert shown("sqlite:////a/b:c@d.db") == "sqlite:////a/b:c@d.db"


def test_a_scheme_is_what_stands_before_the_slashes():
    assert [scheme_of(url) for url in ("sqlite:///a", "memory://", "a.db", "")] == [
        "sqlite",
        "memory",
        "",
        "",
    ]


def test_the_working_directory_and_the_environment_are_the_processs_own(tmp_path, monkeypatch):
    (tmp_path / "infinitic.toml").write_text("concurrency = 3", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INFINITIC_CACHE_BYTES", "5")

    assert load_config() == Config(DEFAULT_URL, DEFAULT_URL, concurrency=3, cache_bytes=5)
