"""`program.strict`: what counts, in each adapter, through a study, a promotion and the app; and that nothing else changes."""

import json
from typing import Literal

import dspy
import pytest
import yaml
from dspy.utils.exceptions import AdapterParseError

import offramp
from offramp.job.resolve import resolve_job
from offramp.program.adapters import adapter_of
from offramp.promote.folder import FeatureFolder
from offramp.promote.running import fields_of
from offramp.records import CallReply, Usage
from offramp.space.load import load_space
from offramp.testing.fakes import FunctionTransport
from program_runs import make_candidate
from promoted_jobs import promoted_job, right_answer
from search_jobs import write_space

Kind = Literal["theft", "late delivery"]


class Sort(dspy.Signature):
    """Sort."""

    message: str = dspy.InputField()
    kind: Kind = dspy.OutputField()
    count: int = dspy.OutputField()


WRITTEN = {
    "plain": lambda kind, count: f"kind: {kind}\ncount: {count}",
    "chat": lambda kind, count: f"[[ ## kind ## ]]\n{kind}\n\n[[ ## count ## ]]\n{count}\n\n[[ ## completed ## ]]",
    "json": lambda kind, count: f'{{"kind": {json.dumps(kind)}, "count": {count}}}',
}


def read(adapter: str, text: str, *, strict: bool) -> dict:
    return adapter_of(make_candidate(adapter=adapter), strict=strict).parse(Sort, text)


@pytest.mark.parametrize("adapter", WRITTEN)
def test_an_exact_answer_is_read_strictly_and_tolerantly_alike(adapter):
    text = WRITTEN[adapter]("late delivery", 3)
    wanted = {"kind": "late delivery", "count": 3}
    assert read(adapter, text, strict=True) == read(adapter, text, strict=False) == wanted
    assert read(adapter, f"\n {text}\n", strict=True) == wanted if adapter == "json" else True


@pytest.mark.parametrize("adapter", WRITTEN)
@pytest.mark.parametrize(
    ("kind", "count"),
    [("Theft", "3"), ("theft.", "3"), ("\u201ctheft\u201d", "3"), ("**theft**", "3"), ("late  delivery", "3"),
     ("theft", '"about 3"'), ("theft", '"1,234"')],
)  # fmt: skip
def test_a_decorated_value_is_unreadable_where_reading_is_strict(adapter, kind, count):
    text = WRITTEN[adapter](kind, count if adapter == "json" else json.loads(count))
    assert set(read(adapter, text, strict=False)) == {"kind", "count"}
    with pytest.raises(AdapterParseError):
        read(adapter, text, strict=True)


@pytest.mark.parametrize(
    ("adapter", "text"),
    [
        ("json", '```json\n{"kind": "theft", "count": 3}\n```'),
        ("json", 'Here it is: {"kind": "theft", "count": 3}'),
        ("json", '{"Kind": "theft", "count": 3}'),
        ("json", '{"kind": "theft", "count": "3"}'),
        ("json", '{"kind": "theft", "count": 3,}'),
        ("json", '[{"kind": "theft", "count": 3}]'),
        ("json", '{"kind": "theft"}'),
        ("json", '{"kind": "theft", "count": true}'),
        ("chat", "[[ ## kind ## ]] theft[[ ## count ## ]] 3"),
        ("chat", "[[##kind##]]\ntheft\n[[##count##]]\n3"),
        ("chat", "[[ ## kind ## ]]\ntheft"),
        ("plain", "**Kind:** theft\n**Count:** 3"),
        ("plain", "Kind: theft\nCount: 3"),
        ("plain", "- kind: theft\n- count: 3"),
    ],
)
def test_a_form_that_is_nearly_right_is_unreadable_where_reading_is_strict(adapter, text):
    with pytest.raises(AdapterParseError):
        read(adapter, text, strict=True)


def decorated(request):
    usage = Usage(input_tokens=50, output_tokens=3)
    text = right_answer(request)
    return CallReply(text=f"{text.capitalize()}.", finish_reason="stop", usage=usage, latency_s=0.2)


@pytest.mark.parametrize("strict", [False, True])
def test_a_study_its_promotion_and_the_app_read_in_the_same_way(tmp_path, monkeypatch, strict):
    monkeypatch.setattr("promoted_jobs.reply", decorated)
    program = {"form": "predict", "format": "plain", "constrained": False, **({"strict": True} if strict else {})}
    space = {"program": program, "constraints": {"unreadable_max": 1.0}}  # read strictly, no answer is readable
    promotions = promoted_job(tmp_path, monkeypatch, space=space)
    folder = FeatureFolder(promotions, "landscape")
    version = folder.resolve("production")
    promotion = folder.load(version)
    assert promotion.evidence.holdout.quality == (0.0 if strict else 1.0)
    assert fields_of(promotion).strict is strict
    assert ("strict" in yaml.safe_load((promotions / "landscape" / f"{version}.yaml").read_text())["program"]) is strict
    loaded = offramp.load(
        "landscape", promotions=promotions, transport=FunctionTransport(decorated), api_base="http://127.0.0.1:9/v1"
    )
    if strict:
        with pytest.raises(Exception, match=r"label|answer"):
            loaded(message="case 031")
    else:
        assert loaded(message="case 031").label == "shipping"


def test_only_strict_reading_changes_what_a_study_is(tmp_path):
    def job(**program):
        return resolve_job(load_space(write_space(tmp_path, program={"form": "predict", "format": "plain", **program})))

    plain, said, strict = job(), job(strict=False), job(strict=True)
    assert plain.hash(0) == said.hash(0) != strict.hash(0)
    assert plain.task.hash == said.task.hash != strict.task.hash
    assert plain.incumbent.id == strict.incumbent.id
