"""The kinds of value that `cluster-ai.yml` is made of, each with its check and what to say when it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)

from provisioning.config.addresses import http_url, listen_address, scheduler_url
from provisioning.config.durations import DURATION_PATTERN, format_duration, parse_duration

Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN}),
]
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
LABEL_NAME_PATTERN = r"^[a-zA-Z][a-zA-Z0-9_]*$"
LABEL_VALUE_PATTERN = r"^[^\x00-\x1f\x7f]*$"
THRESHOLD_PATTERN = r"^[a-z][a-z0-9_]*$"
EMAIL_PATTERN = r"^[^@\s,;<>{}]+@[^@\s,;<>{}]+$"  # one address alone, and no template of Alertmanager's
SMS_PATTERN = r"^\+[1-9][0-9]{6,14}$"
ALERT_PATTERN = r"^[A-Z][A-Za-z0-9]*$"
TIME_PATTERN = r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"
MOMENT_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}$"
ACCOUNT_PATTERN = "^AC[0-9a-f]{32}$"
API_KEY_PATTERN = "^SK[0-9a-f]{32}$"
MESSAGING_SERVICE_PATTERN = "^MG[0-9a-f]{32}$"
SIZE_PATTERN = r"^[1-9][0-9]*(MB|GB|TB)$"
FOLDER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$"
ZONE_PATTERN = r"^(browser|utc|[A-Z][A-Za-z_]+(/[A-Za-z0-9_+-]+){0,2})$"
CLAIM_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$"
HEADER_PATTERN = r"^[A-Za-z][A-Za-z0-9-]*$"
CURRENCY_PATTERN = r"^[A-Z]{3}$"
DOMAIN_PATTERN = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])$"
ORIGIN_PATTERN = r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$"
CLOCK_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
AGE_RECIPIENT_PATTERN = r"^age1[02-9ac-hj-np-z]{58}$"
# Without the signs that Grafana's ini file or its expressions would take for their own.
PLAIN_PATTERN = r"^[^;#%$`\"'\\{}\x00-\x1f\x7f]*$"
HTTP_PATTERN = "^https?://"
SCHEDULER_PATTERN = "^(tcp|tls)://"
LISTEN_PATTERN = "^.+:[0-9]+$"
PATTERNS = {
    # pattern: what it stands for, what was meant
    NAME_PATTERN: ("a name", "use letters, digits, '_', '.' and '-', 63 at most, a letter or digit first"),
    LABEL_NAME_PATTERN: ("a label name", "use letters, digits and '_', a letter first"),
    LABEL_VALUE_PATTERN: ("a label value", "take out line breaks and control characters"),
    THRESHOLD_PATTERN: ("a threshold's name", "use small letters, digits and '_', such as dask_worker_memory_ratio"),
    EMAIL_PATTERN: ("an e-mail address", "write it as name@example.org"),
    SMS_PATTERN: ("a phone number", 'write it with its country code, in quotes, such as "+5511999990000"'),
    SIZE_PATTERN: ("a size", "write a whole number of MB, GB or TB, such as 20GB"),
    FOLDER_PATTERN: ("a uid", "use letters, digits, '_' and '-', 40 at most, a letter or digit first"),
    ZONE_PATTERN: ("a time zone", "write browser, utc, or one such as America/Sao_Paulo"),
    CLAIM_PATTERN: ("a claim", "write its name, or a path to it such as realm_access.roles"),
    HEADER_PATTERN: ("a header's name", "use letters, digits and '-', such as X-JWT-Assertion"),
    CURRENCY_PATTERN: ("a currency", "write its three capital letters, such as EUR"),
    DOMAIN_PATTERN: ("a domain name", "write it in small letters, such as monitoring.example.org"),
    ORIGIN_PATTERN: ("an origin", "write scheme and host, such as https://intranet.example.org, without a path"),
    CLOCK_PATTERN: ("a time of day", "write hours and minutes of a day of 24 hours, such as 02:30"),
    AGE_RECIPIENT_PATTERN: ("a public key of age", "`age-keygen` prints it; it begins with age1"),
    PLAIN_PATTERN: ("plain text", "take out quotes, backslashes, braces and the signs ; # % $ `"),
    ALERT_PATTERN: ("an alert's name", "write it as on the Alerts page, such as DaskSchedulerDown"),
    TIME_PATTERN: ("a time of day", "write hours and minutes of a day of 24 hours, such as 09:00"),
    MOMENT_PATTERN: ("a moment", "write day and time, such as 2026-12-24 22:00"),
    ACCOUNT_PATTERN: ("an account SID", "it has AC and 32 hexadecimal digits; Twilio's console shows it"),
    API_KEY_PATTERN: ("an API key's SID", "it has SK and 32 hexadecimal digits; Twilio's console shows it"),
    MESSAGING_SERVICE_PATTERN: (
        "a messaging service's SID",
        "it has MG and 32 hexadecimal digits; Twilio's console shows it",
    ),
}

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
FolderName = Annotated[str, StringConstraints(pattern=FOLDER_PATTERN)]
ZoneName = Annotated[str, StringConstraints(pattern=ZONE_PATTERN)]
LabelName = Annotated[str, StringConstraints(pattern=LABEL_NAME_PATTERN)]
ThresholdName = Annotated[str, StringConstraints(pattern=THRESHOLD_PATTERN)]
LabelValue = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=LABEL_VALUE_PATTERN)]
SECRET_FILES = frozenset(
    {
        "password_file",
        "bearer_token_file",
        "api_key_file",
        "key_file",
        "api_key_secret_file",
        "auth_token_file",
        "urls_file",
        "redis_url_file",
        "url_file",
        "client_secret_file",
        "hash_key_file",
        "tokens_file",
    }
)


def _absolute(value: Path, info: ValidationInfo) -> Path:
    if value == Path():
        raise ValueError("the path is empty; give the path of a file or leave the key out")
    base: Path = (info.context or {}).get("base", Path())
    return base / value.expanduser()


HttpUrl = Annotated[
    str, BeforeValidator(http_url), WithJsonSchema({"type": "string", "format": "uri", "pattern": HTTP_PATTERN})
]
SchedulerUrl = Annotated[
    str,
    BeforeValidator(scheduler_url),
    WithJsonSchema({"type": "string", "format": "uri", "pattern": SCHEDULER_PATTERN}),
]
ListenAddress = Annotated[
    str, BeforeValidator(listen_address), WithJsonSchema({"type": "string", "pattern": LISTEN_PATTERN})
]
FilePath = Annotated[Path, AfterValidator(_absolute)]
Threshold = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Price = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Switch = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, gt=0)]


class Strict(BaseModel):
    """Unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
