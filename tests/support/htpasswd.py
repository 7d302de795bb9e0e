"""htpasswd files: docker-registry accepts only bcrypt, which the C library of every Debian computes."""

import ctypes
import ctypes.util
import secrets
import string
from collections.abc import Mapping

_ALPHABET = "./" + string.ascii_uppercase + string.ascii_lowercase + string.digits
_COST = "04"  # The allowed minimum: a registry checks the password at each request of a test.


class BcryptMissing(Exception):
    """The C library of this machine has no bcrypt."""


def htpasswd(passwords: Mapping[str, str]) -> str:
    """Return the lines of an htpasswd file for *passwords* by user."""
    return "".join(f"{user}:{_bcrypt(password)}\n" for user, password in passwords.items())


def _bcrypt(password: str) -> str:
    found = ctypes.util.find_library("crypt")
    if found is None:
        raise BcryptMissing("libcrypt is not installed")
    crypt = ctypes.CDLL(found).crypt
    crypt.restype = ctypes.c_char_p
    # The last of the 22 letters of a salt carries 2 bits; "." is one of the four letters that are allowed there.
    salt = "".join(secrets.choice(_ALPHABET) for _ in range(21)) + "."
    hashed: bytes | None = crypt(password.encode(), f"$2b${_COST}${salt}".encode())
    if hashed is None or not hashed.startswith(b"$2b$"):
        raise BcryptMissing("libcrypt computes no bcrypt")
    return hashed.decode()
