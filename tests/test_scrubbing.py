"""Keys are masked in every form that a text may have them in, and what is no key stays as it is."""

import base64
import html
import json
import logging
import re
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from offramp import scrubbing
from offramp.errors import UsageError
from offramp.records import CallReply, Model, Result, ResultState, Usage
from offramp.scrubbing import scrubbed, scrubbed_traceback, scrubbed_value
from offramp.space.check import check_space
from offramp.space.load import load_space
from offramp.space.messages import SpaceErrors
from offramp.store.tables import JsonText, PlainText
from search_jobs import write_space

ODD = "p\"a ss/w+ö\\rd&<1>'2"
PLAIN = "hunter2-hunter2"


@pytest.fixture(params=[PLAIN, ODD, "s3cr", "letmein", "0123456789abcdef"])
def key(request, monkeypatch):
    """A key of a model, in a variable whose name says nothing."""
    monkeypatch.setenv("HOUSE_PASS", request.param)
    Model(name="m", route="openai/m", api_key_env="HOUSE_PASS")
    return request.param


WAYS = {
    "as it is": lambda key: f"Bearer {key} was refused",
    "JSON": lambda key: json.dumps({"key": key}),
    "JSON in UTF-8": lambda key: json.dumps({"key": key}, ensure_ascii=False),
    "JSON in JSON": lambda key: json.dumps({"body": json.dumps({"key": key})}),
    "Python": lambda key: repr({"key": key}),
    "HTML": lambda key: f"<p>{html.escape(key)}</p>",
    "a URL": lambda key: f"https://h/?k={quote(key, safe='')}&x=1",
    "a URL in lower case": lambda key: (
        "https://h/?k=" + re.sub("%..", lambda code: code[0].lower(), quote(key, safe=""))
    ),
}
ENCODED = {
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "basic authorization": lambda key: "Basic " + base64.b64encode(f"user:{key}".encode()).decode(),
    "base64 for URLs": lambda key: base64.urlsafe_b64encode(f"ab{key}cd".encode()).decode(),
    "hex": lambda key: key.encode().hex(),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_key_is_masked_in_every_writing(key, way):
    text = WAYS[way](key)
    assert "***" in scrubbed(text)
    assert key not in scrubbed(text) and WAYS[way](key) != scrubbed(text)


@pytest.mark.parametrize("way", ENCODED)
@pytest.mark.parametrize("value", [PLAIN, ODD, "0123456789abcdef"])
def test_a_key_is_masked_when_encoded(way, value, monkeypatch):
    monkeypatch.setenv("HOUSE_PASS", value)
    Model(name="m", route="openai/m", api_key_env="HOUSE_PASS")
    assert "***" in scrubbed(f"sent: {ENCODED[way](value)}")


@pytest.mark.parametrize(
    "value", [None, 12345, 0.5, True, [], {}, ["a", {"b": None}], {"key": "value"}, ("a", 1), "hunter2"]
)
def test_a_value_without_a_key_is_the_same_object(value, monkeypatch):
    monkeypatch.setenv("HOUSE_PASS", PLAIN)
    Model(name="m", route="openai/m", api_key_env="HOUSE_PASS")
    assert scrubbed_value(value) is value


def test_a_key_is_masked_anywhere_within_a_value(key):
    value = {"a": [key, {key: (f"x {key} y", 1)}], "n": 7}
    assert scrubbed_value(value) == {"a": ["***", {"***": ("x *** y", 1)}], "n": 7}


@pytest.mark.parametrize("word", ["EMPTY", "none", "ollama", "no-key-needed", "ab"])
def test_a_word_that_stands_for_no_key_is_no_secret(word, monkeypatch):
    monkeypatch.setenv("HOUSE_PASS", word)
    Model(name="m", route="openai/m", api_key_env="HOUSE_PASS")
    assert scrubbed(f"the box is {word} today") == f"the box is {word} today"


def test_a_short_key_leaves_longer_words_and_the_names_of_models_as_they_are(monkeypatch):
    monkeypatch.setenv("HOUSE_PASS", "pass")
    monkeypatch.setenv("OTHER_PASS", "mini")
    Model(name="a", route="openai/a", api_key_env="HOUSE_PASS")
    Model(name="b", route="openai/gpt-mini", api_key_env="OTHER_PASS")
    assert scrubbed("passing the pass to openai/gpt-mini") == "passing the *** to openai/gpt-mini"


@pytest.mark.parametrize("name", ["MY_TOKEN", "AWS_SECRET_ACCESS_KEY", "SOME_API_KEY"])
def test_what_is_a_secret_by_name_and_looks_generated_needs_no_model(name, monkeypatch):
    monkeypatch.setenv(name, "q7Zk29xLmPw84vTe")
    UsageError("looks at the environment")
    Model(name="m", route="openai/m", api_key_env="HOUSE_PASS")
    assert scrubbed("it was q7Zk29xLmPw84vTe") == "it was ***"


def test_errors_replies_and_results_are_made_without_the_key(key):
    assert key not in str(UsageError(f"got {key}"))
    calls = ({"id": "1", "name": "f", "arguments": json.dumps({"k": key})},)
    reply = CallReply(text=f"your key is {key}", tool_calls=calls, finish_reason="stop", usage=Usage(), latency_s=0.0)
    assert reply.text == "your key is ***" and json.loads(reply.tool_calls[0]["arguments"]) == {"k": "***"}
    result = Result(
        candidate="c", example="e", state=ResultState.SCORED, score=1.0, cost_usd=0.0, latency_s=0.0,
        outputs={"label": key}, reason=f"judge: {key}",
    )  # fmt: skip
    assert result.outputs == {"label": "***"} and result.reason == "judge: ***"


def test_logs_and_tracebacks_are_without_the_key(key, caplog):
    try:
        raise RuntimeError(f"401 for {key}")
    except RuntimeError as error:
        with caplog.at_level(logging.INFO, logger="offramp"):
            logging.getLogger("offramp").exception("call with %s failed", key)
        trace = scrubbed_traceback(error)
    assert caplog.text.count("***") >= 2 and key not in caplog.text.replace("\\\\", "\\")
    assert "RuntimeError: 401 for ***" in trace


@pytest.mark.parametrize("place", ["instructions", "description", "params"])
def test_a_space_file_with_a_key_in_it_is_refused_with_the_line(place, tmp_path, monkeypatch):
    monkeypatch.setenv("HOUSE_PASS", PLAIN)
    changes = {
        "instructions": {"instructions": {"vague": "Vague.", "clear": f"Use {PLAIN}."}},
        "description": {"description": PLAIN},
        "params": {"params": {"max_tokens": 16, "user": {"choices": ["a", PLAIN]}}},
    }[place]
    models = [{"name": "small", "route": "openai/small", "api_base": "http://127.0.0.1:9/v1",
               "api_key_env": "HOUSE_PASS", "price": {"input_usd": 1.0, "output_usd": 1.0}}]  # fmt: skip
    path = write_space(tmp_path, models=models, **changes)
    with pytest.raises(SpaceErrors, match=rf"space.yaml:\d+: {place}.*holds the value of a key") as caught:
        check_space(load_space(path))
    assert PLAIN not in str(caught.value)


def test_a_key_is_masked_on_its_way_into_the_storage_and_what_was_stored_before_it_was_known_when_it_is_read(
    monkeypatch,
):
    monkeypatch.delenv("HOUSE_PASS", raising=False)
    scrubbing.refresh()
    table = sa.Table("kept", sa.MetaData(), sa.Column("text", PlainText), sa.Column("value", JsonText))
    engine = sa.create_engine("sqlite://")
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(table.insert().values(text="got hunter2-hunter2", value={"a": ["hunter2-hunter2"]}))
        assert connection.execute(sa.select(table)).one() == ("got hunter2-hunter2", {"a": ["hunter2-hunter2"]})
        monkeypatch.setenv("HOUSE_PASS", "hunter2-hunter2")
        scrubbing.know_variable("HOUSE_PASS")
        assert connection.execute(sa.select(table)).one() == ("got ***", {"a": ["***"]})
        connection.execute(table.insert().values(text="hunter2-hunter2 again", value={"hunter2-hunter2": 1}))
        written = connection.execute(sa.text("SELECT text, value FROM kept WHERE text LIKE '%again'")).one()
        assert written == ("*** again", json.dumps({"***": 1}, separators=(",", ":")))
