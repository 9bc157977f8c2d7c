"""Digests that detect altered bits in files whose format has no checksums.

    path.write_text(to_json(seal(content)))
    content = check_seal(read_json(path, EvidenceError), path, EvidenceError)

They are not signatures: whoever alters a file on purpose can alter its digest too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from clerestory.io.reading import ErrorClass

__all__ = ["DIGEST", "check_seal", "digest", "json_digest", "seal", "unsealed"]

DIGEST = "digest"
"""The field of a sealed JSON file."""


def digest(data: bytes) -> str:
    """The digest of a file: BLAKE2b, 16 bytes in hexadecimal.

    Args:
        data: Content of the file.

    Returns:
        32 hexadecimal digits.
    """
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def json_digest(content: Mapping[str, Any]) -> str:
    """The digest of all fields but `digest`, as JSON with sorted keys.

    Args:
        content: What JSON can hold.

    Returns:
        32 hexadecimal digits.
    """
    # Read back first: keys that are numbers become texts, which sort otherwise.
    plain = json.loads(json.dumps(unsealed(content)))
    return digest(json.dumps(plain, sort_keys=True).encode())


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """Add the digest of a JSON object.

    Args:
        content: The object.

    Returns:
        The same with a last field `digest`.
    """
    return {**unsealed(content), DIGEST: json_digest(content)}


def unsealed(content: Any) -> Any:
    """A JSON object without its digest.

    Args:
        content: The object; anything else is returned as it is.

    Returns:
        The other fields, in their order.
    """
    if not isinstance(content, Mapping):
        return content
    return {name: value for name, value in content.items() if name != DIGEST}


def check_seal(content: Any, source: object, error: ErrorClass) -> None:
    """Check the digest of a JSON object that was read; one without a digest is accepted.

    Args:
        content: The object.
        source: Where it comes from, for the message.
        error: Class of the error.

    Raises:
        ClerestoryError: Of class `error`, if the digest is another.
    """
    if not isinstance(content, Mapping) or DIGEST not in content:
        return
    if content[DIGEST] != json_digest(content):
        raise error(
            f"{source} was altered: its digest differs. Get it again; if you changed it on "
            f"purpose, remove its field {DIGEST!r}."
        )
