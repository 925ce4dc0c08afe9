"""Renders the configuration files of the stack from one `cluster-ai.yml`: the same input gives the same bytes."""

from provisioning.render.core import render
from provisioning.render.files import RenderError
from provisioning.render.first_secrets import make_password, make_secrets
from provisioning.render.places import Places

__all__ = ["Places", "RenderError", "make_password", "make_secrets", "render"]
