"""Jinja2 as the render uses it: for nginx.conf and ini files, never for HTML or YAML."""

from __future__ import annotations

from functools import cache

import jinja2


@cache
def templates() -> jinja2.Environment:
    """Delimiters leave Go's `{{ }}` alone; a missing value is an error, never an empty string."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("provisioning.render"),
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
        comment_start_string="[#",
        comment_end_string="#]",
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 -- not HTML; the configuration's patterns and the paths' checks guard the values
    )
