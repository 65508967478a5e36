"""The reference pages, each a function that asks the code what there is and returns Markdown."""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click
import msgspec
from writing import code, comment_of, page, table, text_of

from tastemaker import config, domain, errors, telemetry
from tastemaker.cli import app
from tastemaker.config import Config, Connect, Section
from tastemaker.config import keys as config_keys
from tastemaker.evaluation.metrics import METRICS
from tastemaker.features import catalog
from tastemaker.features.kinds import KINDS
from tastemaker.models import MODELS, model_class
from tastemaker.serving.app import STATUS, create_app
from tastemaker.slates.compose import RUNGS
from tastemaker.storage import connect

# ── command line ────────────────────────────────────────────────────────────────────────────────────────────────────


def commands(command: click.Command, path: str, context: click.Context | None = None) -> Iterator[tuple[str, click.Context]]:
    """Every command with its full name, groups before their members."""
    here = click.Context(command, info_name=path.rpartition(" ")[2], parent=context, **command.context_settings)
    yield path, here
    if isinstance(command, click.Group):
        for name in command.list_commands(here):
            found = command.get_command(here, name)
            assert found is not None, name
            yield from commands(found, f"{path} {name}", here)


def cli() -> str:
    parts = []
    for path, context in commands(app, "tastemaker"):
        context.terminal_width = context.max_content_width = 110
        parts.append(f"## `{path}`\n\n```text\n{context.get_help()}\n```")
    codes = table(
        ["exit code", "meaning"],
        [["0", "done"], ["1", "an error that we foresaw; its one line is on stderr"], ["2", "wrong usage"],
         ["130", "stopped by Ctrl-C; the same command goes on from there"]],
    )  # fmt: skip
    return page("Command line", *parts, "## Exit codes", codes)


# ── configuration ───────────────────────────────────────────────────────────────────────────────────────────────────


def configuration() -> str:
    sections: dict[str, list[list[str]]] = {}
    for name, kind, default, sentence in config_keys():
        section = name.partition(".")[0]
        shown = msgspec.json.encode(default).decode()
        sections.setdefault(section, []).append([code(name), code(kind), code(shown), code(variable(name)), sentence])
    hints = get_type_hints(Config)
    parts = []
    for section, rows in sections.items():
        kind = hints[section]
        about = (
            text_of(kind)
            if isinstance(kind, type) and issubclass(kind, Section)
            else "Hyper-parameters by kind of model: [models](models.md)."
        )
        parts.append(f"## `[{section}]`\n\n{about}\n\n" + table(["key", "type", "default", "environment", ""], rows))
    about = (
        "Defaults, then the file (`--config FILE`, `$TASTEMAKER_CONFIG` or `tastemaker.toml` in the current folder), then the "
        "environment. Every key stands with its story in [tastemaker.toml](../../tastemaker.toml)."
    )
    reward = table(
        ["key of `[rewards.kinds.KIND]`", "type", "default", ""],
        ([code(name), code(kind), code(msgspec.json.encode(default).decode()), sentence]
         for name, kind, default, sentence in config_keys(config.Reward)),
    )  # fmt: skip
    return page("Configuration", about, *parts, "## A kind of interaction", reward, "## Other variables", OTHER)


OTHER = """| variable | |
| --- | --- |
| `TASTEMAKER_CONFIG` | The configuration file. |
| `TASTEMAKER_DATA` | A folder that holds data sets, one folder each, looked at before anything is downloaded. |"""


def variable(name: str) -> str:
    return config.PREFIX + name.replace(".", "__").upper()


def models() -> str:
    parts = []
    for kind in MODELS:
        found = model_class(kind)
        plain, rich = get_type_hints(found.Params), get_type_hints(found.Params, include_extras=True)
        notes = comment_of(found.Params)
        rows = []
        for info in msgspec.structs.fields(found.Params):
            name, hint = info.name, plain[info.name]
            default = info.default if info.default is not msgspec.NODEFAULT else "required"
            rows.append(
                [
                    code(f"models.{kind}.{name}"),
                    code(spelled(hint)),
                    code(shown(default)),
                    bounds(rich[name]),
                    notes.get(name, ""),
                ]
            )
        about = text_of(inspect.getmodule(found))
        parts.append(f"## `{kind}`\n\n{about}" + ("\n\n" + table(["key", "type", "default", "bounds", ""], rows) if rows else ""))
    return page("Models", "What `train.models` may name, and the hyper-parameters of each, as `[models.KIND]` sets them.", *parts)


