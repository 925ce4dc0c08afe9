"""PostgreSQL for Grafana: its settings, who may log in to what, and the roles."""

from __future__ import annotations

from pathlib import Path

from provisioning.config.addresses import ANY_ADDRESS
from provisioning.config.model import Config
from provisioning.render.files import header
from provisioning.render.ini_path import ini_path
from provisioning.render.places import Places
from provisioning.render.production_places import ProductionPlaces

FOLDER = "postgres"
DATABASE = "grafana"
SCRATCH = "cluster_ai_scratch"
"""Where the weekly test restores to."""
RESTORED = "cluster_ai_restored"
"""What `backup restore` fills before it takes the place of the database."""
GRAFANA_CONNECTIONS = 30
"""Most that one Grafana opens."""
_OTHERS = 20  # exporter, backup, an administrator, and a few while a Grafana is replaced


def files(config: Config, places: Places, out: Path, source: str) -> dict[str, str]:
    """The files that PostgreSQL reads: at its start, and `roles.sql` after its data folder was made."""
    assert places.production is not None and config.production is not None  # noqa: PT018, S101 -- the caller's promise
    return {
        f"{FOLDER}/postgresql.conf": _settings(places.production, config.production.grafanas, out, source),
        f"{FOLDER}/pg_hba.conf": _who(source),
        f"{FOLDER}/roles.sql": _roles(places.secrets, source),
    }


def _settings(parts: ProductionPlaces, grafanas: int, out: Path, source: str) -> str:
    host, _, port = parts.postgres.rpartition(":")
    listen = host if host in ANY_ADDRESS or host.replace(".", "").isdigit() else "*"
    return f"""{header(source)}
listen_addresses = '{listen}'
port = {port}
unix_socket_directories = '{ini_path(parts.postgres_socket)}'
hba_file = '{ini_path(out / FOLDER / "pg_hba.conf")}'
max_connections = {_OTHERS + GRAFANA_CONNECTIONS * grafanas}
password_encryption = 'scram-sha-256'

# Grafana's database is small: some hundred megabytes that are read over and over.
shared_buffers = '64MB'
effective_cache_size = '256MB'
work_mem = '4MB'
maintenance_work_mem = '64MB'
min_wal_size = '80MB'
max_wal_size = '512MB'
random_page_cost = 1.1
jit = off

# Nobody waits for ever, neither for a client that is gone nor for one that forgot its transaction.
tcp_keepalives_idle = 60
tcp_keepalives_interval = 10
tcp_keepalives_count = 6
idle_in_transaction_session_timeout = '10min'

# What is slow is told, never with its values: some of them are secret.
log_destination = 'stderr'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%d '
log_checkpoints = off
log_lock_waits = on
log_min_duration_statement = '2s'
log_parameter_max_length = 0
timezone = 'UTC'
"""


def _who(source: str) -> str:
    """Who is not named here is turned away, and nobody gets in without a password."""
    lines = (
        ("local", "all", "postgres", ""),
        ("host", "all", "postgres", "all"),
        ("host", f"{DATABASE},{SCRATCH},{RESTORED}", "grafana", "all"),
        ("host", DATABASE, "backup", "all"),
        ("host", "postgres", "monitoring", "all"),
    )
    rows = "".join(f"{kind:<8}{where:<48}{role:<12}{address:<6}scram-sha-256\n" for kind, where, role, address in lines)
    return f"{header(source)}# Reached from the private network of the containers alone.\n{rows}"


def _roles(secrets: Path, source: str) -> str:
    """For psql, as the superuser in the database `postgres`; a second time it changes nothing but lost passwords.

    psql reads the passwords from their files, and the server is told not to log the statements that carry them.
    """
    passwords = {
        "grafana": "grafana-database-password",
        "monitoring": "postgres-exporter-password",
        "backup": "backup-database-password",
    }
    text = [
        header(source, "--"),
        "\\set ON_ERROR_STOP on\n",
        "SET log_statement = 'none'; SET log_min_duration_statement = -1; SET log_min_error_statement = 'panic';\n",
    ]
    for role, name in passwords.items():
        text.append(
            f"\\set password `cat '{ini_path(secrets / name)}'`\n"
            f"SELECT 'CREATE ROLE {role} LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles "
            f"WHERE rolname = '{role}') \\gexec\n"
            f"ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'password';\n"
        )
    text.append(f"""
GRANT pg_monitor TO monitoring;
GRANT pg_read_all_data TO backup;
ALTER ROLE backup SET default_transaction_read_only = on;

SELECT 'CREATE DATABASE {DATABASE} OWNER grafana TEMPLATE template0 ENCODING ''UTF8'''
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{DATABASE}') \\gexec
REVOKE ALL ON DATABASE postgres, template1, {DATABASE} FROM PUBLIC;
GRANT CONNECT ON DATABASE postgres TO monitoring;
GRANT CONNECT ON DATABASE {DATABASE} TO backup;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
\\connect {DATABASE}
REVOKE ALL ON SCHEMA public FROM PUBLIC;
""")  # noqa: S608 -- names of ours
    return "".join(text)
