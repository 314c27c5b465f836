"""The settings of tokens, read from the environment."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.commands import PRODUCTION, manage, settings_of


def jwt_settings(**variables: str) -> dict:
    return settings_of("SIMPLE_JWT", **PRODUCTION, **variables)["SIMPLE_JWT"]


def pem(key, password: bytes | None = None) -> bytes:
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)


def test_without_variables_the_secret_key_signs():
    """HS256 with SECRET_KEY; 15 minutes and 7 days; issuer and audience are always checked."""
    found = jwt_settings()
    assert (found["ALGORITHM"], found["SIGNING_KEY"]) == ("HS256", PRODUCTION["SECRET_KEY"])
    assert (found["ISSUER"], found["AUDIENCE"]) == ("chat", "chat")
    assert found["ACCESS_TOKEN_LIFETIME"] == str(timedelta(minutes=15))
    assert found["REFRESH_TOKEN_LIFETIME"] == str(timedelta(days=7))


def test_each_variable_is_heard():
    """Key, issuer, audience and lifetimes come from the environment."""
    found = jwt_settings(
        JWT_SIGNING_KEY="k" * 40,
        JWT_ISSUER="https://chat.example.com",
        JWT_AUDIENCE="sockets",
        JWT_LIFETIME="60",
        JWT_REFRESH_LIFETIME="3600",
    )
    assert found["SIGNING_KEY"] == "k" * 40
    assert (found["ISSUER"], found["AUDIENCE"]) == ("https://chat.example.com", "sockets")
    assert found["ACCESS_TOKEN_LIFETIME"] == str(timedelta(minutes=1))
    assert found["REFRESH_TOKEN_LIFETIME"] == str(timedelta(hours=1))


def test_a_key_file_means_rs256(tmp_path):
    """The file's key signs, its public half verifies, and no shared secret is left."""
    path = tmp_path / "key.pem"
    path.write_bytes(pem(rsa.generate_private_key(65_537, 2048)))
    found = jwt_settings(JWT_PRIVATE_KEY_FILE=str(path), JWT_SIGNING_KEY="unused")
    assert found["ALGORITHM"] == "RS256"
    assert found["SIGNING_KEY"] == path.read_text()
    assert found["VERIFYING_KEY"].startswith("-----BEGIN PUBLIC KEY-----")


@pytest.mark.parametrize("kind", ["missing", "no key", "another kind", "too short", "locked"])
def test_a_key_file_that_can_not_be_used_stops_the_start(tmp_path, kind):
    """One line names the variable; nothing falls back to a weaker key."""
    path = tmp_path / "key.pem"
    made = {
        "no key": lambda: b"no key",
        "another kind": lambda: pem(ec.generate_private_key(ec.SECP256R1())),
        "too short": lambda: pem(rsa.generate_private_key(65_537, 1024)),
        "locked": lambda: pem(rsa.generate_private_key(65_537, 2048), b"password"),
    }
    if kind in made:
        path.write_bytes(made[kind]())
    ended = manage("check", **PRODUCTION, JWT_PRIVATE_KEY_FILE=str(path))
    assert ended.returncode != 0
    assert ended.stderr.strip().splitlines()[-1].count("JWT_PRIVATE_KEY_FILE must name a file") == 1
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("name", ["JWT_LIFETIME", "JWT_REFRESH_LIFETIME"])
@pytest.mark.parametrize("value", ["0", "-1", "soon", "99999999999"])
def test_a_lifetime_that_is_none_stops_the_start(name, value):
    """A whole number of seconds, within bounds."""
    ended = manage("check", **PRODUCTION, **{name: value})
    assert ended.returncode != 0
    assert name in ended.stderr
