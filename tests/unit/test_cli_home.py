"""The data folder: what is remembered, who holds it, which cluster is meant."""

from __future__ import annotations

import json
import os
import ssl
import stat
from pathlib import Path

import pytest

from carryon_standalone import credentials, supervisor
from carryon_standalone.cli import target
from carryon_standalone.cli.errors import CommandError
from carryon_standalone.component import how_it_ended, restart_delay
from carryon_standalone.home import Home, HomeTaken, Running, Settings, hold


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("CARRYON_HOME", str(tmp_path / "home"))
    made = Home.of()
    made.create()
    return made


def choose(
    *, kubeconfig: Path | None = None, context: str | None = None, data: Path | None = None, may_start: bool = False
) -> target.Target:
    return target.choose(kubeconfig=kubeconfig, context=context, namespace=None, data=data, may_start=may_start)


def test_settings_outlive_the_process(home: Home) -> None:
    assert Settings.load(home) == Settings()
    Settings(port=7001, output="/clips", gpus=2).save(home)
    assert Settings.load(home) == Settings(port=7001, output="/clips", gpus=2)


def test_what_the_page_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert supervisor.page_missing() is None
    monkeypatch.setattr(supervisor, "_PAGE_NEEDS", ("json", "no_such_server"))
    assert supervisor.page_missing() == "no_such_server"


def test_a_record_of_an_earlier_version_is_read(home: Home) -> None:
    running = Running.this_process(ready=True)
    home.running.write_text(json.dumps({"pid": running.pid, "ticks": running.ticks, "ready": True, "later": 1}))
    assert Running.load(home) == running


def test_settings_of_a_later_version_are_read(home: Home) -> None:
    home.settings.write_text(json.dumps({"port": 7001, "colour": "blue"}))
    assert Settings.load(home) == Settings(port=7001)


def test_a_record_of_a_process_that_is_gone_counts_for_nothing(home: Home) -> None:
    running = Running.this_process(ready=True)
    running.save(home)
    assert Running.load(home) == running
    Running(running.pid, running.ticks - 1, ready=True).save(home)  # the pid was given to another process
    assert Running.load(home) is None
    Running(2**22 + 1, 1).save(home)  # above the largest pid
    assert Running.load(home) is None


def test_a_folder_has_one_supervisor(home: Home) -> None:
    Running.this_process(ready=True).save(home)
    with hold(home), pytest.raises(HomeTaken, match=f"process {os.getpid()}.*carryon down"), hold(home):
        pass
    with hold(home):
        pass


def test_what_gives_power_over_the_machine_is_for_its_owner_only(home: Home) -> None:
    credentials.ensure(home)
    credentials.write_kubeconfig(home, 7001)
    for path in (home.token, home.kubeconfig, home.certificate):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o700


def test_a_folder_that_was_there_before_shows_others_nothing_of_what_is_put_into_it(tmp_path: Path) -> None:
    home = Home(tmp_path / "shared")
    home.root.mkdir()
    home.root.chmod(0o755)
    home.logs.mkdir()
    home.logs.chmod(0o755)  # of an earlier version
    before = os.umask(0)
    try:
        home.create()
        with hold(home):
            credentials.ensure(home)
            credentials.write_kubeconfig(home, 7001)
            Settings(port=7001).save(home)
            Running.this_process(ready=True).save(home)
    finally:
        os.umask(before)
    open_to_others = [path.name for path in home.root.iterdir() if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert open_to_others == []
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o755


def test_credentials_that_were_handed_out_stay_valid(home: Home) -> None:
    credentials.ensure(home)
    before = home.token.read_text(), home.authority.read_text(), home.certificate.read_text()
    credentials.ensure(home)
    assert before == (home.token.read_text(), home.authority.read_text(), home.certificate.read_text())
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(home.certificate)


def test_the_cluster_is_what_the_caller_names_first(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.kubeconfig.touch()
    assert choose().home == home
    monkeypatch.setenv("KUBECONFIG", "/elsewhere/config")
    assert (choose().kubeconfig, choose().home) == ("/elsewhere/config", None)
    assert choose(kubeconfig=Path("/mine"), context="c").kubeconfig == "/mine"
    assert choose(data=home.root).home == home
    with pytest.raises(CommandError, match="two clusters"):
        choose(kubeconfig=Path("/mine"), data=home.root)


def test_a_standalone_kubeconfig_is_known_for_what_it_is(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.kubeconfig.touch()
    Settings(port=7001).save(home)
    monkeypatch.setenv("KUBECONFIG", str(home.kubeconfig))
    assert choose().home == home


def test_without_any_cluster_there_is_advice(home: Home) -> None:
    with pytest.raises(CommandError, match=r"start one with `carryon up`") as refused:
        choose()
    assert refused.value.code == 2
    assert choose(may_start=True).home == home


def test_hints_name_the_folder_only_where_it_is_another(home: Home, tmp_path: Path) -> None:
    assert home.command("down") == "carryon down"
    assert Home.of(tmp_path / "my state").command("down") == f"carryon down --data '{tmp_path}/my state'"


def test_restarts_wait_longer_each_time() -> None:
    assert [restart_delay(crashes) for crashes in (1, 2, 3, 4, 20)] == [0.5, 1, 2, 4, 30]


def test_an_end_is_told_in_words() -> None:
    assert [how_it_ended(code) for code in (1, -9)] == ["ended with exit code 1", "was killed (SIGKILL)"]
