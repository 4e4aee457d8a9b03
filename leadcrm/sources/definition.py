"""One source's table in TOML, checked and compiled; every fault is named with its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any

from leadcrm.configuration.tables import DefinitionFault, read_secrets
from leadcrm.database.entities import COLUMN_OF_FIELD
from leadcrm.sources.answers import Answers, Titles
from leadcrm.sources.charset_labels import UTF_8, codec_of
from leadcrm.sources.labels import NAME, fold
from leadcrm.sources.mapping import INDEX_OF_COLUMN, LeadMapping
from leadcrm.sources.paths import Path, PathFault, Within, compile_path, compile_within, headers_in, names_in
from leadcrm.sources.proof import HANDSHAKES, KINDS, Proof
from leadcrm.sources.replies import OUTCOMES, Replies
from leadcrm.sources.source import TEST_NAMES, Only, Source
from leadcrm.sources.wholes import plain

KEYS = frozenset(
    ("preset", "secret", "secret_file", "verify", "charset", "json", "each", "answers", "query", "key", "test", "only")
) | {"set", "map", "respond", "enabled"}
"""What a source's table may hold."""

PAGE_KEYS = frozenset(("title", "about", "steps", "secret_is", "sample", "sample_query"))
"""What a preset's table may hold besides: the text of its page."""

MERGED = ("set", "map", "respond")
"""The tables of which a source overrides single names of its preset."""

_VERIFY = frozenset(
    ("kind", "name", "header", "path", "prefix", "encoding", "signed", "timestamp", "algorithm", "handshake")
)
_ANSWERS = frozenset(["list", "key", "value", "titles", "options"])
_TITLES = frozenset(["list", "key", "value", "by", "inner"])
_RESPOND = frozenset((*OUTCOMES, "body", "location", "type"))
_NEVER_ANSWERED = frozenset((404, 410))
_COLUMNS = {**COLUMN_OF_FIELD, **{column: column for column in COLUMN_OF_FIELD.values()}}
_INDEX_OF_FIELD = {field: INDEX_OF_COLUMN[column] for field, column in {**_COLUMNS, NAME: NAME}.items()}
_MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*|\"[^\"]+\"")


