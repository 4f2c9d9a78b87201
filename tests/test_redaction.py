"""Keys stay out of texts and documents, whatever the characters of the key, and structure stays as it was."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automcu.redaction import redacted, redacted_json

KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=8, max_size=40)


@given(KEYS, KEYS, st.text(), st.text())
def test_values_of_the_environments_secrets_are_taken_out(key: str, other: str, before: str, after: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_API_KEY", key)
        patch.setenv("A_TOKEN", other + "more")
        patch.setenv("B_token", other)
        text = f"{before}{key}{after} {other}more"
        assert key not in redacted(text) or key in "[redacted]"
        document = {"a": [text, {"b": text, "c": 1.5, "d": None}], "kind": 7}
        cleaned = json.loads(redacted_json(json.dumps(document, ensure_ascii=False).encode(errors="replace")))
        assert cleaned == json.loads(
            json.dumps({"a": [redacted(text), {"b": redacted(text), "c": 1.5, "d": None}], "kind": 7})
        )


@given(st.text(st.characters(codec="utf-8")))
def test_a_document_without_secrets_stays_byte_for_byte(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_API_KEY", "\N{SNOWMAN}" * 40)
        document = json.dumps({"a": text, "b": [1e-5]}, ensure_ascii=False, indent=1).encode()
        assert redacted_json(document) == document or text != redacted(text)


def test_short_values_and_other_variables_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "token")
    monkeypatch.setenv("EDITOR", "a-long-editor-name")
    assert redacted("a token, a-long-editor-name") == "a token, a-long-editor-name"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("sk-abc_def-123 x", "[redacted] x"),
        ('{"h":"Authorization: Bearer abc.def","n":1}', '{"h":"Authorization: Bearer [redacted]","n":1}'),
        ("https://x/y?key=abc&z=1", "https://x/y?key=[redacted]&z=1"),
        ("AIza" + "x" * 35, "[redacted]"),
        ("a task-oriented desk-top", "a task-oriented desk-top"),
    ],
)
def test_what_looks_like_a_key_is_taken_out(text: str, clean: str) -> None:
    assert redacted(text) == clean
