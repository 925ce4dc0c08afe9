"""Images under the names of those that the compose files pull, made of Debian's programs; and ours, really built.

An official image cannot be had where there is no registry. What stands in takes the same flags and variables, listens
where the other does, and has the programs that its health check calls.
"""

from __future__ import annotations

import hashlib
import http.server
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compose.images import DEBIAN, IMAGES, PYTHON
from compose.native.places import default_cache_dir
from tests.standins.docker_engine import MIRROR, Engine
from tests.standins.log_store import program

ROOT = Path(__file__).resolve().parents[2]
CACHE = default_cache_dir() / "containers"
SERVERS = (
    "wget",
    "certbot",
    "openssl",
    "redis-server",
    "postgresql-17",
    "prometheus",
    "prometheus-alertmanager",
    "prometheus-blackbox-exporter",
    "prometheus-node-exporter",
    "prometheus-postgres-exporter",
    "prometheus-redis-exporter",
)
"""Everything that is not ours, in one file system."""
FILE_SYSTEMS = {
    "python": ("trixie", ("python3", "python3-venv", "ca-certificates")),
    "servers": ("trixie", ("python3", *SERVERS)),
    "debian": ("bookworm", ()),
}
_OWNER = "cluster-ai:x:{uid}:{gid}::/tmp:/usr/sbin/nologin"
_POSTGRES = """\
#!/bin/sh
# What the official image's own script does on an empty folder.
set -eu
PATH=$PATH:/usr/lib/postgresql/17/bin
export PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" $POSTGRES_INITDB_ARGS >/dev/null
    pg_ctl --wait --options "$(shift; printf '%s ' "$@") -c listen_addresses=''" start >/dev/null
    for file in /docker-entrypoint-initdb.d/*.sql; do
        psql --username="$POSTGRES_USER" --dbname=postgres -v ON_ERROR_STOP=1 --no-psqlrc --file="$file" >/dev/null
    done
    pg_ctl --wait --mode=fast stop >/dev/null
fi
unset PGPASSWORD
exec "$@"
"""
_GRAFANA = """\
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        health = {"database": "ok", "config": os.environ["GF_PATHS_CONFIG"]}
        self.wfile.write(b"" if self.path == "/metrics" else json.dumps(health).encode())
http.server.ThreadingHTTPServer(("", 3000), Handler).serve_forever()
"""
LOG_STORE = ("loki", "alloy")
_EXPORTER = '["/usr/bin/prometheus-{name}"]'
ENTRYPOINTS = {
    "prometheus": '["/usr/bin/prometheus"]',
    "alertmanager": '["/usr/bin/prometheus-alertmanager"]',
    "node-exporter": _EXPORTER.format(name="node-exporter"),
    "postgres-exporter": _EXPORTER.format(name="postgres-exporter"),
    "redis-exporter": _EXPORTER.format(name="redis-exporter"),
    "blackbox": _EXPORTER.format(name="blackbox-exporter"),
    "redis": '["/usr/bin/env"]',
    "certbot": '["/usr/bin/certbot"]',
    "postgres": '["/usr/local/bin/postgres-image"]',
    "grafana": '["/usr/bin/python3", "/usr/local/bin/grafana-image"]',
}


def prepare() -> None:
    """Fetches Debian's packages and the locked wheels, once; minutes on a slow line."""
    CACHE.mkdir(parents=True, exist_ok=True)
    for name, (suite, packages) in FILE_SYSTEMS.items():
        if not _packed(name).exists():
            _file_system(CACHE / name, suite, packages)
            _pack(CACHE / name, _packed(name))
            shutil.rmtree(CACHE / name)
    locks = ("requirements-image.lock", "requirements-build.lock")
    wheels = CACHE / "simple"
    fresh = CACHE / "downloaded"
    lock = "".join((ROOT / name).read_text() for name in locks)
    if (CACHE / "lock").exists() and (CACHE / "lock").read_text() == lock:
        return
    named = [part for name in locks for part in ("--requirement", str(ROOT / name))]
    which = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--python-version=3.13"]
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", *which, *named, "--dest", fresh], check=True)
    for wheel in fresh.iterdir():
        project = wheels / re.sub(r"[-_.]+", "-", wheel.name.split("-")[0]).lower()
        project.mkdir(parents=True, exist_ok=True)
        wheel.replace(project / wheel.name)
    (CACHE / "lock").write_text(lock)


def build(engine: Engine, owner: tuple[int, int]) -> None:
    """Puts every image that the stack needs into the engine; ours are built by their own Dockerfiles."""
    for name, tag in (("python", PYTHON), ("debian", DEBIAN), ("servers", "servers:1.0.0")):
        engine.docker("import", str(_packed(name)), tag)
    for name, entrypoint in ENTRYPOINTS.items():
        _stand_in(engine, IMAGES[name], entrypoint, owner)
    if "GRAFANA_HOME" in os.environ:
        _grafana(engine, Path(os.environ["GRAFANA_HOME"]))
    for name in LOG_STORE if logs_at_hand() else ():
        _real(engine, IMAGES[name], Path(program(name) or ""), owner)
    for name in ("cluster-ai", "backup"):
        build_ours(engine, name, IMAGES[name])
    with relay(engine) as address:
        engine.docker(*_build(address), "--tag", IMAGES["nginx"], str(ROOT / "compose/nginx"))


