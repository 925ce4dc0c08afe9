"""Which form of metrics a caller takes."""

from __future__ import annotations

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder


def wanted(request: web.BaseRequest) -> tuple[bool, str]:
    """Whether the caller wants OpenMetrics, and the content type to answer with."""
    try:
        _, content_type = choose_encoder(", ".join(request.headers.getall("Accept", [])))
    except TypeError:  # a version that is no number
        return False, CONTENT_TYPE_PLAIN_0_0_4
    return content_type.startswith("application/openmetrics-text"), content_type
