from __future__ import annotations

import datetime as dt
import os
import shutil
import ssl
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from compose.certificates import authority, placing, program
from compose.certificates.cli import certificates
from compose.certificates.program import Certificate, CertificateError
from provisioning.config.load import load
from tests.certificates import DAY, Authority

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl on PATH")
DOMAIN = "monitoring.example.org"


def write(folder: Path, **certificate: Any) -> Path:
    file = folder / "cluster-ai.yml"
    production = {"domain": DOMAIN, **({"certificate": certificate} if certificate else {})}
    file.write_text(yaml.safe_dump({"targets": {}, "production": production}))
    return file


def run(folder: Path, command: str) -> Result:
    return CliRunner().invoke(certificates, [command, "--config", str(folder / "cluster-ai.yml")])


def shelf(folder: Path) -> placing.Shelf:
    return placing.shelf(load(folder / "cluster-ai.yml"), folder)


def verified(there: placing.Shelf, name: str = DOMAIN) -> bool:
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", name, "-CAfile"]
    done = subprocess.run([*command, str(there.authority), str(there.chain)], capture_output=True, check=False)
    return done.returncode == 0


def test_an_authority_of_its_own_signs_for_its_name_alone(tmp_path: Path) -> None:
    write(tmp_path)
    done = run(tmp_path, "make")
    assert done.exit_code == 0, done.output
    there = shelf(tmp_path)
    assert verified(there)
    assert not verified(there, "elsewhere.example.org")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (there.key, there.authority_key, there.folder)}
    assert modes == {"privkey.pem": 0o600, "certificate-authority-key": 0o600, "certificates": 0o700}
    context = ssl.create_default_context()
    context.load_cert_chain(there.chain, there.key)
    left = program.read(there.chain).ends - dt.datetime.now(dt.UTC)
    assert dt.timedelta(days=89) < left < dt.timedelta(days=91)
    chain, key = authority.sign("evil.example", there.authority, there.authority_key)
    there.chain.write_bytes(chain)
    there.key.write_bytes(key)
    assert not verified(there, "evil.example"), "a stolen key is no use for another name"


def test_again_it_changes_nothing_until_it_is_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    run(tmp_path, "make")
    there = shelf(tmp_path)
    before = [path.read_bytes() for path in (there.chain, there.key, there.authority)]
    assert run(tmp_path, "make").output.startswith("nothing to do: the certificate is good until 20")
    assert [path.read_bytes() for path in (there.chain, there.key, there.authority)] == before
    monkeypatch.setattr(placing, "_RENEW_BEFORE", 91 * DAY)
    assert "made" in run(tmp_path, "make").output
    assert there.chain.read_bytes() != before[0]
    assert there.authority.read_bytes() == before[2], "people's browsers trust it"
    assert verified(there)


@pytest.mark.parametrize("broken", ["fullchain.pem", "privkey.pem"])
def test_what_is_missing_or_does_not_fit_is_made_anew(tmp_path: Path, broken: str) -> None:
    write(tmp_path)
    run(tmp_path, "make")
    there = shelf(tmp_path)
    (there.folder / broken).write_text("nonsense")
    assert run(tmp_path, "show").exit_code == 1
    assert run(tmp_path, "make").exit_code == 0
    assert verified(there)
    assert run(tmp_path, "show").exit_code == 0
    there.authority_key.unlink()
    assert "have people's browsers trust it" in run(tmp_path, "make").output
    assert verified(there)


def test_another_domain_has_another_authority(tmp_path: Path) -> None:
    write(tmp_path)
    run(tmp_path, "make")
    file = tmp_path / "cluster-ai.yml"
    file.write_text(file.read_text().replace(DOMAIN, "other.example.org"))
    assert run(tmp_path, "make").exit_code == 0
    assert verified(shelf(tmp_path), "other.example.org")


def own(folder: Path, **how: Any) -> tuple[Path, Path]:
    made = folder / f"own-{len(list(folder.iterdir()))}"
    made.mkdir()
    return Authority("somebody's").write_pair(made, **{"name": DOMAIN, **how})


def test_ones_own_is_copied_and_copied_again_when_it_changes(tmp_path: Path) -> None:
    chain, key = own(tmp_path)
    write(tmp_path, cert_file=str(chain), key_file=str(key))
    assert run(tmp_path, "make").output.startswith("copied")
    there = shelf(tmp_path)
    assert (there.chain.read_bytes(), there.key.read_bytes()) == (chain.read_bytes(), key.read_bytes())
    assert stat.S_IMODE(there.key.stat().st_mode) == 0o600
    assert not there.authority.exists()
    assert run(tmp_path, "make").output.startswith("nothing to do")
    newer, newer_key = own(tmp_path)
    chain.write_bytes(newer.read_bytes())
    assert "does not belong" in run(tmp_path, "make").output, "half of a new pair is not used"
    key.write_bytes(newer_key.read_bytes())
    assert run(tmp_path, "make").output.startswith("copied")
    assert there.chain.read_bytes() == newer.read_bytes()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"name": "other.example.org"}, f"is not for {DOMAIN}: its first certificate is for other.example.org"),
        ({"lasts": -DAY}, "has expired on 20"),
        ({"password": b"secret"}, "without a password"),
    ],
)
def test_ones_own_that_is_no_good_is_refused_and_nothing_changes(tmp_path: Path, how: Any, words: str) -> None:
    write(tmp_path)
    run(tmp_path, "make")
    there = shelf(tmp_path)
    before = there.chain.read_bytes(), there.key.read_bytes()
    chain, key = own(tmp_path, **how)
    write(tmp_path, cert_file=str(chain), key_file=str(key))
    done = run(tmp_path, "make")
    assert done.exit_code == 1
    assert words in done.output
    assert (there.chain.read_bytes(), there.key.read_bytes()) == before


def test_one_of_the_future_is_the_clocks_fault(tmp_path: Path) -> None:
    chain, key = own(tmp_path)
    with pytest.raises(CertificateError, match="is this host's clock right"):
        placing.check(DOMAIN, chain, key, now=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))


def test_with_acme_nginx_has_something_to_start_with_and_what_came_is_kept(tmp_path: Path) -> None:
    write(tmp_path, acme={"email": "ops@example.org"})
    assert "certbot" in run(tmp_path, "make").output
    there = shelf(tmp_path)
    assert verified(there)
    chain, key = own(tmp_path)
    there.chain.write_bytes(chain.read_bytes())
    there.key.write_bytes(key.read_bytes())
    assert run(tmp_path, "make").output.startswith("nothing to do")
    assert there.chain.read_bytes() == chain.read_bytes()


def test_without_production_or_openssl_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cluster-ai.yml").write_text("targets: {}\n")
    assert "has no `production`" in run(tmp_path, "make").output
    write(tmp_path)
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    done = run(tmp_path, "make")
    assert (done.exit_code, done.output) == (1, "openssl is not there; on Debian: sudo apt install openssl\n")


@pytest.mark.parametrize(
    ("names", "covered"),
    [
        ((DOMAIN,), True),
        (("*.example.org",), True),
        (("MONITORING.example.org",), True),
        (("*.org", "example.org", f"a.{DOMAIN}", "*"), False),
        ((), False),
    ],
)
def test_which_names_a_certificate_is_for(names: tuple[str, ...], covered: bool) -> None:
    now = dt.datetime.now(dt.UTC)
    assert Certificate(names, "", now, now, "").covers(DOMAIN) is covered
