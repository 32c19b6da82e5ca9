"""Keeps credentials out of the index, and so out of prompts, answers and logs.

Two rules: files that exist to hold secrets are not read at all, and in every other file what looks like a
credential is replaced. Only by keyed rules, a known prefix or a telling name before a literal: they hit
once in the 858,000 lines of Python's library, where rules that go by randomness alone hit hashes,
identifiers and test data several times a line.

Each rule is tried only where its key occurs, and takes time linear in the text.
"""

import base64
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

REDACTED = "[REDACTED]"

# --- Files --------------------------------------------------------------------------------------


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SECRET_SUFFIXES = _words(
    """
    .agekey .gpg .jks .jceks .kdb .kdbx .key .keychain .keystore .keytab .ovpn .p12 .p8 .pem .pfx
    .pgp .pk8 .ppk .tfstate .truststore
    """
)
_SECRET_NAMES = _words(
    """
    .boto .dockercfg .envrc .git-credentials .htpasswd .my.cnf .netrc .npmrc .pgpass .pypirc .s3cfg
    .vault_pass .vault_password _netrc application_default_credentials.json credentials
    credentials.json credentials.xml credentials.yml credentials.yaml kubeconfig master.key secrets.json
    secrets.toml secrets.yaml secrets.yml service-account.json service_account.json
    terraform.tfstate.backup
    """
)
_KEY_NAMES = ("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519")
_ENV_PREFIXES = (".env.", ".env-", ".env_")
_BETWEEN_WORDS = re.compile(r"[._-]")
_EXAMPLE_WORDS = frozenset({"example", "sample", "template", "dist", "defaults", "default", "tpl", "schema"})


def is_secret_path(path: PurePosixPath) -> bool:
    """Whether a file of this name exists to hold secrets.

    Examples (``.env.example``) and public halves of keys (``id_rsa.pub``) hold none.
    """
    name = path.name.lower().rstrip("~")  # an editor's copy of a secret is one
    if _EXAMPLE_WORDS.intersection(name.split(".")):
        return False
    if name.startswith(_ENV_PREFIXES):
        return _EXAMPLE_WORDS.isdisjoint(_BETWEEN_WORDS.split(name))
    if name.endswith(".env"):
        return True
    if name.startswith(_KEY_NAMES):
        return not name.endswith((".pub", ".py", ".md"))
    if name in ("config", "config.json") and path.parent.name in (".kube", ".aws", ".docker"):
        return True
    return name in _SECRET_NAMES or PurePosixPath(name).suffix in _SECRET_SUFFIXES


# --- Text ---------------------------------------------------------------------------------------


