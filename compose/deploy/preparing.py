"""Makes an installation ready to start: folders, secrets, certificate, rendered files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from compose.certificates import placing
from compose.certificates.program import CertificateError
from compose.deploy import engine
from compose.deploy.facts import Facts, gather
from compose.deploy.findings import missing
from provisioning.checked import load_checked, off_site_problem
from provisioning.config.model import Config
from provisioning.render import RenderError, make_secrets, render
from provisioning.render.containers import VARIABLES
from provisioning.render.named_files import named_files
from provisioning.render.production_places import in_containers
from provisioning.secrets import looking, making
from provisioning.secrets.installation import installation
from provisioning.secrets.names import NEXT

_DATA = ("prometheus", "alertmanager", "textfile", "sms-bridge")
_PRODUCTION_DATA = ("postgres", "redis", "nginx", "certificates", "webroot", "letsencrypt", "loki", "alloy")
_DEV_DATA = ("grafana",)
_READ_BY_NOBODY = "textfile"
"""node-exporter reads it, which runs as a user that may read nothing else."""
CERTBOT = "cluster-ai-certificate.prom"
"""As certbot's loop calls what it tells Prometheus."""


class PrepareError(Exception):
    """It cannot be made ready; `str()` says why in one line."""


@dataclass(frozen=True, slots=True)
class Host:
    """One installation on this host."""

    file: Path
    config: Config
    """As it stands in the file."""

    @property
    def folder(self) -> Path:
        """Where all of it lies."""
        return self.file.parent

    @property
    def production(self) -> bool:
        """Whether it is to be exposed."""
        return self.config.production is not None

    @property
    def rendered(self) -> bool:
        """Whether there is what Compose is called with: not before the first `deploy up`."""
        return (self.folder / "rendered" / VARIABLES).exists()

    @property
    def compose(self) -> list[str]:
        """What a call of Compose for it begins with."""
        return engine.command(self.folder, production=self.production)


def host(file: Path) -> Host:
    """That of a cluster-ai.yml. Raises ConfigError."""
    file = file.absolute()
    return Host(file, load_checked(file).config)


def prepare(there: Host) -> Iterator[str]:
    """Does it, and says what it does. Raises PrepareError."""
    try:
        _folders(there)
        config, places = in_containers(there.config, there.folder)
        if there.production:
            yield from (f"made {path}" for path in making.init(installation(there.file)))
            yield from placing.place(there.config, there.folder)
        else:
            yield from (f"made {path}" for path in make_secrets(places))
        changed = render(config, there.folder / "rendered", places=places, source=there.file.name)
    except (RenderError, CertificateError, making.SecretsError) as error:
        raise PrepareError(str(error)) from None
    except OSError as error:
        raise PrepareError(f"cannot make {error.filename or there.folder}: {error.strerror}") from None
    yield f"rendered {len(changed)} files" if changed else "nothing to render"


def stale(there: Host) -> Path | None:
    """What certbot said of itself last, where it no longer runs: it would be told for ever, and alerted."""
    told = there.folder / "data/textfile" / CERTBOT
    acme = there.config.production is not None and there.config.production.certificate.acme is not None
    return told if told.exists() and not acme else None


def facts(there: Host) -> Facts:
    """What there is to be said of this host and of the installation on it."""
    found = replace(gather(there.config, there.folder), missing=missing(named_files(there.config)))
    if there.config.production is None:
        return found
    made = installation(there.file)
    rows = looking.look(made)
    bad = [(row.name, row.problem) for row in rows if row.problem and row.days is not None]
    problem = looking.folder_problem(made) if made.secrets.exists() else None
    return replace(
        found,
        secrets=(*([("the folder", problem)] if problem else []), *bad),
        unmade=sum(row.days is None and not row.name.endswith(NEXT) for row in rows),
        interrupted=tuple(row.name.removesuffix(NEXT) for row in rows if row.name.endswith(NEXT)),
        off_site=off_site_problem(there.config) or "",
        certificate=_certificate(there),
    )


def _certificate(there: Host) -> str:
    """What is wrong with one of the operator's own; another is made by `up`, or by certbot."""
    assert there.config.production is not None  # noqa: S101 -- the caller's promise
    wanted = there.config.production.certificate
    if wanted.cert_file is None or wanted.key_file is None:
        return ""
    try:
        placing.check(there.config.production.domain, wanted.cert_file, wanted.key_file)
    except CertificateError as error:
        return str(error)
    return ""


def _folders(there: Host) -> None:
    kinds = (*_DATA, *(_PRODUCTION_DATA if there.production else _DEV_DATA))
    for path in (there.folder / "data", there.folder / "backups", *(there.folder / "data" / name for name in kinds)):
        path.mkdir(mode=0o700, exist_ok=True)
    (there.folder / "data" / _READ_BY_NOBODY).chmod(0o755)