def spelled(hint: Any) -> str:
    """A type as a reader of the configuration thinks of it."""
    if get_origin(hint) is Literal:
        return " | ".join(f'"{value}"' for value in get_args(hint))
    if get_origin(hint) is tuple:
        return f"list of {spelled(get_args(hint)[0])}"
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        fields = ", ".join(f"{name}: {spelled(each)}" for name, each in get_type_hints(hint).items())
        return f"{{{fields}}}"
    if get_origin(hint) is dict:
        return "table"
    if isinstance(hint, type):
        return hint.__name__.replace("NoneType", "None")
    return " | ".join(spelled(part) for part in get_args(hint))


def shown(default: Any) -> str:
    """A default as it would stand in the configuration."""
    if isinstance(default, tuple):
        return msgspec.json.encode(msgspec.to_builtins(default)).decode()
    return str(default)


def bounds(hint: Any) -> str:
    """What a type allows, in signs; that of an optional value is inside."""
    metas = [hint, *get_args(hint)]
    found = [meta for part in metas for meta in getattr(part, "__metadata__", ()) if isinstance(meta, msgspec.Meta)]
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥", "max_length": "length ≤", "pattern": "matches"}
    return ", ".join(
        f"{sign} {value}" for meta in found for name, sign in signs.items() if (value := getattr(meta, name)) is not None
    )


# ── events ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def annotation(kind: type, name: str) -> str:
    """A field's type as the source writes it, without what belongs to the machine."""
    owner = next(base for base in kind.__mro__ if name in inspect.get_annotations(base))
    return str(inspect.get_annotations(owner)[name])


def fields(kind: type[msgspec.Struct]) -> str:
    comments = comment_of(kind)
    tag = str(kind.__struct_config__.tag) if issubclass(kind, domain.Event) else ""
    rows = []
    for info in msgspec.structs.fields(kind):
        known = catalog.FIELDS.get(f"{tag}.{info.name}", "") if tag else ""
        default = "required" if info.required else code(json_of(info))
        rows.append(
            [code(info.name), code(annotation(kind, info.name)), default, known.replace("_", " "), comments.get(info.name, "")]
        )
    return table(["field", "type", "default", "known", ""], rows)


def json_of(info: msgspec.structs.FieldInfo) -> str:
    value = info.default if info.default is not msgspec.NODEFAULT else info.default_factory()
    return "NaN" if value != value else msgspec.json.encode(value).decode()


def events() -> str:
    about = (
        "Everything that happens is one of these. On the wire an event is a JSON object whose `type` names its kind; in the log "
        "it is the same object as MessagePack. `id` and `time` may be left out by a client: the server fills them in. Times are "
        'UTC epoch milliseconds; the API also takes ISO 8601 with a zone. "Known" says from when on a field may be an input of '
        "a model: with the *request*, with the *action*, or only after it (*post action*: a label, never an input)."
    )
    sent = "`decision` and `erase` are written by the server; a client that sends them is refused."
    parts = [f"## `{domain.tag_of(kind)}`\n\n{text_of(kind)}\n\n{fields(kind)}" for kind in domain.EVENTS]
    types = {name: getattr(domain, name) for name in ("Id", "Name", "Millis", "Score", "Int64")}
    names = [[code(name), code(get_args(hint)[0].__name__), bounds(hint)] for name, hint in types.items()]
    names.append([code("Scalar"), "text, number, boolean or null", ""])
    slot = f"## A slot of a decision\n\n{text_of(domain.Slot)}\n\n{fields(domain.Slot)}"
    return page("Events", about, sent, *parts, slot, "## Types", table(["type", "", "bounds"], names))


