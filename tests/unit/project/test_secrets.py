from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coding_assistant.project.secrets import REDACTED, is_secret_path, redact

KEY_BODY = "\n".join(["MIIEpAIBAAKCAQEAr0Xq9mX4uYf3z8c1v5b7n9m2k4j6h8g0f1d3s5a7p9o1i3u5"] * 4)
PRIVATE_KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{KEY_BODY}\n-----END RSA PRIVATE KEY-----"

# In two halves, so that nobody who scans this file for secrets finds one.
TOKENS = [
    "AKIA" + "Q7RZ2M5XW8KD3VNB",
    "ghp_" + "a8Kd02mZqPw91LxTfR4vYbN6cHs7JuEg35Qo",
    "github_pat_" + "11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz0123456789",
    "glpat-" + "x7Yt_92mKpQwErTy4uIo",
    "xoxb-" + "2417384950-9182736450-kLmNoPqRsTuVwXyZ",
    "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "AIza" + "SyD3kLm9QwErTyUiOpAsDfGhJkLzXcVbN_1",
    "sk-ant-" + "api03-Zk3LmN9pQrStUvWxYz0123456789abcd",
    "sk-proj-" + "Zk3LmN9pQrStUvWxYz0123456789",
    "sk-" + "Zk3LmN9pQrStUvWxYz0123456789abcdefghijklmnopqrst",
    "hf_" + "QwErTyUiOpAsDfGhJkLzXcVbNmQwErTyUi",
    "npm_" + "a8Kd02mZqPw91LxTfR4vYbN6cHs7JuEg35Qo",
    "SG." + "ngeVfQFYQlKU0ufo8x5d1A.TwL2iGABf9DHoTf-09kqeF8tAmbihYzrnopKc-1s5cr",
    "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
]


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        "deploy/.env.production",
        "prod.env",
        ".env~",
        ".env-prod",
        "deploy/.env_local",
        "prod.env~",
        "keys/id_rsa~",
        "home/.docker/config.json",
        "certs/server.pem",
        "id_rsa",
        "keys/id_ed25519.bak",
        ".npmrc",
        "home/.netrc",
        "kubeconfig",
        ".kube/config",
        ".aws/credentials",
        "terraform.tfstate",
        "release.keystore",
        "config/master.key",
        "SERVICE-ACCOUNT.JSON",
    ],
)
def test_files_made_for_secrets_are_known(path: str) -> None:
    assert is_secret_path(PurePosixPath(path))


@pytest.mark.parametrize(
    "path",
    [
        ".env.example",
        ".env.sample",
        ".env.template",
        ".env-example",
        ".env_sample",
        "src/config.json",
        "env.template",
        "environment.py",
        "id_rsa.pub",
        "src/credentials.py",
        "secrets.py",
        "git/config",
        "keys.py",
        "monkey.go",
    ],
)
def test_files_about_secrets_are_source(path: str) -> None:
    assert not is_secret_path(PurePosixPath(path))


@pytest.mark.parametrize("token", TOKENS, ids=lambda token: token[:8])
def test_tokens_are_redacted_wherever_they_stand(token: str) -> None:
    assert redact(f"key = {token}\n") == f"key = {REDACTED}\n"
    assert redact(f'call("{token}", 1)') == f'call("{REDACTED}", 1)'


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ('password = "h7Kp92mQ"', "h7Kp92mQ"),
        ("'db_password': 'tr0ub4dor&3x'", "tr0ub4dor&3x"),
        ('const apiKey = "9f86d081884c7d65";', "9f86d081884c7d65"),
        ('client_secret => "Qx7-91mZ_kk2"', "Qx7-91mZ_kk2"),
        ('settings["SECRET_KEY"] = b"w9f!k2z7q4"', "w9f!k2z7q4"),
        ("AUTH_TOKEN=Zk3LmN9pQrStUvWxYz01", "Zk3LmN9pQrStUvWxYz01"),
        ("  password: Zk3LmN9pQrStUvWxYz01", "Zk3LmN9pQrStUvWxYz01"),
        ("postgres://app:w9fk2z7q@db.internal/x", "w9fk2z7q"),
        ("postgres://app:Kx93Pass77q@db", "Kx93Pass77q"),
        ("redis://:p9Xk3vLq8Zt@cache:6379", "p9Xk3vLq8Zt"),
        ('password = "gT7$kP2vQ9xLmZ4r"', "gT7$kP2vQ9xLmZ4r"),
        ('password = "Zk3|Lm^9*pQ{r"', "Zk3|Lm^9*pQ{r"),
        ("PASSWORD=gT7%kPw2Vx9LqZ4rB", "gT7%kPw2Vx9LqZ4rB"),
        ("PASSWORD=gT7$kPw2Vx9LqZ^rB", "gT7$kPw2Vx9LqZ^rB"),
        ('"auth": "ZGVwbG95Okt4OTNQYXNzNzdx"', "ZGVwbG95Okt4OTNQYXNzNzdx"),
    ],
)
def test_a_literal_under_a_telling_name_is_redacted(line: str, secret: str) -> None:
    assert redact(line) == line.replace(secret, REDACTED)


