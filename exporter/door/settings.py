"""The web configuration in force: follows its file and certificates, and stays when the new ones are broken."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from exporter.door import certificates
from exporter.door.tls import TlsError, context_of, latest
from exporter.door.webconfig import TlsServer, WebConfig, read
from provisioning.config.load import ConfigError
from provisioning.config.problems import Problem

log = logging.getLogger(__name__)
_DAY = 86400.0  # seconds between two lines about a certificate that ends
_Version = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A web configuration that works, with what was made of it."""

    config: WebConfig
    tls: ssl.SSLContext | None
    seen: dict[Path, _Version]  # files whose change means another configuration, as they were before they were read
    ends: float | None = None  # when our certificate ends, seconds since the epoch


def load(file: Path) -> Loaded:
    """The web configuration in `file`, its certificates read. Raises ConfigError."""
    seen = _look([file])
    config, document = read(file)
    tls = config.tls_server_config
    seen |= _look(_certificates(config))
    try:
        context = context_of(tls) if tls else None
    except TlsError as error:
        line = document.line_of(("tls_server_config", error.key))
        raise ConfigError(file, [Problem(line, str(error), key=f"tls_server_config.{error.key}")]) from None
    return Loaded(config, context, seen, _end(tls) if tls else None)


class WebSettings:
    """What `--web.config.file` says, at this moment."""

    def __init__(self, file: Path | None, clock: Callable[[], float] = time.time) -> None:
        """Raises ConfigError when the file is broken: a server must not start with less protection than asked for."""
        self._file = file
        self._clock = clock
        self._loaded = Loaded(WebConfig(), None, {}) if file is None else load(file)
        self._seen = self._loaded.seen
        self._remind = 0.0  # when to look again whether the certificate ends, by the clock
        self.error: str | None = None
        self.loaded = clock()  # when the settings in force were read, seconds since the epoch
        self.advise()

    def now(self) -> Loaded:
        """The settings in force; a change on disk is taken now."""
        if self._file is not None and _look(self._seen) != self._seen:
            self._follow(self._file)
        if self._clock() >= self._remind:
            self._advise_certificate()
        return self._loaded

    def tls(self) -> ssl.SSLContext | None:
        """For `create_server`: a context that follows the file, or None for plain HTTP."""
        return latest(self._context) if self._loaded.tls is not None else None

    def advise(self) -> None:
        """Log what is allowed but probably not meant."""
        self._advise_certificate()
        config = self._loaded.config
        costs = {hashed.get_secret_value()[4:6] for hashed in config.basic_auth_users.values()}
        if len(costs) > 1:
            log.warning("the users' hashes have different costs: the time of a refusal tells who exists; use one cost")
        if config.basic_auth_users and config.tls_server_config is None:
            log.warning("passwords are asked for without TLS and cross the network readable; add tls_server_config")
        if "http2" in config.http_server_config.model_fields_set and config.http_server_config.http2:
            log.warning("http2: true has no effect, this server speaks HTTP/1.1")

    def _advise_certificate(self) -> None:
        self._remind = self._clock() + _DAY
        said = certificates.warning(self._loaded.ends, self._clock())
        if said:
            log.warning("%s", said)

    def _context(self) -> ssl.SSLContext:
        context = self.now().tls
        assert context is not None  # noqa: S101 -- _follow refuses settings without TLS once there was some
        return context

    def _follow(self, file: Path) -> None:
        # All as it is before it is read: what changes meanwhile, such as a key that is being copied, is read again.
        self._seen = _look(self._seen)
        named = _look(_named(file))
        try:
            new = self._replacement(file)
        except ConfigError as error:
            self._seen |= named
            self.error = str(error)
            log.error("web configuration not taken, the old one stays in force: %s", error)  # noqa: TRY400 -- told to people
            return
        self._loaded, self._seen, self.error, self.loaded = new, new.seen, None, self._clock()
        log.info("web configuration read again from %s", file)
        self.advise()

    def _replacement(self, file: Path) -> Loaded:
        new = load(file)
        if (new.tls is None) != (self._loaded.tls is None):
            what = "TLS cannot be turned on or off while serving; restart the exporter"
            raise ConfigError(file, [Problem(0, what)])
        return new


def _end(tls: TlsServer) -> float | None:
    try:
        return certificates.ends(tls.cert or (tls.cert_file.read_text() if tls.cert_file else ""))
    except (OSError, UnicodeDecodeError):
        return None


def _certificates(config: WebConfig) -> list[Path]:
    tls = config.tls_server_config
    files = (tls.cert_file, tls.key_file, tls.client_ca_file) if tls else ()
    return [file for file in files if file is not None]


def _named(file: Path) -> list[Path]:
    """The certificates a refused file names: mending one of them is reason to try again."""
    try:
        return _certificates(read(file)[0])
    except ConfigError:
        return []


def _look(files: Iterable[Path]) -> dict[Path, _Version]:
    return {file: _version(file) for file in files}


def _version(file: Path) -> _Version:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
