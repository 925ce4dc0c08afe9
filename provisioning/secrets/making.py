"""Makes the secrets that are missing."""

from __future__ import annotations

from pathlib import Path

from provisioning.config.secrets import SecretError
from provisioning.render.files import RenderError
from provisioning.render.first_secrets import create_secret, make_secrets
from provisioning.secrets.age_key import AgeKeyError, new_pair, recipient
from provisioning.secrets.files import put
from provisioning.secrets.installation import Installation
from provisioning.secrets.names import IDENTITY, OPERATOR_KEY, RECIPIENTS, SECRETS
from provisioning.secrets.redis_users import write_derived


class SecretsError(Exception):
    """It could not be done; `str()` says why and holds no secret."""


def init(there: Installation) -> list[Path]:
    """Creates what is missing, each for the owner alone, and returns what was made or brought up to date.

    A secret that is there is never changed, whatever is in it. Raises SecretsError.
    """
    try:
        made = make_secrets(there.places)
        there.secrets.chmod(0o700)
        made += [
            there.secrets / secret.name
            for secret in SECRETS
            if not (there.secrets / secret.name).exists() and create_secret(there.secrets / secret.name, secret.new())
        ]
        made += _keys(there)
        return made + write_derived(there)
    except (RenderError, SecretError, AgeKeyError) as error:
        raise SecretsError(str(error)) from None
    except OSError as error:
        raise SecretsError(f"cannot make secrets in {there.secrets}: {error.strerror}") from None


def _keys(there: Installation) -> list[Path]:
    """This host's key, the operator's unless `production.backup.recipient` names one, and whom backups are made for."""
    made = []
    identity = there.secrets / IDENTITY
    if not identity.exists() and create_secret(identity, new_pair().identity):
        made.append(identity)
    known = recipients(there)
    operators = there.production.backup.recipient or (known[1] if len(known) > 1 else None)
    if not operators:
        operator = there.secrets / OPERATOR_KEY
        if not operator.exists() and create_secret(operator, new_pair().identity):
            made.append(operator)
        operators = recipient(operator.read_text(encoding="ascii"), operator)
    wanted = [recipient(identity.read_text(encoding="ascii"), identity), operators]
    if known != wanted:
        put(there.secrets / RECIPIENTS, "".join(f"{key}\n" for key in wanted))
        made.append(there.secrets / RECIPIENTS)
    return made


def recipients(there: Installation) -> list[str]:
    """Whom backups are made for now: this host, then the operator; nobody before the first `init`."""
    path = there.secrets / RECIPIENTS
    return path.read_text(encoding="ascii").split() if path.exists() else []
