from __future__ import annotations

import copy
import os
import tempfile
import zoneinfo
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioning.config.audience import Telling, default_route, tellings
from provisioning.config.load import ConfigError, load, load_with_warnings
from provisioning.config.model import Config

BAD = sorted((Path(__file__).parent / "bad_configs").glob("*.yml"))
EXAMPLE = Path(__file__).parents[2] / "provisioning/example.yml"
PYDANTIC_WORDS = (
    "Input should",
    "pydantic",
    "validation error",
    "Value error",
    "Extra inputs",
    "Field required",
    "[type",
)


def everybody(config: Config) -> list[Telling]:
    """Whom the route of alerts that fit no other tells."""
    route = default_route(config)
    assert route
    return tellings(config, route)


def write(folder: Path, text: str) -> Path:
    file = folder / "cluster-ai.yml"
    file.write_text(text)
    return file


def warnings(file: Path) -> list[str]:
    return [
        warning.text(Path(file.name)).replace(str(file.parent), "DIR") for warning in load_with_warnings(file).warnings
    ]


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_every_problem_is_named_word_for_word(file: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(file)
    assert str(error.value).replace(f"{file.parent}/", "") + "\n" == file.with_suffix(".txt").read_text()


def test_no_message_speaks_pydantic() -> None:
    said = "".join(file.with_suffix(".txt").read_text() for file in BAD)
    assert not [word for word in PYDANTIC_WORDS if word in said]


def test_a_password_in_an_address_is_not_repeated(tmp_path: Path) -> None:
    for scheme in ("http://", "ftp://", "", "//", "http://[::1"):
        file = write(tmp_path, f"targets:\n  ollama:\n    - name: a\n      url: '{scheme}ana:hunter2@10.0.0.8:3000'\n")
        with pytest.raises(ConfigError) as error:
            load(file)
        assert "user name or password does not belong" in str(error.value)
        assert "hunter2" not in str(error.value)


def test_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yml: there is no such file; give the path of yours, or begin"):
        load(tmp_path / "nowhere.yml")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this is a directory"):
        load(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root reads every file, so modes would prove nothing
    with pytest.raises(ConfigError, match=r"^c\.yml: the file cannot be read: Permission denied$"):
        load(Path("c.yml"))


def test_a_secret_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, SECRET)
    (tmp_path / "key").write_text("sk-1")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert warnings(file) == [AT + "DIR/key cannot be read; let the user who runs cluster-ai read it"]


def test_a_huge_file_is_refused_without_being_parsed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load(write(tmp_path, "# " + "x" * (1 << 20)))


def test_brackets_without_end_do_not_exhaust_the_stack(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nested too deeply"):
        load(write(tmp_path, "targets: " + "[" * 100_000))


def test_a_problem_is_one_line_whatever_the_file_name_holds(tmp_path: Path) -> None:
    file = tmp_path / "a\nb\x1b[31m.yml"
    file.write_text("name: 1\ntargets: {}\n")
    with pytest.raises(ConfigError) as error:
        load(file)
    assert str(error.value).isprintable()
    assert "a\\nb\\x1b[31m.yml:1: name:" in str(error.value)


def test_a_byte_order_mark_is_not_content(tmp_path: Path) -> None:
    assert load(write(tmp_path, "\ufeffname: lab\ntargets: {}\n")).name == "lab"


def test_paths_are_relative_to_the_file_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "lab"
    folder.mkdir()
    targets = "openwebui:\n    - {name: a, url: 'http://h', api_key_file: keys/a}\n"
    targets += (
        "    - {name: b, url: 'http://i', api_key_file: /etc/b}\n    - {name: c, url: 'http://j', api_key_file: ~/c}\n"
    )
    write(folder, f"targets:\n  {targets}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ana")
    config = load(Path("lab/cluster-ai.yml"))
    files = [target.api_key_file for target in config.targets.openwebui]
    assert files == [folder / "keys/a", Path("/etc/b"), Path("/home/ana/c")]


def test_anchors_and_merges(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "targets:\n  ollama:\n    - &first\n      name: a\n      url: http://10.0.0.1:11434\n      timeout: 2s\n"
        "    - <<: *first\n      name: b\n      url: http://10.0.0.2:11434\n",
    )
    assert [(target.name, target.timeout) for target in load(file).targets.ollama] == [("a", 2.0), ("b", 2.0)]


def test_the_first_merged_map_wins_as_in_yaml_itself(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "targets:\n  dask:\n    - &a {name: a, scheduler: 'tcp://h:1', timeout: 1s}\n"
        "    - &b {name: b, scheduler: 'tcp://h:2', timeout: 2s, series_limit: 7}\n"
        "    - {<<: [*a, *b], name: c}\n",
    )
    merged = load(file).targets.dask[2]
    assert (merged.name, merged.timeout, merged.series_limit) == ("c", 1.0, 7)


def test_values_that_look_like_dates_stay_text(tmp_path: Path) -> None:
    assert load(write(tmp_path, "name: 2026-11-23\ntargets: {}\n")).name == "2026-11-23"


def test_the_design_example_is_good(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        """\
name: lab                                   # shown on pages and in messages
targets:
  dask:
    - name: main
      scheduler: tcp://10.0.0.5:8786        # tls:// with ca_file, cert_file, key_file
      dashboard: http://10.0.0.5:8787       # optional: found from the scheduler
  ollama:
    - name: gpu-1
      url: http://10.0.0.7:11434
      must_be_loaded: [llama3.1:8b]         # optional
  openwebui:
    - name: chat
      url: http://10.0.0.8:3000
      api_key_file: secrets/openwebui-key   # optional: without it, the public part
alerts:
  thresholds: {dask_worker_memory_ratio: 0.8}
people:
  - {name: ana, email: ana@example.org, sms: "+5511999990000", role: operator}
""",
    )
    config = load(file)
    assert config.targets.ollama[0].must_be_loaded == ["llama3.1:8b"]
    assert config.alerts.thresholds == {"dask_worker_memory_ratio": 0.8}


def test_a_missing_secret_is_a_warning_and_everything_else_is_loaded(tmp_path: Path) -> None:
    file = write(tmp_path, "targets:\n  openwebui:\n    - {name: a, url: 'http://h', api_key_file: keys/a}\n")
    (warning,) = warnings(file)
    assert warning == (
        'cluster-ai.yml:3: targets.openwebui "a": api_key_file: there is no file DIR/keys/a; '
        "what needs it is not read until the file is there"
    )
    assert load(file).targets.openwebui[0].name == "a"


SECRET = "targets:\n  openwebui:\n    - name: a\n      url: http://h\n      api_key_file: key\n"
AT = 'cluster-ai.yml:5: targets.openwebui "a": api_key_file: '


def test_a_secret_that_others_can_read_says_what_to_run(tmp_path: Path) -> None:
    file = write(tmp_path, SECRET)
    (tmp_path / "key").write_text("sk-1\n")
    (tmp_path / "key").chmod(0o644)
    assert warnings(file) == [AT + "everyone on this machine can read DIR/key; run: chmod 600 DIR/key"]
    (tmp_path / "key").chmod(0o600)
    assert warnings(file) == []


def test_the_command_to_run_is_quoted_for_a_shell(tmp_path: Path) -> None:
    folder = tmp_path / "it's here; rm -rf"
    folder.mkdir()
    file = write(folder, SECRET)
    (folder / "key").write_text("sk-1\n")
    (folder / "key").chmod(0o644)
    (warning,) = load_with_warnings(file).warnings
    assert warning.hint.endswith("""it'"'"'s here; rm -rf/key'""")


def test_an_empty_secret(tmp_path: Path) -> None:
    file = write(tmp_path, SECRET)
    (tmp_path / "key").touch(0o600)
    assert warnings(file) == [AT + "DIR/key is empty; what needs it is not read until it is filled"]


def test_a_folder_for_a_secret(tmp_path: Path) -> None:
    file = write(tmp_path, SECRET)
    (tmp_path / "key").mkdir()
    assert warnings(file) == [AT + "DIR/key is not a file; give the path of the file itself"]


def test_a_certificate_may_be_read_by_everybody(tmp_path: Path) -> None:
    file = write(tmp_path, "targets:\n  dask:\n    - {name: a, scheduler: 'tls://h:1', ca_file: ca.pem}\n")
    (tmp_path / "ca.pem").write_text("PEM")
    (tmp_path / "ca.pem").chmod(0o644)
    assert warnings(file) == []


def test_a_path_below_a_file(tmp_path: Path) -> None:
    file = write(tmp_path, SECRET.replace("key\n", "plain/key\n"))
    (tmp_path / "plain").touch()
    assert warnings(file) == [
        AT + "DIR/plain/key cannot be reached: Not a directory; let the user who runs cluster-ai read it"
    ]


def test_people_who_look_as_if_they_were_told(tmp_path: Path) -> None:
    people = 'people: [{name: ana, role: operator, email: a@b.org, sms: "+5511999990000"}]'
    file = write(tmp_path, f"targets:\n  hosts: [{{name: a}}]\n{people}\n")
    assert warnings(file) == [
        "cluster-ai.yml:3: people: nobody is told by mail; add notifications.mail",
        "cluster-ai.yml:3: people: nobody is told by sms; add notifications.sms",
    ]
    viewer = write(tmp_path, "targets:\n  hosts: [{name: a}]\npeople: [{name: ana, email: a@b.org}]\n")
    assert warnings(viewer) == []


def test_accounts_that_tell_nobody(tmp_path: Path) -> None:
    account = "mail: {smarthost: 'localhost:25', sender: m@b.org, tls: false}"
    targets = "targets:\n  hosts: [{name: a}]\n"
    file = write(tmp_path, f"{targets}people: [{{name: ana, email: a@b.org}}]\nnotifications:\n  {account}\n")
    hint = "give somebody an email and the role operator or admin, or add routes"
    assert warnings(file) == [f"cluster-ai.yml:4: notifications: nobody is told of any alert; {hint}"]


def test_a_machine_without_time_zones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    file = write(tmp_path, "targets: {}\nnotifications: {zone: Mars/Olympus}\n")
    with pytest.raises(ConfigError, match="this machine knows no time zones; install tzdata, or use UTC"):
        load(file)


def test_a_password_that_ends_with_a_line_break(tmp_path: Path) -> None:
    account = "mail: {smarthost: 'smtp.b.org:587', sender: m@b.org, username: u, password_file: word}"
    targets = "targets: {hosts: [{name: a}]}\npeople: [{name: ana, email: a@b.org, role: admin}]\n"
    file = write(tmp_path, f"{targets}notifications:\n  {account}\n")
    secret = tmp_path / "word"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    said = "the file ends with a line break, which Debian's Alertmanager sends as part of the password"
    hint = 'run: printf %s "$(cat DIR/word)" > DIR/word'
    assert warnings(file) == [f"cluster-ai.yml:4: notifications.mail.password_file: {said}; {hint}"]
    secret.write_text("s3cret")
    assert warnings(file) == []


def test_people_and_a_mail_account_are_enough(tmp_path: Path) -> None:
    account = "mail: {smarthost: 'localhost:25', sender: m@b.org, tls: false}"
    person = "{name: ana, role: operator, email: a@b.org}"
    file = write(tmp_path, f"targets:\n  hosts: [{{name: a}}]\npeople: [{person}]\nnotifications:\n  {account}\n")
    assert warnings(file) == []
    config = load(file)
    ((ana, means, severities),) = ((told.person.name, told.means, told.severities) for told in everybody(config))
    assert (ana, means, severities) == ("ana", "mail", ("critical", "warning"))


def test_nothing_to_watch(tmp_path: Path) -> None:
    (warning,) = warnings(write(tmp_path, "targets: {}\n"))
    assert warning == (
        "cluster-ai.yml:1: targets: no target is given, so only this machine is watched; "
        "add entries under dask, ollama, openwebui or hosts"
    )


def test_one_system_watched_twice(tmp_path: Path) -> None:
    file = write(
        tmp_path, "targets:\n  ollama:\n    - {name: a, url: 'http://h:1'}\n    - {name: b, url: 'http://h:1/'}\n"
    )
    (warning,) = warnings(file)
    assert warning == (
        'cluster-ai.yml:4: targets.ollama "b": url: http://h:1 is also the target "a"; '
        "one of the two can go, or its numbers are counted twice"
    )


def test_the_example_has_no_warning_but_its_secrets_and_what_is_not_used_yet() -> None:
    left = [
        warning.message
        for warning in load_with_warnings(EXAMPLE).warnings
        if "there is no file" not in warning.message and "not used by this version" not in warning.message
    ]
    assert left == []


GOOD = yaml.safe_load(EXAMPLE.read_text())
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.dates(), st.text(max_size=20), st.binary(max_size=5)
)
junk = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | scalars, inner, max_size=3),
)


