"""Which URLs and pairs make a backend, and what is said of those that make none."""

import subprocess
import sys

import pytest

from infinitic.backends.distributed import DistributedBackend
from infinitic.backends.sqlite import SqliteBackend
from infinitic.backends.urls import STORAGES, TRANSPORTS, Brokers, open_backend, sqlite_path
from infinitic.config import Config, load_config
from infinitic.errors import ConfigurationError, NoStorage
from tests.storages.given import NOON, JumpingClock, start, turns, write
from tests.transports.given import TRIPS, Subscriber, sent


def refusal(transport, storage=None, **options):
    """What is said of a pair that is refused."""
    with pytest.raises(ConfigurationError) as refused:
        open_backend(Config(transport, storage), "worker", **options)
    return str(refused.value)


def test_a_sqlite_url_opens_its_file(tmp_path):
    backend = open_backend(f"sqlite:///{tmp_path}/deep/trips.db", "worker")

    assert isinstance(backend, SqliteBackend)
    assert (tmp_path / "deep" / "trips.db").exists()
    backend.close()


@pytest.mark.parametrize("role", ["worker", "client", "reader"])
def test_each_role_opens_either_backend(tmp_path, role):
    for url in (f"sqlite:///{tmp_path}/trips.db", "memory://roles"):
        backend = open_backend(url, role, brokers=Brokers())
        write(backend.storage, start(role + url[:3]))
        backend.close()


def test_the_clock_is_the_storages(tmp_path):
    for url in (f"sqlite:///{tmp_path}/trips.db", "memory://clock"):
        backend = open_backend(url, "worker", JumpingClock(), brokers=Brokers())
        assert backend.storage.now() == NOON
        backend.close()


def test_one_name_is_one_broker_in_this_process():
    brokers = Brokers()
    worker = open_backend("memory://trips", "worker", brokers=brokers)
    client = open_backend("memory://trips", "client", brokers=brokers)
    other = open_backend("memory://others", "client", brokers=brokers)
    here, elsewhere = Subscriber(worker.transport, TRIPS), Subscriber(other.transport, TRIPS)
    client.transport.publish(sent(TRIPS, "k", "m1"))
    write(worker.storage, start())

    assert (here.at_hand(), elsewhere.at_hand()) == (["m1"], [])
    assert client.storage.history("trip-1", "r1") == turns(1)
    assert other.storage.load("trip-1") is None


def test_what_is_in_memory_outlives_its_backends():
    brokers = Brokers()
    first = open_backend("memory://trips", "client", brokers=brokers)
    first.transport.publish(sent(TRIPS, "k", "m1"))
    write(first.storage, start())
    first.close()

    second = open_backend("memory://trips", "worker", brokers=brokers)
    assert Subscriber(second.transport, TRIPS).at_hand() == ["m1"]
    assert second.storage.history("trip-1", "r1") == turns(1)


def test_a_process_has_one_place_for_names_unless_it_makes_more():
    name = "memory://test_a_process_has_one_place_for_names"
    write(open_backend(name, "worker").storage, start())

    assert open_backend(name, "reader").storage.load("trip-1") is not None
    assert open_backend(name, "reader", brokers=Brokers()).storage.load("trip-1") is None


def test_transport_and_storage_in_memory_may_have_different_names():
    brokers = Brokers()
    mixed = open_backend(Config("memory://a", "memory://b"), "worker", brokers=brokers)
    write(mixed.storage, start())

    assert open_backend("memory://a", "reader", brokers=brokers).storage.load("trip-1") is None
    assert open_backend("memory://b", "reader", brokers=brokers).storage.load("trip-1") is not None


def test_a_transport_alone_serves_services():
    backend = open_backend(Config("memory://alone"), "worker", brokers=Brokers())

    assert isinstance(backend, DistributedBackend)
    with pytest.raises(NoStorage):
        _ = backend.storage


def test_relative_and_absolute_paths_are_told_apart_by_their_slashes():
    assert sqlite_path("sqlite:///trips.db") == "trips.db"
    assert sqlite_path("sqlite:///.infinitic/infinitic.db") == ".infinitic/infinitic.db"
    assert sqlite_path("sqlite:////var/lib/trips 1%.db") == "/var/lib/trips 1%.db"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite://trips.db", "sqlite:///:memory:", "sqlite:///a/"])
