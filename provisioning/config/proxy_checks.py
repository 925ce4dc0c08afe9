"""What the keys of a proxy before Ollama cannot show one by one."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from provisioning.config.messages import key_text
from provisioning.config.model import Config
from provisioning.config.ollama_proxy import OllamaProxy
from provisioning.config.problems import Problem
from provisioning.config.yaml_file import Document, Key

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


def proxy_errors(config: Config, document: Document) -> Iterator[Problem]:
    """Proxies that would ask themselves, and limits that several processes would each count alone."""
    for key, proxy, url in _proxies(config):
        if proxy.limits is not None and config.services.ollama_proxy_workers:
            hint = "leave services.ollama_proxy_workers out, or the limits"
            yield _problem(document, (*key, "limits"), "each process of the proxy would count for itself alone", hint)
        address = urlsplit(url).netloc.lower()
        if _same(address, proxy.listen.lower()):
            hint = "give the proxy a port of its own, such as 127.0.0.1:11435"
            yield _problem(document, (*key, "listen"), "the proxy would stand before itself", hint)


def proxy_warnings(config: Config, document: Document) -> Iterator[Problem]:
    """Proxies that let in whoever reaches them, and tokens that cross the network readable."""
    for key, proxy, _ in _proxies(config):
        if proxy.listen.rpartition(":")[0].lower() in _LOOPBACK:
            continue
        if proxy.tokens_file is None and proxy.client_ca_file is None:
            hint = "add tokens_file with cert_file and key_file, or listen on 127.0.0.1"
            yield _problem(document, (*key, "listen"), f"whoever reaches {proxy.listen} can use Ollama", hint)
        elif proxy.cert_file is None:
            hint = "add cert_file and key_file"
            yield _problem(document, (*key, "tokens_file"), "tokens cross the network readable", hint)


def _proxies(config: Config) -> Iterator[tuple[Key, OllamaProxy, str]]:
    for index, target in enumerate(config.targets.ollama):
        if target.proxy is not None:
            yield ("targets", "ollama", index, "proxy"), target.proxy, target.url


def _same(one: str, other: str) -> bool:
    (host, _, port), (other_host, _, other_port) = one.rpartition(":"), other.rpartition(":")
    both_here = {host, other_host} <= _LOOPBACK
    return port == other_port and (host == other_host or both_here)


def _problem(document: Document, key: Key, message: str, hint: str) -> Problem:
    return Problem(document.line_of(key), message, hint, key_text(key, document.data))
