"""The accounts of a studio: one given as NAME:PASSWORD, or many in a file with hashed passwords and roles."""

import asyncio
import hashlib
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from breakascene.data import validation
from breakascene.errors import UserError
from breakascene.files import write_private
from breakascene.provenance import audit
from breakascene.studio import strings

OPERATOR, AUDITOR = "operator", "auditor"
ROLES = (OPERATOR, AUDITOR)  # besides the use of the studio, which every account has
NAME = re.compile(r"[\w.@+-]{1,64}")
MIN_PASSWORD, MAX_PASSWORD = 8, 1000  # characters
SCRYPT = {"n": 2**14, "r": 8, "p": 5}  # 16 MB and about a tenth of a second


@dataclass(frozen=True)
class Account:
    """A name with a hashed password ("scrypt:SALT:HASH" in hex) and roles."""

    password: str
    roles: tuple[str, ...] = ()


class Accounts:
    """Checks names and passwords; a changed file counts at once.

    Args:
        single: Name and password of the one account, without roles.
        file: A file of accounts (see `write_accounts`).

    Raises:
        UserError: If the file cannot be read, or has no account.
    """

    def __init__(self, single: tuple[str, str] | None = None, file: Path | None = None):
        self.file, self._read_at, self._key = file, None, secrets.token_bytes(32)
        self._accounts = {single[0]: Account(hash_password(single[1]))} if single else {}
        self._known: set[bytes] = set()  # pairs that were right, so that clients of HTTP Basic need not wait
        self._refused = hash_password(secrets.token_hex())
        self.read()

    def read(self) -> None:
        """Read the file, if it has changed."""
        if self.file is not None and (changed := _changed_at(self.file)) != self._read_at:
            self._accounts, self._read_at = read_accounts(self.file), changed
            self._known.clear()

    def roles(self, name: str) -> tuple[str, ...]:
        self.read()
        return self._accounts[name].roles if name in self._accounts else ()

    def check(self, name: str, password: str) -> bool:
        """Whether the name and the password are right. A wrong name takes as long as a wrong password."""
        self.read()
        account = self._accounts.get(name)
        stored = account.password if account else self._refused
        pair = hashlib.blake2b(json.dumps([name, password, stored]).encode(), key=self._key).digest()
        if pair not in self._known:
            if not verify_password(password[:MAX_PASSWORD], stored) or not account:
                return False
            self._known.add(pair)
        return True

    async def log_in(self, name: str, password: str) -> bool:
        """As `check`, and log the attempt; in a thread, since hashing takes time."""

        def attempt() -> bool:
            right = self.check(name, password)
            audit.record("login", who=name[:100], outcome="accepted" if right else "refused")
            return right

        return await asyncio.to_thread(attempt)


def hash_password(password: str) -> str:
    salt = secrets.token_bytes(16)
    return f"scrypt:{salt.hex()}:{hashlib.scrypt(password.encode(errors='replace'), salt=salt, **SCRYPT).hex()}"


def verify_password(password: str, stored: str) -> bool:
    _, salt, expected = stored.split(":")
    found = hashlib.scrypt(password.encode(errors="replace"), salt=bytes.fromhex(salt), **SCRYPT)
    return secrets.compare_digest(found.hex(), expected)


def read_accounts(file: Path) -> dict[str, Account]:
    """Read a file of accounts by their names. Raises UserError if it cannot be read or has no account."""
    try:
        accounts = {
            name: Account(_checked_hash(values["password"]), _checked_roles(values["roles"]))
            for name, values in validation.checked_dict(validation.read_json(file), "it").items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(strings.INVALID_USERS_FILE.format(file=file)) from error
    if not accounts:
        raise UserError(strings.INVALID_USERS_FILE.format(file=file))
    return accounts


def write_accounts(file: Path, accounts: dict[str, Account]) -> None:
    """Write a file of accounts, readable by its owner only."""
    write_private(file, json.dumps({name: asdict(one) for name, one in accounts.items()}, indent=2).encode())


def new_account(name: str, password: str, roles: Iterable[str]) -> Account:
    """An account of a name. Raises UserError if the name or the password cannot be used."""
    if not NAME.fullmatch(name):
        raise UserError("The name has other characters than letters, digits and .@+-_: choose another one.")
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise UserError(f"The password is too short or too long: use at least {MIN_PASSWORD} characters.")
    return Account(hash_password(password), tuple(dict.fromkeys(roles)))


def _checked_hash(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"scrypt:[0-9a-f]{32}:[0-9a-f]{128}", value):
        raise ValueError("a password is not hashed")
    return value


def _checked_roles(values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not set(values) <= set(ROLES):
        raise ValueError("a role is unknown")
    return tuple(values)


def _changed_at(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
