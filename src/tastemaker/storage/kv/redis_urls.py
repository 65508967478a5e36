"""What a Redis URL says: which servers, as whom, under which prefix.

    redis://[user:password@]host[:port][/db]                     one server
    redis+cluster://[user:password@]host:port,host:port          a cluster; some of its servers are enough
    redis+sentinel://[user:password@]host:port,.../service[/db]  the master that these sentinels name

``rediss`` instead of ``redis`` means TLS. Options follow behind a question mark: ``prefix`` lets several platforms share a
server, ``ssl_ca_certs`` and the like are redis-py's. Times are not among them: ``[patience]`` holds them for all servers.
No message shows what stands in front of the ``@``.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from tastemaker.errors import ConfigError, did_you_mean

PORTS = {"cluster": 6379, "sentinel": 26379, "single": 6379}
FORMS = {
    "single": "redis://[user:password@]host[:port][/db]",
    "cluster": "redis+cluster://[user:password@]host:port,host:port",
    "sentinel": "redis+sentinel://[user:password@]host:port,host:port/service[/db]",
}
QUOTING = "percent-encode @ : / ? and % in a password"
YES, NO = ("yes", "true", "1", "on"), ("no", "false", "0", "off")
REQUIREMENTS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
SSL = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
OPTIONS = ("prefix", "db", "client_name", "sentinel_auth", *SSL)


@dataclass(frozen=True)
class Place:
    """A Redis URL, taken apart. ``name`` is how messages call it."""

    name: str
    mode: str  # single, cluster or sentinel
    hosts: tuple[tuple[str, int], ...]
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    db: int = 0
    service: str = ""
    prefix: str = ""
    client: str = "tastemaker"
    sentinel_auth: bool = False  # whether the sentinels ask for the same user and password
    tls: bool = False
    options: Mapping[str, str] = field(default_factory=dict)  # the ssl_ ones

    @property
    def ssl_keywords(self) -> dict[str, Any]:
        """The options as redis-py takes them."""
        found: dict[str, Any] = dict(self.options)
        if "ssl_check_hostname" in found:
            found["ssl_check_hostname"] = flag("ssl_check_hostname", found["ssl_check_hostname"], self.name)
        if found.get("ssl_cert_reqs") == "none":
            found["ssl_check_hostname"] = False
        return found

    def context(self) -> ssl.SSLContext | None:
        """The same for the event loop; None without TLS. Raises ``ConfigError`` for files that are no certificates."""
        if not self.tls:
            return None
        chosen = self.ssl_keywords
        try:
            context = ssl.create_default_context(cafile=chosen.get("ssl_ca_certs"), capath=chosen.get("ssl_ca_path"))
            if "ssl_certfile" in chosen:
                context.load_cert_chain(chosen["ssl_certfile"], chosen.get("ssl_keyfile"))
        except OSError as error:
            raise wrong(self.name, f"names certificates that cannot be read: {error}; give files in PEM form") from error
        context.check_hostname = chosen.get("ssl_check_hostname", True)
        context.verify_mode = REQUIREMENTS[chosen.get("ssl_cert_reqs", "required")]
        return context


def parse(url: str) -> Place:
    """Takes a URL apart; raises ``ConfigError`` with the form that would be right."""
    name = shown(url)
    scheme, _, rest = url.partition("://")
    server, _, kind = scheme.partition("+")
    mode = kind or "single"
    authority, query, path = cut(rest)
    credentials, _, servers = authority.rpartition("@")
    username, colon, password = credentials.partition(":")
    if not colon:
        username, password = credentials, ""
    if "@" in rest and "@" not in authority:
        raise wrong(name, f"has an @ behind the servers; {QUOTING}")
    hosts = tuple(host_of(part, PORTS[mode], mode, name) for part in servers.split(","))
    options = options_of(query, name)
    if mode == "single" and len(hosts) > 1:
        raise wrong(name, "names several servers; write redis+cluster:// or redis+sentinel:// for them")
    if mode == "cluster" and "ssl_ca_path" in options:
        raise wrong(name, "has ssl_ca_path, which the clients of clusters do not take; give one file as ssl_ca_certs")
    steps = [unquote(step) for step in path.split("/") if step]
    service = steps.pop(0) if mode == "sentinel" and steps else ""
    if mode == "sentinel" and not service:
        raise wrong(name, f"names no service of the sentinels; write {FORMS[mode]}")
    return Place(
        name=name,
        mode=mode,
        hosts=hosts,
        username=unquote(username) or None,
        password=unquote(password) or None,
        db=database(steps, options, mode, name),
        service=service,
        prefix=options.get("prefix", ""),
        client=options.get("client_name", "tastemaker"),
        sentinel_auth=flag("sentinel_auth", options.get("sentinel_auth", "no"), name),
        tls=server == "rediss",
        options=tls_options(options, server == "rediss", name),
    )


def cut(rest: str) -> tuple[str, str, str]:
    """Authority, query and path of what follows ``://``."""
    before, _, query = rest.partition("?")
    authority, _, path = before.partition("/")
    return authority, query, path