@pytest.mark.parametrize(
    "line",
    [
        'password = os.environ["PASSWORD"]',
        'password = getpass("Password: ")',
        'token = "%s-%d" % (name, 1)',
        'password = "$DB_PASSWORD_2"',
        'password = "${DB_PASSWORD_2}"',
        'password = "$(pass show db1)x"',
        'password = "%(password_2)s1a"',
        'token = f"{user_2}:{day}x7q"',
        'secret = "<put-y0urs-here>"',
        'token_pattern = r"[A-Z0-9]{8,}"',
        'password = "test-7xq-41"',
        'password = "secret123"',
        "PASSWORD=$DEPLOY_PASSWORD_FROM_STEP_2",
        "redis://:6379@localhost",
        "https://${USER}:${PASSWORD_2}@db",
        "https://user:<password1>@db",
        "https://%s:%s@db",
        '"auth": "requiredforever1"',
        '"auth": "basic"',
        'secret = "{{ vault.secret_1 }}"',
        'api_key = "your-api-key-123"',
        'PASSWORD_HASHER = "pbkdf2_sha256"',
        'password = "correct horse battery staple 1"',
        "self.token = tokenizer.next_token2(text)",
        "def token(self, kind: TokenKind2) -> Token: ...",
        "class sk-cube-grid-large-element-of-the-page-header",
        "https://user:password@example.com",
        "postgres://user:5432@localhost",
        'sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"',
        'if "-----BEGIN RSA PRIVATE KEY-----" in text:',
        'EDGES = ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----")',
    ],
)
def test_ordinary_code_stays(line: str) -> None:
    assert redact(line) == line


def test_a_private_key_goes_whole_and_the_lines_stay_counted() -> None:
    text = f"before\n{PRIVATE_KEY}\nafter\n"
    assert redact(text) == "before\n" + REDACTED + "\n" * PRIVATE_KEY.count("\n") + "\nafter\n"


def test_a_private_key_in_one_string_goes_whole() -> None:
    escaped = PRIVATE_KEY.replace("\n", "\\n")
    assert redact(f'{{"private_key": "{escaped}"}}') == f'{{"private_key": "{REDACTED}"}}'


FRAGMENTS = [
    *TOKENS,
    PRIVATE_KEY,
    "-----BEGIN PRIVATE KEY-----",
    "-----END PRIVATE KEY-----",
    'password = "',
    "token: ",
    "h7Kp92mQ",
    "sk-",
    "eyJ",
    "://u:",
    "@",
    '"',
    "_",
    "-",
    ".",
    " ",
    "\n",
    "\r\n",
    REDACTED,
]


@given(st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=5), max_size=12).map("".join))
@example("A" + TOKENS[0] + TOKENS[0])
def test_redacting_keeps_the_lines_and_settles_at_once(text: str) -> None:
    redacted = redact(text)
    assert redacted.count("\n") == text.count("\n")
    assert redact(redacted) == redacted


@pytest.mark.parametrize(
    "unit",
    [
        "-----BEGIN PRIVATE KEY-----\n",
        "token",
        "eyJ-",
        "eyJaaaaaaaa.",
        "://a",
        "password = '",
        "sk-ant-",
        "SG.",
        'secret="' + "a" * 190,
        '"auth": "' + "a" * 390,
        "://:a",
        "password='{",
    ],
)
def test_a_text_made_to_be_slow_is_not(unit: str) -> None:
    # With a rule that takes the square of the length this would not end within the test's time limit.
    text = unit * (400_000 // len(unit))
    assert redact(text).count("\n") == text.count("\n")