def merged(preset: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a source's table over its preset's."""
    table = {key: value for key, value in preset.items() if key not in PAGE_KEYS}
    for key, value in own.items():
        if key in MERGED and isinstance(value, dict) and isinstance(table.get(key), dict):
            table[key] = {**table[key], **value}
        else:
            table[key] = value
    return table


def compile_source(name: str, own: Mapping[str, Any], preset: Mapping[str, Any], directory: FilePath | None) -> Source:
    """Check and compile a source.

    Args:
        name: Its name.
        own: Its table.
        preset: Its preset's table.
        directory: Where a relative `secret_file` starts; None where no file may be read.

    Raises:
        DefinitionFault: It cannot be used.
    """
    _know(own, KEYS, "")
    table = merged(preset, own)
    has_answers = bool(table.get("answers"))
    paths = _Paths(fold if has_answers else None)
    own_map = own.get("map") if isinstance(own.get("map"), dict) else {}
    mapped = _map(table.get("map", {}), paths)
    keys = _keys(table.get("key", []), paths)
    test = paths.first(table["test"], "test") if table.get("test") else None
    only = _only(table["only"], paths) if table.get("only") else None
    mapping = LeadMapping(
        constants=_constants(table.get("set", {})),
        paths=mapped,
        claims=_claims(table.get("map", {})),
        own=frozenset(_INDEX_OF_FIELD[field] for field in own_map or () if field in _COLUMNS),
        answers=_answers(table["answers"], paths) if has_answers else (),
        names_answers=paths.names_answers,
        with_query=_boolean(table, "query", default=True),
    )
    return Source(
        name=name,
        preset=str(table.get("preset", "generic")),
        proof=_proof(table, directory, paths),
        mapping=mapping,
        replies=_replies(table.get("respond", {})),
        enabled=_boolean(table, "enabled", default=True),
        charset=_charset(table),
        json=tuple(_members(table.get("json", []))),
        each=paths.first(table["each"], "each", plain=True) if table.get("each") else None,
        keys=keys,
        test=test,
        test_names=TEST_NAMES.union(map(plain, names_in(table["test"]))) if test is not None else TEST_NAMES,
        only=only,
        header_names=frozenset(paths.headers),
    )


class _Paths:
    """Compiles paths, and remembers which headers they read."""

    def __init__(self, fold_label: Callable[[str], str] | None) -> None:
        self._fold_label = fold_label
        self.headers: set[str] = set()
        self.names_answers = False

    def first(self, texts: Any, key: str, *, plain: bool = False) -> Path:
        """Compile a path or a list of alternatives; a plain one knows no answers."""
        fold_label = None if plain else self._fold_label
        path = _compiled(lambda paths: compile_path(paths, fold_label), texts, key)
        for text in [texts] if isinstance(texts, str) else texts:
            self.headers |= headers_in(text)
            self.names_answers |= fold_label is not None and "answers" in text
        return path


def _within(texts: Any, key: str) -> Within:
    """Compile a path that begins at an answer or at a question, or a list of alternatives."""
    return _compiled(compile_within, texts, key)


def _compiled(compile: Callable[[list[str]], Callable[[Any], Any]], texts: Any, key: str) -> Callable[[Any], Any]:
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list):
        raise DefinitionFault(key, "it is neither a path nor a list of paths")
    for text in texts:
        if not isinstance(text, str) or not text:
            raise DefinitionFault(key, f"{text!r} is no path")
    try:
        return compile(texts)
    except PathFault as fault:
        raise DefinitionFault(key, str(fault)) from None


def _know(table: Any, known: Iterable[str], key: str) -> None:
    if not isinstance(table, dict):
        raise DefinitionFault(key, f"it is no table; it takes {', '.join(sorted(known))}")
    for name in table:
        if name not in known:
            place = f"{key}.{name}" if key else name
            raise DefinitionFault(place, f"there is no {name!r}; known are {', '.join(sorted(known))}")


def _boolean(table: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = table.get(key, default)
    if not isinstance(value, bool):
        raise DefinitionFault(key, "it is neither true nor false")
    return value


def _charset(table: Mapping[str, Any]) -> str:
    label = _text(table.get("charset", UTF_8), "charset")
    codec = codec_of(label.encode())
    if codec is None:
        raise DefinitionFault("charset", f"{label!r} is no charset's label, such as windows-1251 or shift_jis")
    return codec


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise DefinitionFault(key, f"{value!r} is no text")
    return value


def _constants(table: Any) -> list[tuple[int, str]]:
    _know(table, _COLUMNS, "set")
    constants = {}
    for field, value in table.items():
        if not isinstance(value, (str, int, float)):
            raise DefinitionFault(f"set.{field}", "a constant is a text or a number")
        text = ("true" if value else "false") if isinstance(value, bool) else str(value)
        constants[_INDEX_OF_FIELD[field]] = text
    return list(constants.items())


def _map(table: Any, paths: _Paths) -> list[tuple[int, Path]]:
    _know(table, _INDEX_OF_FIELD, "map")
    # The last of two names for one column counts, as it does in a payload.
    by_index = {_INDEX_OF_FIELD[field]: paths.first(texts, f"map.{field}") for field, texts in table.items()}
    return list(by_index.items())


def _claims(table: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    claims: dict[str, tuple[int, ...]] = {}
    for field, texts in table.items():
        for name in names_in(texts):
            claims[name] = (*claims.get(name, ()), _INDEX_OF_FIELD[field])
    return claims


def _answers(rules: Any, paths: _Paths) -> list[Answers]:
    answers = []
    for rule in rules if isinstance(rules, list) else [rules]:
        _know(rule, _ANSWERS, "answers")
        keys = rule.get("key", [])
        titles = rule.get("titles")
        answers.append(
            Answers(
                place=paths.first(rule.get("list"), "answers.list", plain=True),
                keys=[_within(text, "answers.key") for text in ([keys] if isinstance(keys, str) else keys)],
                value=_within(rule["value"], "answers.value") if "value" in rule else None,
                titles=_titles(titles, paths) if titles is not None else None,
                options=_within(rule["options"], "answers.options") if "options" in rule else None,
            )
        )
    return answers


def _titles(table: Any, paths: _Paths) -> Titles:
    _know(table, _TITLES, "answers.titles")
    if missing := _TITLES - {"inner"} - table.keys():
        raise DefinitionFault("answers.titles", f"it lacks {', '.join(sorted(missing))}")
    key, value, by = (_within(table[name], f"answers.titles.{name}") for name in ("key", "value", "by"))
    inner = _within(table["inner"], "answers.titles.inner") if "inner" in table else None
    return Titles(paths.first(table["list"], "answers.titles.list", plain=True), key, value, by, inner)


def _members(names: Any) -> Iterable[tuple[str, ...]]:
    for name in [names] if isinstance(names, str) else names:
        if not isinstance(name, str) or not _MEMBER.fullmatch(name):
            raise DefinitionFault("json", f"{name!r} is no name of a member")
        yield (name.strip('"'),) if name.startswith('"') else tuple(name.split("."))


def _keys(rules: Any, paths: _Paths) -> list[list[Path]]:
    if isinstance(rules, str):
        rules = [rules]
    if not isinstance(rules, list):
        raise DefinitionFault("key", "it is neither a path nor a list of paths")
    return [[paths.first(text, "key") for text in ([rule] if isinstance(rule, str) else rule)] for rule in rules]


def _only(table: Any, paths: _Paths) -> Only:
    _know(table, ("path", "is"), "only")
    values = table.get("is", [])
    values = values if isinstance(values, list) else [values]
    texts = [("true" if value else "false") if isinstance(value, bool) else str(value) for value in values]
    return Only(paths.first(table.get("path"), "only.path"), frozenset(texts))


def _replies(table: Any) -> Replies:
    _know(table, _RESPOND, "respond")
    statuses = {"created": 200, "duplicate": 200, "invalid": 400}
    for outcome in OUTCOMES:
        status = table.get(outcome, statuses[outcome])
        if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status < 500:
            raise DefinitionFault(f"respond.{outcome}", f"{status!r} is no status from 200 to 499")
        if status in _NEVER_ANSWERED:
            raise DefinitionFault(f"respond.{outcome}", f"senders take {status} for the end of the source")
        statuses[outcome] = status
    body = table.get("body", {})
    bodies = dict.fromkeys(("created", "duplicate"), body) if isinstance(body, str) else body
    _know(bodies, OUTCOMES, "respond.body")
    location = _text(table.get("location", ""), "respond.location")
    if location and not re.fullmatch(r"(?:https?://|/)[\x21-\x7e]*", location):
        raise DefinitionFault("respond.location", f"{location!r} is no URL")
    kind = _text(table.get("type", ""), "respond.type")
    if kind and not re.fullmatch(r"[\x21-\x7e]+/[\x20-\x7e]+", kind):
        raise DefinitionFault("respond.type", f"{kind!r} is no content type")
    return Replies(statuses, {name: _text(text, "respond.body") for name, text in bodies.items()}, location, kind)


def _proof(table: Mapping[str, Any], directory: FilePath | None, paths: _Paths) -> Proof:
    rules = table.get("verify", {})
    _know(rules, _VERIFY, "verify")
    kind = rules.get("kind", "token")
    if kind not in KINDS:
        raise DefinitionFault("verify.kind", f"{kind!r} is none of {', '.join(KINDS)}")
    name = _text(rules.get("header", rules.get("name", "")), "verify.header").lower()
    if kind in ("header", "hmac", "query") and not name:
        raise DefinitionFault("verify", f"{kind} needs the name of a {'field' if kind == 'query' else 'header'}")
    if kind == "body" and "path" not in rules:
        raise DefinitionFault("verify", "body needs the path of the secret")
    for rule, known in (("encoding", ("hex", "base64")), ("algorithm", ("sha1", "sha256", "sha512"))):
        if rules.get(rule, known[0]) not in known:
            raise DefinitionFault(f"verify.{rule}", f"{rules[rule]!r} is none of {', '.join(known)}")
    if rules.get("handshake", "") not in ("", *HANDSHAKES):
        raise DefinitionFault("verify.handshake", f"{rules['handshake']!r} is none of {', '.join(HANDSHAKES)}")
    signed = _text(rules.get("signed", "{body}"), "verify.signed")
    if kind == "hmac" and "{body}" not in signed:
        raise DefinitionFault("verify.signed", "without {body} the signature would say nothing about the request")
    return Proof(
        kind=kind,
        secrets=read_secrets(table, directory),
        name=name,
        path=paths.first(rules["path"], "verify.path", plain=True) if "path" in rules else None,
        prefix=_text(rules.get("prefix", ""), "verify.prefix"),
        encoding=rules.get("encoding", "hex"),
        signed=signed,
        timestamp=_Paths(None).first(rules["timestamp"], "verify.timestamp") if "timestamp" in rules else None,
        algorithm=rules.get("algorithm", "sha256"),
        handshake=rules.get("handshake", ""),
    )