def redact(text: str) -> str:
    """Return the text with every credential replaced by ``[REDACTED]``.

    The number of lines stays the same, and redacting twice changes nothing more.
    """
    data = _redact_private_keys(text.encode(errors="surrogatepass"))
    for rule in _RULES:
        data = rule.apply(data)
    return data.decode(errors="surrogatepass")


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a credential looks like, with the group ``value`` for what is replaced."""

    pattern: re.Pattern[bytes]
    is_real: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class _Rule:
    """A kind of credential: what it begins with, its shapes from there on, and how to tell a real one.

    Keys are looked up in bytes, where lower case has the length of upper case and a search costs next to
    nothing; the shapes are tried at these places alone. That is four times as fast as searching by shape.
    """

    keys: tuple[bytes, ...]
    shapes: tuple[_Shape, ...]
    ignores_case: bool = False

    def apply(self, data: bytes) -> bytes:
        haystack = data.lower() if self.ignores_case else data
        places = [place for key in self.keys for place in _places(haystack, key)]
        parts: list[bytes] = []
        done = 0
        for place in sorted(places):
            span = self._value_at(data, place) if place >= done else None
            if span is not None:
                parts += [data[done : span[0]], REDACTED.encode()]
                done = span[1]
        return b"".join([*parts, data[done:]]) if parts else data

    def _value_at(self, data: bytes, place: int) -> tuple[int, int] | None:
        for shape in self.shapes:
            match = shape.pattern.match(data, place)
            if match is not None and shape.is_real(match["value"].decode(errors="replace")):
                return match.span("value")
        return None


def _places(data: bytes, key: bytes) -> Iterator[int]:
    place = data.find(key)
    while place >= 0:
        yield place
        place = data.find(key, place + 1)


def _always(_: str) -> bool:
    return True


def _tokens(keys: str, tail: str) -> _Rule:
    """Return the rule for tokens that begin with one of the keys.

    Neither side may touch a letter or a digit. Runs are possessive (``++``) and cannot begin inside a run
    of their own kind, so that no byte is looked at twice.
    """
    words = tuple(key.encode() for key in keys.split())
    heads = b"|".join(map(re.escape, words))
    edge = rb"[\w-]" if "-]" in tail else rb"[A-Za-z0-9]"
    shape = rb"(?<!" + edge + rb")(?P<value>(?:" + heads + rb")" + tail.encode() + rb")(?![A-Za-z0-9])"
    return _Rule(words, (_Shape(re.compile(shape), _always),))


_SHORTEST_PASSWORD = 8
_SHORTEST_BARE_PASSWORD = 16
# Bits a character, by Shannon. English words and identifiers of this length lie below, random strings of
# letters and digits above.
_LEAST_ENTROPY = 2.75
_LEAST_BARE_ENTROPY = 3.4

# A value that is filled in later or looked up elsewhere, a pattern, a call: "${NAME}", "$NAME", "$(command)",
# "%(name)s", "%s-%d", "{name}", "{{ name }}", "<name>", "[a-z]", "\d", "scheme://host".
_INTERPOLATION = re.compile(
    r"\A\$|\$[{(]|%\(|%[sdr](?![A-Za-z0-9])|\{\{|\{[^{}]*\}|[<>]|\([^()]*\)|\[[^\[\]]*\]|\\|\.\.\.|://| "
)
# Words of a value that was made up for a test or an example: whole words, with a number at most. A password
# may hold any of them between other letters and digits.
_PLACEHOLDER_WORD = re.compile(
    r"(?<![A-Za-z0-9])(?:your|example|sample|changeme|change|placeholder|dummy|redacted|insert|x{3,}"
    r"|foo|bar|foobar|abcd?(?:ef)?|test|testing|fake|secret|pass|passwd|password|passphrase|token|mock|demo)"
    r"\d*(?![A-Za-z0-9])",
    re.IGNORECASE,
)
# Keys struck one after the other.
_RUN_OF_KEYS = re.compile(r"1234|abcd|qwert|x{4}", re.IGNORECASE)
# Words with their numbers, joined: the name of an algorithm, a host, a key. ``pbkdf2_sha256``.
_NAME_LIKE = re.compile(r"[a-z]+\d{0,4}(?:[_.-][a-z]+\d{0,4})+", re.IGNORECASE)


def _is_placeholder(value: str) -> bool:
    return any(mark.search(value) for mark in (_INTERPOLATION, _PLACEHOLDER_WORD, _RUN_OF_KEYS))


def _is_varied(value: str, least_entropy: float) -> bool:
    """Whether a literal could be a password: letters and digits, varied, and no word that says otherwise."""
    if not (any(map(str.isdigit, value)) and any(map(str.isalpha, value))):
        return False
    if _is_placeholder(value) or _NAME_LIKE.fullmatch(value):
        return False
    counts = Counter(value).values()
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts) >= least_entropy


def _is_literal_password(value: str) -> bool:
    return _is_varied(value, _LEAST_ENTROPY)


def _is_bare_password(value: str) -> bool:
    return _is_varied(value, _LEAST_BARE_ENTROPY)


def _is_url_password(value: str) -> bool:
    return not value.isdigit() and not _is_placeholder(value)


def _is_docker_login(value: str) -> bool:
    """Whether a value is the base64 of ``user:password``."""
    try:
        return b":" in base64.b64decode(value, validate=True)
    except ValueError:
        return False


_SECRET_WORDS = tuple(
    (
        b"password passwd passphrase pwd secret token apikey api_key api-key accesskey access_key access-key"
        b" authkey auth_key private_key privatekey credential connection_string"
    ).split()
)
# From the telling word to the literal: the rest of the name, its quote or bracket, an assignment. Not in
# the middle of a path or of a qualified name, where the word is a topic: "AWS::SecretsManager".
_NAME = rb"(?<![:/])(?i:" + b"|".join(map(re.escape, _SECRET_WORDS)) + rb")[\w.-]{0,40}+"

_RULES = (
    _tokens("AKIA ASIA", "[0-9A-Z]{16}"),
    _tokens("ghp_ gho_ ghu_ ghs_ ghr_", "[A-Za-z0-9]{36,}+"),
    _tokens("github_pat_", "[A-Za-z0-9_]{22,}+"),
    _tokens("glpat- glptt- gldt- glrt- glsoat- glcbt- glft- glimt- glagent-", r"[\w-]{20,}+"),
    _tokens("xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs- xapp-", r"[\w-]{10,}+"),
    _tokens("hooks.slack.com/services/", r"[\w/]{20,}+"),
    _tokens("sk_live_ rk_live_ sk_test_ rk_test_", "[A-Za-z0-9]{16,}+"),
    _tokens("whsec_", "[A-Za-z0-9+/=]{24,}+"),
    _tokens("AIza", r"[\w-]{35}"),
    _tokens("ya29.", r"[\w-]{30,}+"),
    _tokens("GOCSPX-", r"[\w-]{20,}+"),
    _tokens("sk-ant- sk-proj- sk-svcacct- sk-admin- sk-or-v1-", r"[\w-]{20,}+"),
    _tokens("sk-", "[A-Za-z0-9]{32,}+"),
    _tokens("hf_", "[A-Za-z0-9]{30,}+"),
    _tokens("npm_", "[A-Za-z0-9]{36}"),
    _tokens("pypi-", r"[\w-]{50,}+"),
    _tokens("SG.", r"[\w-]{16,64}+\.[\w-]{16,64}+"),
    _tokens("dop_v1_", "[a-f0-9]{64}"),
    _tokens("dapi", "[a-f0-9]{32}"),
    _tokens("AccountKey=", "[A-Za-z0-9+/=]{40,}+"),
    _tokens("eyJ", r"[\w-]{8,}+\.eyJ[\w-]{8,}+\.[\w-]{8,}+"),
    _Rule(
        (b"://",),
        (
            _Shape(
                re.compile(rb"://[^\s/:@\"'<>]{0,64}+:(?P<value>[^\s/:@\"'<>]{3,100}+)(?=@)"),
                _is_url_password,
            ),
        ),
    ),
    _Rule(
        (b'"auth"',),
        (
            _Shape(
                re.compile(rb'"auth"[ \t]{0,20}+:[ \t]{0,20}+"(?P<value>[A-Za-z0-9+/]{8,400}+={0,2})"'),
                _is_docker_login,
            ),
        ),
    ),
    _Rule(
        _SECRET_WORDS,
        (
            # A name that says so, and a literal in quotes: password = "…", "apiKey": "…", token => '…'
            _Shape(
                re.compile(
                    _NAME + rb"[\"'\]]{0,2}[ \t]{0,20}+(?::=|=>|=|:)[ \t]{0,20}+[A-Za-z]{0,2}"
                    rb"[\"'`](?P<value>[^\s\"'`]{%d,200}+)(?=[\"'`])" % _SHORTEST_PASSWORD
                ),
                _is_literal_password,
            ),
            # The same without quotes, as configuration has it: alone on its line, longer, more random.
            _Shape(
                re.compile(
                    _NAME + rb"[ \t]{0,20}+[=:][ \t]{0,20}+"
                    rb"(?P<value>[\w+/=~!@#$%%^&*?.-]{%d,200}+)(?=[ \t]{0,20}\r?(?:\n|\Z))"
                    % _SHORTEST_BARE_PASSWORD
                ),
                _is_bare_password,
            ),
        ),
        ignores_case=True,
    ),
)

# --- Private keys ---------------------------------------------------------------------------------

_KEY_EDGE = re.compile(rb"-----(BEGIN|END) (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----")
# Between the two edges of a real key, and not of code that looks for them.
_KEY_BODY = re.compile(rb"[A-Za-z0-9+/=]{40}")
_LONGEST_KEY_BYTES = 20_000  # an RSA key of 16,384 bits has 13,000


def _redact_private_keys(data: bytes) -> bytes:
    """Replace each key between a BEGIN and the END right after it, as many line feeds as it had."""
    if b"PRIVATE KEY" not in data:
        return data
    parts: list[bytes] = []
    done = 0
    begin: re.Match[bytes] | None = None
    for edge in _KEY_EDGE.finditer(data):
        if edge[1] == b"BEGIN":
            begin = edge
            continue
        if begin is not None and _is_key(data[begin.end() : edge.start()]):
            line_feeds = data.count(b"\n", begin.start(), edge.end())
            parts += [data[done : begin.start()], REDACTED.encode(), b"\n" * line_feeds]
            done = edge.end()
        begin = None
    return b"".join([*parts, data[done:]])


def _is_key(body: bytes) -> bool:
    return len(body) <= _LONGEST_KEY_BYTES and _KEY_BODY.search(body) is not None
