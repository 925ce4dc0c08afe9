"""alertmanager.yml and the templates of its messages."""

from __future__ import annotations

import json
from typing import Any

from alert_rules.messages.templates import templates
from alert_rules.routing.settings import TEMPLATES
from alert_rules.routing.settings import settings as routing
from provisioning.config.addresses import dial_address
from provisioning.config.model import Config
from provisioning.render.files import header
from provisioning.render.places import Places

FOLDER = TEMPLATES.partition("/")[0]


def settings(config: Config, places: Places) -> dict[str, Any]:
    """The file as data, valid for Alertmanager 0.25; secrets are named by path."""
    bridge = f"http://{dial_address(config.services.sms_bridge)}"
    return routing(config, bridge=bridge, token=places.sms_bridge_token.absolute())


def messages(config: Config, source: str) -> dict[str, str]:
    """Each template by the name of its file."""
    # The header stands as a string of Go's: in a comment, a folder's name could end it.
    first = f"{{{{ $generated := {json.dumps(header(source, '').strip())} }}}}\n"
    return {name: first + text for name, text in templates(config).items()}