def test_a_sqlite_url_without_a_file_is_refused(url):
    assert refusal(url, url) == (
        f"{url} names no file. Write sqlite:///trips.db, or sqlite:////var/lib/trips.db; memory:// keeps nothing."
    )


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("pulsar://127.0.0.1:1/t/n", "pulsar", "pulsar"),
        ("redis://h", "redis", "redis"),
        ("mysql://u:secret@h/db", "mysql", "mysql"),
        ("mariadb://u:secret@h/db", "mysql", "mysql"),
        ("postgresql://h", "psycopg", "postgres"),
    ],
)
def test_a_driver_that_is_not_installed_names_the_extra_that_brings_it(url, package, extra):
    code = f"""
import sys
sys.modules[{package!r}] = None  # as if it were not installed
from infinitic.backends.urls import open_backend
from infinitic.config import Config
from infinitic.errors import MissingExtra
try:
    open_backend(Config(*({url!r}, None) if {package!r} == "pulsar" else ("memory://", {url!r})), "worker")
except MissingExtra as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout == (
        f"{url.partition(':')[0]}:// needs a package that is not installed. pip install 'infinitic[{extra}]'\n"
    )


def test_a_scheme_that_is_like_a_known_one_names_it():
    assert refusal("sqlit:///a.db") == "sqlit:///a.db names no transport that is known. Did you mean sqlite://?"
    assert refusal("memory://", "postgres://u:secret@h") == (
        "postgres://u:***@h names no storage that is known. Did you mean postgresql://?"
    )


def test_a_scheme_that_is_like_none_names_them_all():
    assert refusal("kafka://h") == (
        "kafka://h names no transport that is known. "
        "A transport is one of sqlite://, memory://, pulsar://, pulsar+ssl://."
    )
    assert refusal("memory://", "xyz://h") == (
        "xyz://h names no storage that is known. "
        "A storage is one of sqlite://, memory://, redis://, rediss://, mysql://, mariadb://, postgresql://."
    )


def test_a_storage_as_a_transport_is_refused_and_the_other_way_round():
    assert refusal("redis://h") == (
        "redis://h names a storage and was given as the transport. "
        "A transport is one of sqlite://, memory://, pulsar://, pulsar+ssl://."
    )
    assert refusal("memory://", "pulsar://h").startswith("pulsar://h names a transport and was given as the storage.")


@pytest.mark.parametrize(
    ("transport", "storage"),
    [
        ("pulsar://h", "sqlite:///a.db"),
        ("memory://", "sqlite:///a.db"),
        ("sqlite:///a.db", "sqlite:///b.db"),
        ("sqlite:///a.db", "memory://"),
        ("sqlite:///a.db", "redis://h"),
    ],
)
def test_sqlite_goes_with_itself_alone(transport, storage):
    assert refusal(transport, storage) == (
        f"The transport {transport} does not go with the storage {storage}. "
        "SQLite is transport and storage in one file: give that one URL, or another pair."
    )


def test_windows_is_refused_with_a_sentence():
    assert refusal("sqlite:///a.db", "sqlite:///a.db", platform="win32") == (
        "The embedded backend runs on Linux and macOS, not on Windows. "
        "Use it in WSL or a container, or a transport and a storage on servers."
    )
    open_backend("memory://", "worker", platform="win32", brokers=Brokers()).close()


def test_what_is_refused_leaves_nothing_behind(tmp_path):
    refusal(f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db")
    refusal(f"sqlite:///{tmp_path}/a.db", "redis://h")

    assert list(tmp_path.iterdir()) == []


def test_the_default_configuration_is_one_file_in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open_backend(load_config(environ={}), "worker").close()

    assert (tmp_path / ".infinitic" / "infinitic.db").exists()


def test_every_scheme_has_a_name():
    assert TRANSPORTS.keys() | STORAGES.keys() == {
        "sqlite",
        "memory",
        "pulsar",
        "pulsar+ssl",
        "redis",
        "rediss",
        "mysql",
        "mariadb",
        "postgresql",
    }