# ── API ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def openapi() -> dict[str, Any]:
    """The API's own description, from an application over empty stores."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Config(connect=Connect(home=folder))
        with connect(settings) as storage:
            application: Any = create_app(storage, settings).rest
            found: dict[str, Any] = application.openapi()
            return found


def api() -> str:
    about = (
        "The server shows the same at `/docs`, where requests can be tried. Errors are JSON: "
        '`{"error": {"message": ...}}`, with `field`, `value` and `remedy` where a field is to blame; '
        "[bad input](../bad-input.md) lists them."
    )
    parts = [route(path, method, what) for path, methods in openapi()["paths"].items() for method, what in methods.items()]
    rungs = table(["rung", "what the answer is"], ([code(name), text] for name, text in RUNGS.items()))
    return page("HTTP API", about, *parts, "## Rungs", "Each answer of recommendations names the rung that it stands on.", rungs)


def route(path: str, method: str, what: Mapping[str, Any]) -> str:
    lines = [f"## `{method.upper()} {path}`", what.get("description", "")]
    if parameters := what.get("parameters"):
        rows = [[code(p["name"]), p["in"], "yes" if p.get("required") else "no", p.get("description", "")] for p in parameters]
        lines.append(table(["parameter", "in", "required", ""], rows))
    body = what.get("requestBody", {}).get("content", {}).get("application/json", {})
    for name, example in body.get("examples", {}).items():
        title = "Example body" if name == "example" else f"Example body: {name}"
        lines.append(f"{title}\n\n```json\n{json.dumps(example['value'], indent=2)}\n```")
    for status, answer in what.get("responses", {}).items():
        shown = answer.get("content", {}).get("application/json", {}).get("example")
        if shown is not None:
            lines.append(f"Example answer ({status})\n\n```json\n{json.dumps(shown, indent=2)}\n```")
    statuses = "; ".join(f"{status}: {answer['description'].rstrip('.')}" for status, answer in what.get("responses", {}).items())
    lines.append(f"Statuses: {statuses}.")
    return "\n\n".join(line for line in lines if line)


# ── features, metrics, errors ───────────────────────────────────────────────────────────────────────────────────────


def features() -> str:
    declared = []
    for feature in catalog.FEATURES:
        tag = str(feature.kind.__struct_config__.tag)
        parameters = msgspec.structs.asdict(feature.kind)
        kind = f"{tag} ({', '.join(f'{name}={value}' for name, value in parameters.items())})" if parameters else tag
        declared.append([code(feature.name), feature.key.replace("_", " × "), kind, feature.text])
    kinds = [[code(name), text_of(kind).split("\n\n>>>")[0]] for name, kind in KINDS.items()]
    known = [[code(name), available.replace("_", " ")] for name, available in sorted(catalog.FIELDS.items())]
    return page(
        "Features",
        f"Catalogue version `{catalog.version()}`: a hash of all declarations, which stands on every model's card.",
        table(["feature", "of", "kind", ""], declared), "## Kinds", table(["kind", ""], kinds), "## When a field is known",
        "Post-action fields are labels: a training set that has one as an input is refused.",
        table(["field", "known with"], known),
    )  # fmt: skip


ONLINE = [
    ["ctr", "Slots that an interaction named (by decision and item), over slots served; by model version, interval over users."],
    ["lag_nearline", "Records that the worker has not applied."],
    ["lag_archive", "Records that are not in the lake yet."],
    ["live_age_hours", "Hours since the live model was trained."],
    ["rung_RUNG", "Share of the answers that came from a rung of the ladder."],
]


def metrics() -> str:
    offline = [[code(name), sentence] for name, sentence in METRICS.items()]
    exported = []
    for family in telemetry.REGISTRY.collect():
        labels = ", ".join(code(label) for label in label_names(family))
        exported.append(
            [code(family.name + ("_total" if family.type == "counter" else "")), family.type, labels, family.documentation]
        )
    return page(
        "Metrics", "## Offline", "By `evaluate`, on held-out events over the whole catalogue; k is each of `evaluate.k`.",
        table(["metric", ""], offline), "## Online", "By `monitor`, into the metrics history.",
        table(["metric", ""], ([code(name), text] for name, text in ONLINE)),
        "## Prometheus", "What `/metrics` exports.", table(["name", "type", "labels", ""], exported),
    )  # fmt: skip


def label_names(family: Any) -> tuple[str, ...]:
    """The labels of an exported metric, also where nothing was counted yet: of its family, else of the metric itself."""
    own = [metric._labelnames for metric in vars(telemetry).values() if getattr(metric, "_name", None) == family.name]
    return tuple(own[0] if own else family._labelnames)


def errors_page() -> str:
    tree = inspect.getdoc(errors) or ""
    status = [[code(kind.__name__), str(number)] for kind, number in {errors.InputError: 422, **STATUS}.items()]
    status += [["no key, or an unknown one", "401"], ["a key without the scope", "403"], ["too large a body", "413"],
               ["too many requests", "429"], ["anything not foreseen", "500; the log tells more"]]  # fmt: skip
    drawn = [f"## `{kind.__name__}`\n\n{text_of(kind)}" for kind in vars(errors).values()
             if inspect.isclass(kind) and issubclass(kind, errors.TastemakerError)]  # fmt: skip
    return page("Errors", f"```text\n{tree}\n```", *drawn, "## As an HTTP status", table(["error", "status"], status))
