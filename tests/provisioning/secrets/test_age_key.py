from __future__ import annotations

import re

import pytest

from provisioning.secrets.age_key import AgeKeyError, _bech32, new_pair, recipient


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [  # valid strings of BIP 173
        ("a", b"", "a12uel5l"),
        (
            "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio",
            b"",
            "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs",
        ),
        (
            "abcdef",
            bytes.fromhex("00443214c74254b635cf84653a56d7c675be77df"),
            "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
        ),
    ],
)
def test_text_form_of_a_key(kind: str, data: bytes, text: str) -> None:
    assert _bech32(kind, data) == text


def test_pairs_differ_and_say_what_they_open() -> None:
    one, other = new_pair(), new_pair()
    assert one != other
    assert re.fullmatch(r"# public key: age1[a-z0-9]{58}\nAGE-SECRET-KEY-1[A-Z0-9]{58}\n", one.identity)
    assert recipient(one.identity, "x") == one.recipient


def test_a_key_that_does_not_say_what_it_opens() -> None:
    with pytest.raises(AgeKeyError, match=r"^/s/key has no line `# public key: age1...`, as age-keygen writes it$"):
        recipient("AGE-SECRET-KEY-1XX\n", "/s/key")


def test_without_openssl_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(AgeKeyError, match=r"^openssl is not on PATH"):
        new_pair()
