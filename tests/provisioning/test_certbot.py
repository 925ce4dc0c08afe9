"""certbot's settings, and its loop with a certbot that does as it is told; tests/real asks a real authority."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from provisioning.config.model import Config
from provisioning.config.production import Acme, Certificate, Production
from provisioning.config.targets import Targets
from provisioning.render import RenderError, certbot
from provisioning.render.production_places import in_containers

ACME = Acme(email="ops@example.org")
_LAST = "cluster_ai_certificate_renewal_last_success_timestamp_seconds"
# Fails while a file says so; else what it is asked for lies where it always lies.
CERTBOT = """\
#!/bin/sh
echo "$@" >>"$HOME/asked"
failures=$(cat "$HOME/failures")
[ "$failures" -gt 0 ] && { echo $((failures - 1)) >"$HOME/failures"; exit 1; }
live=data/letsencrypt/live/cluster-ai
mkdir -p $live
[ -s $live/privkey.pem ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 \\
  -subj /CN=authority -keyout $live/privkey.pem -out $live/fullchain.pem 2>/dev/null
"""
# Ends the loop when it has rested often enough.
SLEEP = """\
#!/bin/sh
echo "$1" >>"$HOME/rests"
[ "$(wc -l <"$HOME/rests")" -ge 6 ] && kill -TERM $PPID
exit 0
"""


def rendered(folder: Path, certificate: Certificate | None = None) -> dict[str, str]:
    stack = Production(domain="monitoring.example.org", certificate=certificate or Certificate(acme=ACME))
    config, places = in_containers(Config(targets=Targets(), production=stack), folder)
    return certbot.files(config, places, folder / "rendered", "cluster-ai.yml")


class Installation:
    """A folder with the rendered loop and stand-ins of what it calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificates = folder / "data/certificates"
        for name, text in rendered(folder).items():
            (folder / "rendered" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "rendered" / name).write_text(text)
        for name, text in (("certbot", CERTBOT), ("sleep", SLEEP)):
            (folder / "bin").mkdir(exist_ok=True)
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)

    def run(self, *arguments: str, failures: int = 0) -> subprocess.CompletedProcess[str]:
        (self.folder / "failures").write_text(f"{failures}\n")
        return subprocess.run(
            ["/bin/sh", self.folder / "rendered" / certbot.LOOP, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            cwd=self.folder,
            env={"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "HOME": str(self.folder)},
        )

    def subject(self) -> str:
        command = ["openssl", "x509", "-in", self.certificates / "fullchain.pem", "-noout", "-subject"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def told(self) -> list[str]:
        text = (self.folder / "data/textfile/cluster-ai-certificate.prom").read_text()
        return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def test_only_an_authority_is_asked(tmp_path: Path):
    own = Certificate(cert_file=tmp_path / "cert.pem", key_file=tmp_path / "key.pem")
    assert rendered(tmp_path, own) == rendered(tmp_path, Certificate()) == {}


def test_certbot_is_told_what_the_file_says(tmp_path: Path):
    settings = rendered(tmp_path)[certbot.SETTINGS].splitlines()
    assert "domains = monitoring.example.org" in settings
    assert "email = ops@example.org" in settings
    assert "server = https://acme-v02.api.letsencrypt.org/directory" in settings
    assert f"webroot-path = {tmp_path}/data/webroot" in settings


def test_an_authority_of_ones_own_is_believed_by_its_certificate(tmp_path: Path):
    authority = Certificate(acme=Acme(email="ops@example.org", ca_file=tmp_path / "it's ours.pem"))
    assert f"""REQUESTS_CA_BUNDLE='{tmp_path}/it'"'"'s ours.pem'""" in rendered(tmp_path, authority)[certbot.LOOP]
    assert "REQUESTS_CA_BUNDLE" not in rendered(tmp_path)[certbot.LOOP]


def test_a_folder_that_its_settings_cannot_name_is_refused():
    with pytest.raises(RenderError, match="plainer name"):
        rendered(Path("/srv/cluster #1"))


def test_before_the_first_one_another_stands_there_so_that_nginx_can_start(installation: Installation):
    done = installation.run("once", failures=1)
    assert done.returncode == 1
    assert "monitoring.example.org" in installation.subject()
    modes = {path.name: path.stat().st_mode & 0o777 for path in installation.certificates.iterdir()}
    assert modes == {"fullchain.pem": 0o600, "privkey.pem": 0o600}
    # That it never went well has no time.
    assert installation.told() == ["cluster_ai_certificate_renewal_success 0"]


def test_the_one_in_place_is_never_replaced_by_it(installation: Installation):
    assert installation.run("once").returncode == 0
    assert "authority" in installation.subject()
    before = (installation.certificates / "privkey.pem").read_bytes()
    assert installation.run("once", failures=1).returncode == 1
    assert (installation.certificates / "privkey.pem").read_bytes() == before
    failed, last = installation.told()
    assert failed == "cluster_ai_certificate_renewal_success 0"
    assert abs(float(last.removeprefix(f"{_LAST} ")) - time.time()) < 600


def test_a_copy_that_is_not_whole_is_made_anew(installation: Installation):
    """Of a chain and a key that do not belong together, nginx would refuse both."""
    assert installation.run("once").returncode == 0
    (installation.certificates / "privkey.pem").write_text("half of it")
    done = installation.run("once")
    assert done.returncode == 0
    assert "a new one is in place" in done.stdout
    live = installation.folder / "data/letsencrypt/live/cluster-ai/privkey.pem"
    assert (installation.certificates / "privkey.pem").read_bytes() == live.read_bytes()


def test_node_exporter_may_read_what_is_told(installation: Installation):
    installation.run("once")
    file = installation.folder / "data/textfile/cluster-ai-certificate.prom"
    assert file.stat().st_mode & 0o777 == 0o644


def test_failures_come_ever_more_seldom_and_success_twice_a_day(installation: Installation):
    done = installation.run(failures=3)
    assert done.returncode == 0, done.stderr
    rests = [int(line) for line in (installation.folder / "rests").read_text().split()]
    assert rests[:4] == [30, 120, 240, 480]
    assert all(43200 <= rest < 43200 + 3600 for rest in rests[4:6])
    assert done.stdout.count("could not be renewed; the one in use is good until") == 3


def test_what_certbot_is_asked_holds_no_secret_and_no_choice_of_its_own(installation: Installation):
    installation.run("once")
    asked = (installation.folder / "asked").read_text().split("\n")[0]
    assert asked == f"certonly --config {installation.folder}/rendered/{certbot.SETTINGS}"