def host_of(part: str, port: int, mode: str, name: str) -> tuple[str, int]:
    """A server as (host, port); IPv6 addresses stand in brackets."""
    host, colon, number = part.rpartition(":") if not part.endswith("]") else (part, "", "")
    if not colon:
        host, number = part, str(port)
    if not host or not (number.isascii() and number.isdigit() and 0 < int(number) < 65536):
        # The part itself may be a piece of a password that holds an unescaped / or ?.
        raise wrong(name, f"holds something that is no host and port; write {FORMS[mode]}, and {QUOTING}")
    return host.removeprefix("[").removesuffix("]"), int(number)


def options_of(query: str, name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for option, value in parse_qsl(query, keep_blank_values=True):
        if option in ("socket_timeout", "socket_connect_timeout", "health_check_interval", "retry_on_timeout"):
            raise wrong(name, f"has the option {option}; set patience.connect_ms and patience.timeout_ms instead")
        if option not in OPTIONS:
            raise wrong(name, f"has an unknown option {option!r}; {did_you_mean(option, OPTIONS)}")
        found[option] = value
    return found


def tls_options(options: Mapping[str, str], tls: bool, name: str) -> dict[str, str]:
    found = {option: value for option, value in options.items() if option in SSL}
    if found and not tls:
        raise wrong(name, f"has the option {min(found)} and no TLS; write rediss instead of redis")
    if found.get("ssl_cert_reqs", "none") not in REQUIREMENTS:
        raise wrong(name, f"has ssl_cert_reqs={found['ssl_cert_reqs']!r}; it is none, optional or required")
    return found


def database(steps: list[str], options: Mapping[str, str], mode: str, name: str) -> int:
    text = options.get("db") or "/".join(steps) or "0"
    if not (text.isascii() and text.isdigit()):
        raise wrong(name, f"has the database {text!r}, which is no number; write {FORMS[mode]}")
    if mode == "cluster" and int(text):
        raise wrong(name, "asks for a database, and a cluster has only number 0; use ?prefix= to keep platforms apart")
    return int(text)


def flag(option: str, text: str, name: str) -> bool:
    if text.lower() not in (*YES, *NO):
        raise wrong(name, f"has {option}={text!r}; it is yes or no")
    return text.lower() in YES


def wrong(name: str, problem: str) -> ConfigError:
    return ConfigError(f"connect.kv = {name!r}: {problem}")


def shown(url: str) -> str:
    """The URL without its password, also where that holds characters that should have been escaped.

    >>> shown("redis://u:pa/s?@h:1/0"), shown("redis://h:1/0")
    ('redis://u:***@h:1/0', 'redis://h:1/0')
    """
    scheme, separator, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    if not at:
        return url
    username, colon, _ = credentials.partition(":")
    return f"{scheme}{separator}{username if colon else '***'}{':***' if colon else ''}@{place}"
