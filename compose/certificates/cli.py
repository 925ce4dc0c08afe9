"""`cluster-ai certificates`: the certificate that nginx shows."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from compose.certificates import placing
from compose.certificates.program import CertificateError
from provisioning.config.load import load
from provisioning.config.options import config_option, saying_why

_config = config_option("The cluster-ai.yml; certificates lie in `data/certificates` beside it.")


@click.group()
def certificates() -> None:
    """Make, renew and look at the certificate of a production installation."""


@certificates.command()
@_config
def make(config: Path) -> None:
    """Put a good certificate where nginx reads it; run it again to renew.

    One of your own (`production.certificate.cert_file`) is checked and copied. Otherwise an authority of this host
    signs one for 90 days, again when less than 30 are left, so have it run once a week. People's browsers are to trust
    its data/certificates/authority.pem, which is good for your domain alone. With `acme` that is only what nginx
    starts with. nginx reads a new one by itself within seconds.
    """
    with saying_why(CertificateError):
        read, folder = load(config), config.absolute().parent
        done = placing.place(read, folder)
        for line in done:
            click.echo(line)
        if not done:
            ends = placing.look(placing.shelf(read, folder)).ends
            click.echo(f"nothing to do: the certificate is good until {ends:%Y-%m-%d}")


@certificates.command()
@_config
def show(config: Path) -> None:
    """Say for whom the certificate is, from whom, and how long; ends with 1 when browsers would refuse it."""
    with saying_why(CertificateError):
        read, folder = load(config), config.absolute().parent
        there = placing.shelf(read, folder)
        found = placing.look(there)
        left = (found.ends - dt.datetime.now(dt.UTC)).days
        click.echo(f"{there.chain}\nfor {', '.join(found.names)}\nfrom {found.issuer}")
        click.echo(f"good until {found.ends:%Y-%m-%d %H:%M} UTC, {left} days")
