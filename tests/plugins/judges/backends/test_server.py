from __future__ import annotations

from typing import Any

import pytest

from rlaif_core import ConfigError
from rlaif_core.options import checked, parameters
from rlaif_judges.backends.server import OFFICIAL, Server


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"read": "prose"}, "read is 'prose'"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"timeout": 0}, "timeout is 0"),
        ({"timeout": float("inf")}, "timeout is inf"),
        ({"patience": -1}, "patience is -1"),
        ({"patience": float("nan")}, "patience is nan"),
        ({"retries": -1}, "retries is -1"),
        ({"price_in": -0.1}, "price_in"),
        ({"mass": 1.1}, "mass is 1.1"),
        ({"base_url": "localhost:8000"}, "must be as in 'http://localhost:8000/v1'"),
        ({"base_url": "ftp://x/v1"}, "must be as in"),
        ({"base_url": "http:///v1"}, "must be as in"),
        ({"base_url": "http://x:port/v1"}, "must be as in"),
        ({"base_url": "http://me:secret@x/v1"}, "holds a user"),
        ({"base_url": "http://x/v1?key=secret"}, "a query"),
        ({"options": {"model": "x"}}, "options set model"),
        ({"options": {"top_p": float("nan")}}, "cannot be written as JSON"),
        ({"options": {"stop": {1, 2}}}, "cannot be written as JSON"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        Server(model="m", **options)
    assert "secret" not in str(caught.value)


def test_a_builder_takes_its_fields_as_options_of_its_own() -> None:
    def build(rubric: str = "", server: Server = Server()) -> None: ...

    assert {"rubric", "base_url", "read", "patience"} <= set(parameters(build))
    assert "model" not in parameters(build)  # which a judge asks for itself, for it must be given
    values = checked(build, {"read": "json", "options": {"top_p": 0.5}}, "judge")
    assert values["server"] == Server(read="json", options={"top_p": 0.5})
    with pytest.raises(ConfigError, match="read"):
        checked(build, {"read": "prose"}, "judge")


def test_openai_itself_needs_a_key_and_says_what_to_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    server = Server(model="m", key="JUDGE_KEY")
    assert server.url == OFFICIAL
    with pytest.raises(ConfigError, match=r"export JUDGE_KEY=\.\.\."):
        server.secret()
    monkeypatch.setenv("JUDGE_KEY", " \n")
    with pytest.raises(ConfigError, match="export JUDGE_KEY"):
        server.secret()


def test_a_server_of_ones_own_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    server = Server(model="m", key="JUDGE_KEY", base_url="http://localhost:8000/v1/")
    assert server.secret() == ""
    assert server.url == "http://localhost:8000/v1"
    monkeypatch.setenv("JUDGE_KEY", "sk-123\n")  # as from a file
    assert server.secret() == "sk-123"


@pytest.mark.parametrize("key", ["sk 123", "sk-\x00", "sk-ключ", "a\nb"])
def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "\x00" in key:
        monkeypatch.setattr("os.environ", {"JUDGE_KEY": key})
    else:
        monkeypatch.setenv("JUDGE_KEY", key)
    with pytest.raises(ConfigError, match="the key in JUDGE_KEY holds") as caught:
        Server(model="m", key="JUDGE_KEY").secret()
    assert key not in str(caught.value)


def test_the_key_is_no_part_of_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-123456789")
    assert "sk-1" not in repr(Server(model="m", key="JUDGE_KEY"))
