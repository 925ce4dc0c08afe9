"""What people do in Open WebUI: messages and tokens by model, chats, models on offer, feedback, the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exporter.collectors.openwebui_answers import mapping, rows
from exporter.errors import CollectError, Reason
from exporter.families import Family, Labels, amount, counter, gauge, number

SUMMARY = "/api/v1/analytics/summary"
MESSAGES = "/api/v1/analytics/models"
TOKENS = "/api/v1/analytics/tokens"
MODELS = "/api/models"
FEEDBACKS = "/api/v1/evaluations/feedbacks/all/ids"
LEADERBOARD = "/api/v1/evaluations/leaderboard"
OWNERS = ("ollama", "openai", "arena", "other")
NAMED_MODELS = 500
MOST_MODELS = 100_000
OTHER = "(other)"
KEPT = "Scans the messages table, so it is asked at most every `refresh`."


Amounts = Mapping[str, Mapping[str, float]]  # by field, by model


class ModelNames:
    """Labels of models. Anybody can store a chat under any model name, so only the first NAMED_MODELS get their own.

    A model keeps its label for ever: what is counted under `(other)` never moves away, so sums of counters hold.
    """

    def __init__(self) -> None:
        self._known: dict[str, Labels] = {}
        self.other = Labels(model=OTHER)

    def labels(self, model: str) -> Labels:
        """The shared labels of a model."""
        known = self._known.get(model)
        if known is None:
            if len(self._known) >= NAMED_MODELS or model == OTHER:
                return self.other
            known = self._known[model] = Labels(model=model)
        return known


class Seen:
    """A counter of what was added between two looks at a stored total that falls when chats are deleted.

    The first look sets the baseline, so history is never replayed. A model that is new later stands at 0 for one look
    before its amount is added, so that `increase()` sees it.
    """

    def __init__(self, names: ModelNames) -> None:
        self._names = names
        self._stored: dict[str, float] | None = None
        self.total: dict[Labels, float] = {}  # by label, so that names nobody may rely on do not pile up

    def look(self, stored: Mapping[str, float]) -> None:
        """Take the stored totals as they are now."""
        before = self._stored
        self._stored = dict(stored)
        for model, value in stored.items():
            labels = self._names.labels(model)
            if labels not in self.total:
                self.total[labels] = 0.0
                if before is not None:
                    self._stored[model] = 0.0
            elif before is not None:
                self.total[labels] += max(0.0, value - before.get(model, 0.0))


class Usage:
    """Messages and tokens by model: as stored now, and as counters of what was seen to be added."""

    def __init__(self, names: ModelNames) -> None:
        self._names = names
        self._messages = Seen(names)
        self._tokens = {"input": Seen(names), "output": Seen(names)}

    def messages(self, stored: Amounts) -> list[Family]:
        """Assistant messages, chats and people by model, from `read_messages`."""
        self._messages.look(stored["count"])
        return [
            self._family(
                "openwebui_model_messages",
                f"Answers of this model in stored chats, failed ones too; falls when chats are deleted. {KEPT}",
                stored["count"],
            ),
            self._family(
                "openwebui_model_chats",
                f"Stored chats with an answer of this model. {KEPT}",
                stored["unique_chats"],
            ),
            self._family(
                "openwebui_model_users", f"Users with an answer of this model. {KEPT}", stored["unique_users"]
            ),
        ]

    def tokens(self, stored: Amounts) -> list[Family]:
        """Tokens by model and direction, from `read_tokens`."""
        family = gauge(
            "openwebui_model_tokens",
            "Tokens in stored chats by model and type (input, output); falls when chats are deleted. Plain API calls "
            f"are not stored by Open WebUI. {KEPT}",
        )
        for kind, seen in self._tokens.items():
            seen.look(stored[f"{kind}_tokens"])
            self._add(family, stored[f"{kind}_tokens"], kind)
        return [family]

    def seen(self) -> list[Family]:
        """The counters."""
        messages = counter(
            "openwebui_model_messages_seen",
            "Answers of this model added to stored chats since the exporter first looked; not lowered by deletions.",
        )
        _write(messages, self._messages.total)
        tokens = counter(
            "openwebui_model_tokens_seen",
            "Tokens by model and type added to stored chats since the exporter first looked; not lowered by deletions.",
        )
        for kind, seen in self._tokens.items():
            _write(tokens, seen.total, kind)
        return [messages, tokens]

    def _family(self, name: str, help: str, values: Mapping[str, float]) -> Family:
        family = gauge(name, help)
        self._add(family, values)
        return family

    def _add(self, family: Family, values: Mapping[str, float], kind: str | None = None) -> None:
        sums: dict[Labels, float] = {}
        for model, value in values.items():
            labels = self._names.labels(model)
            sums[labels] = sums.get(labels, 0.0) + value
        _write(family, sums, kind)


def _write(family: Family, values: Mapping[Labels, float], kind: str | None = None) -> None:
    for labels, value in values.items():
        family.add(number(value), labels if kind is None else Labels(**dict(labels.pairs), type=kind))


def read_messages(answer: Any) -> Amounts:
    """The numbers of `/api/v1/analytics/models`. Raises CollectError."""
    return _read(answer, MESSAGES, ("count", "unique_chats", "unique_users"))


def read_tokens(answer: Any) -> Amounts:
    """The numbers of `/api/v1/analytics/tokens`. Raises CollectError."""
    return _read(answer, TOKENS, ("input_tokens", "output_tokens"))


def chats(answer: Any) -> list[Family]:
    """Stored chats from `/api/v1/analytics/summary`. Raises CollectError."""
    family = gauge("openwebui_chats", f"Stored chats with at least one answer; falls when chats are deleted. {KEPT}")
    family.add(amount(mapping(answer, SUMMARY).get("total_chats")))
    return [family]


def analytics_available(*, available: bool) -> Family:
    """Whether this installation has the analytics routes."""
    family = gauge(
        "openwebui_analytics_available",
        "0 when this Open WebUI has no usage analytics (before 0.8.0, or ENABLE_ADMIN_ANALYTICS=false): messages, "
        "tokens and chats are then unknown and have no series.",
    )
    family.add(float(available))
    return family


def models(answer: Any) -> list[Family]:
    """Models on offer by owner, from `/api/models`. Raises CollectError."""
    family = gauge(
        "openwebui_models",
        "Models that Open WebUI offers, by owner; a backend that does not answer takes its models away. Makes Open "
        "WebUI ask every backend, so it is asked at most every `refresh`.",
    )
    counts = dict.fromkeys(OWNERS, 0)
    for model in rows(mapping(answer, MODELS).get("data"), MODELS):
        owner = model.get("owned_by")
        counts[owner if isinstance(owner, str) and owner in counts else "other"] += 1
    for owner, count in counts.items():
        family.add(float(count), Labels(owner=owner))
    return [family]


def answering_ollamas(answer: Any) -> frozenset[int]:
    """Indices of the Ollama backends that gave Open WebUI their models, from `/api/models`. Raises CollectError."""
    found: set[int] = set()
    for model in rows(mapping(answer, MODELS).get("data"), MODELS):
        ollama = model.get("ollama")
        urls = ollama.get("urls") if isinstance(ollama, dict) else None
        if isinstance(urls, list):
            found.update(index for index in urls if isinstance(index, int))
    return frozenset(found)


def feedbacks(answer: Any) -> list[Family]:
    """How many ratings people gave, from the list of their ids. Raises CollectError."""
    family = gauge("openwebui_feedbacks", "Ratings that users gave to answers. Asked at most every `refresh`.")
    family.add(float(sum(1 for _ in rows(answer, FEEDBACKS))))
    return [family]


def leaderboard(answer: Any, names: ModelNames) -> list[Family]:
    """Elo rating and comparisons by model. Raises CollectError."""
    found = _by_model(mapping(answer, LEADERBOARD).get("entries"), LEADERBOARD)
    rating = gauge(
        "openwebui_leaderboard_rating",
        "Elo rating of the model from users' comparisons; everybody starts at 1000. Reads all feedback, so it is asked "
        "at most every `refresh`.",
    )
    comparisons = gauge(
        "openwebui_leaderboard_comparisons",
        "Comparisons of the model with another one's answer to the same question, by result (won, lost). Asked at most "
        "every `refresh`.",
    )
    for model, entry in found.items():
        labels = names.labels(model)
        if labels is names.other:
            continue  # ratings do not add up
        rating.add(number(entry.get("rating")), labels)
        for result in ("won", "lost"):
            comparisons.add(amount(entry.get(result)), Labels(**dict(labels.pairs), result=result))
    return [rating, comparisons]


def _read(answer: Any, path: str, fields: tuple[str, ...]) -> Amounts:
    found = _by_model(mapping(answer, path).get("models"), path)
    return {field: _amounts(found, field) for field in fields}


def _by_model(entries: Any, path: str) -> dict[str, dict[str, Any]]:
    """Entries by model id; of two with the same id the first counts. Raises CollectError."""
    found: dict[str, dict[str, Any]] = {}
    listed = rows(entries, path)
    if len(entries) > MOST_MODELS:
        raise CollectError(Reason.TOO_LARGE, f"{path} tells of {len(entries)} models; at most {MOST_MODELS} are read")
    for entry in listed:
        model = entry.get("model_id")
        if isinstance(model, str):
            found.setdefault(model, entry)
    return found


def _amounts(found: Mapping[str, Mapping[str, Any]], field: str) -> dict[str, float]:
    amounts = ((model, amount(entry.get(field))) for model, entry in found.items())
    return {model: value for model, value in amounts if value is not None}