def logs_at_hand() -> bool:
    """Whether Loki and Alloy, which Debian does not have, are on PATH or named by $LOKI and $ALLOY."""
    return all(program(name) for name in LOG_STORE)


def build_ours(engine: Engine, target: str, tag: str, *more: str) -> None:
    """One target of our Dockerfile."""
    with relay(engine) as address:
        file = ["--file", str(ROOT / "compose/Dockerfile"), "--target", target, "--tag", tag]
        engine.docker(*_build(address), *file, *more, str(ROOT))


def _build(address: str) -> list[str]:
    given = (f"PIP_INDEX_URL=http://{address}/simple/", f"http_proxy=http://{address}", "no_proxy=127.0.0.1")
    return ["build", "--quiet", "--network=host", *(part for value in given for part in ("--build-arg", value))]


def _stand_in(engine: Engine, tag: str, entrypoint: str, owner: tuple[int, int]) -> None:
    user = _OWNER.format(uid=owner[0], gid=owner[1])
    text = f"FROM servers:1.0.0\nRUN echo '{user}' >> /etc/passwd && mkdir -p /run/postgresql /var/lib/grafana"
    text += " && chmod 3777 /run/postgresql /var/lib/grafana\n"  # as in the official images, for any user
    for name, script in (("postgres", _POSTGRES), ("grafana", _GRAFANA)):
        text += f"COPY --chmod=755 <<'END' /usr/local/bin/{name}-image\n{script}END\n"
    text += f"ENV PATH=/usr/local/bin:/usr/bin:/usr/lib/postgresql/17/bin\nENTRYPOINT {entrypoint}\n"
    engine.docker("build", "--quiet", "--tag", tag, "-", input=text)


def _real(engine: Engine, tag: str, file: Path, owner: tuple[int, int]) -> None:
    """A program itself, where its image has it."""
    _stand_in(engine, tag, f'["/usr/bin/{file.name}"]', owner)
    text = f"FROM {tag}\nCOPY {file.name} /usr/bin/{file.name}\n"  # in Debian /bin is the same
    engine.docker("build", "--quiet", "--tag", tag, "--file", "-", str(file.parent), input=text)


def _grafana(engine: Engine, home: Path) -> None:
    """A real one in place of what stands in for it; started as its image starts it."""
    command = ["/usr/share/grafana/bin/grafana", "server", "--homepath=/usr/share/grafana", "--packaging=docker"]
    script = f"""#!/bin/sh\nexec {" ".join(command)} --config="$GF_PATHS_CONFIG" cfg:default.log.mode=console\n"""
    dockerfile = f"FROM {IMAGES['grafana']}\nCOPY . /usr/share/grafana\n"
    dockerfile += f"COPY --chmod=755 <<'END' /run.sh\n{script}END\nENTRYPOINT [\"/run.sh\"]\n"
    engine.docker("build", "--quiet", "--tag", IMAGES["grafana"], "--file", "-", str(home), input=dockerfile)


def _file_system(folder: Path, suite: str, packages: tuple[str, ...]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["debootstrap", "--variant=minbase", suite, folder, MIRROR], check=True, stdout=subprocess.DEVNULL)
    (folder / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")  # no daemon is started
    (folder / "usr/sbin/policy-rc.d").chmod(0o755)
    (folder / "etc/postgresql-common").mkdir(exist_ok=True)
    (folder / "etc/postgresql-common/createcluster.conf").write_text("create_main_cluster = false\n")
    if packages:
        shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
        install = ["apt-get", "-q", "install", "--yes", "--no-install-recommends", *packages]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["chroot", folder, *install], check=True, env=environment, stdout=subprocess.DEVNULL)
    for name in ("python", "python3"):
        if (folder / "usr/bin/python3").exists():
            (folder / "usr/local/bin" / name).symlink_to("../../bin/python3")


def _packed(name: str) -> Path:
    """The file system as one file, whose name says what is in it."""
    what = hashlib.sha256(repr(FILE_SYSTEMS[name]).encode()).hexdigest()
    return CACHE / f"{name}-{what[:8]}.tar"


def _pack(folder: Path, file: Path) -> None:
    heavy = re.compile(r"\./(proc|sys|dev|var/cache/apt|var/lib/apt/lists|usr/share/(doc|man|locale))/.")
    with tarfile.open(file.with_suffix(".part"), "w") as archive:
        archive.add(folder, ".", filter=lambda entry: None if heavy.match(entry.name) else entry)
    file.with_suffix(".part").rename(file)


@contextmanager
def relay(engine: Engine) -> Iterator[str]:
    """Where builds, which have no other way out, find our wheels and Debian's packages."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(CACHE))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            if not self.path.startswith("http://"):
                super().do_GET()
                return
            try:
                with urllib.request.urlopen(self.path) as answer:  # noqa: S310 -- http, as was just seen
                    self.send_response(answer.status)
                    self.send_header("Content-Length", answer.headers["Content-Length"])
                    self.end_headers()
                    shutil.copyfileobj(answer, self.wfile)
            except urllib.error.HTTPError as error:
                self.send_error(error.code)

        def log_message(self, *_: object) -> None:
            pass

    with engine.listening() as listening:
        server = http.server.ThreadingHTTPServer(listening.getsockname(), Handler, bind_and_activate=False)
        server.socket.close()
        server.socket = listening
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield "{}:{}".format(*listening.getsockname())
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    prepare()