def paths(node: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    found = [path] if path else []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        found += paths(value, (*path, key))
    return found


@settings(max_examples=150, deadline=None)
@given(where=st.sampled_from(paths(GOOD)), value=junk, key=st.none() | st.text(max_size=8))
def test_any_value_anywhere_is_loaded_or_explained(where: tuple[object, ...], value: object, key: str | None) -> None:
    data = copy.deepcopy(GOOD)
    node = data
    for part in where[:-1]:
        node = node[part]
    if key is not None and isinstance(node, dict):
        node[key] = value
    else:
        node[where[-1]] = value
    explained_or_loaded(yaml.safe_dump(data).encode())


@settings(max_examples=150, deadline=None)
@given(start=st.integers(0, 2000), end=st.integers(0, 2000), put=st.binary(max_size=6) | st.text(max_size=6))
def test_any_damage_to_the_text_is_loaded_or_explained(start: int, end: int, put: bytes | str) -> None:
    text = EXAMPLE.read_bytes()
    explained_or_loaded(text[:start] + (put.encode() if isinstance(put, str) else put) + text[end:])


def explained_or_loaded(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cluster-ai.yml"
        file.write_bytes(content)
        try:
            said = [warning.text(file) for warning in load_with_warnings(file).warnings]
        except ConfigError as error:
            said = str(error).splitlines() or [""]
        for line in said:
            assert line.startswith(str(file))
            assert line.isprintable()
            assert not [word for word in PYDANTIC_WORDS if word in line], line
