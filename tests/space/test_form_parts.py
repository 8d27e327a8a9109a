"""`program.form` with forms of several requests: what is refused, with the whole message, and how forms are spelled."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from space_files import broken

from offramp.errors import SpaceError
from offramp.space.check import check_space
from offramp.space.forms import KINDS, ModuleSpec, spec_of
from offramp.space.load import load_space
from offramp.space.model import ProgramPart, as_stated, spelled

ONE_OF = "expected one of `best_of`, `self_consistency` and `verify_then_retry`."
SAME = "samples several answers, which {} makes the same."
OWN = "Give the form its own: `{{{}: {}, temperature: 0.7}}`."
BAD = {
    "{best_of: 1}": "program.form.best_of: got 1, expected a whole number in [2, 50] or null.",
    "{best_of: many}": "program.form.best_of: got 'many', expected a whole number in [2, 50] or null.",
    "{best_of: 3.5}": "program.form.best_of: got 3.5, expected a whole number in [2, 50] or null.",
    "[predict, {self_consistency: 2}]": "program.form.1.self_consistency: got 2, expected a whole number in [3, 50] or null.",
    "{verify_then_retry: 0}": "program.form.verify_then_retry: got 0, expected a whole number in [1, 10] or null.",
    "{best_off: 3}": "program.form.best_off: unknown key. Did you mean 'best_of'?",
    "{}": f"program.form: got none, {ONE_OF} Add one, such as `best_of: 3`.",
    "{best_of: 3, verify_then_retry: 1}": f"program.form: got best_of and verify_then_retry, {ONE_OF} Write them as separate entries of the list.",
    "{self_consistency: 5, over: own}": "program.form.over: got 'own', expected one of predict, chain_of_thought.",
    "{self_consistency: 5, temperature: 0}": "program.form.temperature: got 0, expected a number in (0, 2] or null.",
    "{verify_then_retry: 2, temperature: 1}": "program.form.temperature: got 1, expected none with `verify_then_retry`, which samples nothing. Remove it.",
    "best_of": "program.form: got 'best_of', expected one of predict, chain_of_thought, own, a mapping or a list of values. Write it as a mapping: {best_of: 3}.",
    "[{verify_then_retry: 1}, {verify_then_retry: 1, over: predict}]": "program.form: duplicate value: got 'verify_then_retry 1'. Remove one of them.",
    "{best_of: 3}": f"program.form: best_of {SAME.format('temperature 0')} {OWN.format('best_of', 3)}",
    "[predict, {self_consistency: 5}]": f"program.form.1: self_consistency {SAME.format('temperature 0')} {OWN.format('self_consistency', 5)}",
}  # fmt: skip
WITH_PARAMS = [
    ("{best_of: 4, over: chain_of_thought}", "temperature: {choices: [0.0, 0.7]}", "", f"program.form: best_of {SAME.format('temperature 0')} {OWN.format('best_of', 4)}"),
    ("{best_of: 3}", "temperature: 0.5\n  seed: 7", "", f"program.form: best_of {SAME.format('seed 7')} Send seed to the other forms alone: `when: {{form: [...]}}`."),
    ("{self_consistency: 3}", "top_k: {choices: [1, 40]}", "", f"program.form: self_consistency {SAME.format('top_k 1')} Send top_k to the other forms alone: `when: {{form: [...]}}`."),
    ("{best_of: 3, temperature: 0.5}", "temperature: 0", "", "params.temperature: every form states a temperature of its own. Remove it."),
    ("predict", "temperature: 0", "verifier: {instruction: Check.}", "program.verifier: no form has a verifying call. Remove it, or add a form such as `{verify_then_retry: 1}`."),
    ("{verify_then_retry: 1}", "temperature: 0", "verifier: {instruction: ' '}", "program.verifier.instruction: got ' ', expected text that is not blank. Or leave it out."),
    ("{verify_then_retry: 1}", "temperature: 0", "verifier: {params: {temprature: 0}}", "program.verifier.params.temprature: unknown parameter. Did you mean 'temperature'?"),
    ("{verify_then_retry: 1}", "temperature: 0", "verifier: {params: {stream: true}}", "program.verifier.params.stream: a space file cannot set this parameter. Answers are read as a whole."),
    ("{verify_then_retry: 1}", "temperature: 0", "verifier: {params: {temperature: 3}}", "program.verifier.params.temperature: got 3, expected a number in [0, 2]. Lower it."),
]  # fmt: skip


def refusal(path: Path, form: str, params: str | None = None, verifier: str = "") -> str:
    """What is said of the good file with this form, without its place."""
    changes = [("format: [plain, json]", f"format: plain\n  form: {form}" + (f"\n  {verifier}" if verifier else ""))]
    if params is not None:
        changes.append(("temperature: {low: 0, high: 1.5}", params))
    path.write_text(broken(*changes))
    with pytest.raises(SpaceError) as found:
        check_space(load_space(path))
    return str(found.value).split(": ", 1)[1]


@pytest.mark.parametrize("form", BAD)
def test_a_form_that_cannot_be_is_refused_with_what_to_write(form: str, tmp_path: Path) -> None:
    assert refusal(tmp_path / "job.yaml", form).split("\n")[0] == BAD[form]


@pytest.mark.parametrize(("form", "params", "verifier", "said"), WITH_PARAMS, ids=[row[3][:60] for row in WITH_PARAMS])
def test_a_form_that_does_not_fit_the_params_is_refused(
    form: str, params: str, verifier: str, said: str, tmp_path: Path
) -> None:
    assert refusal(tmp_path / "job.yaml", form, params, verifier) == said


def test_a_seed_may_go_to_the_other_forms_alone(tmp_path: Path) -> None:
    params = "temperature: 0.5\n  seed: {value: 7, when: {form: [predict]}}"
    form = ("format: [plain, json]", "format: plain\n  form: [predict, {best_of: 3}]")
    (tmp_path / "job.yaml").write_text(broken(form, ("temperature: {low: 0, high: 1.5}", params)))
    check_space(load_space(tmp_path / "job.yaml"))


@given(
    st.sampled_from(KINDS), st.integers(2, 50), st.sampled_from(["predict", "chain_of_thought"]),
    st.none() | st.floats(0.001, 2).map(lambda value: float(f"{value:g}")),
)  # fmt: skip
def test_a_form_is_read_from_its_spelling(kind: str, n: int, over: str, temperature: float | None) -> None:
    form = ModuleSpec(kind=kind, n=n, over=over, temperature=temperature)
    assert spec_of(form.name) == form and form.module == ModuleSpec(kind=kind, n=n, over=over).name
    assert form.requests == {"self_consistency": n, "best_of": 2 * n, "verify_then_retry": 1 + 2 * n}[kind]
    if 3 <= n <= 10:
        stated = as_stated(form.module)
        assert spelled(ProgramPart.model_validate({"form": stated}).form) == form.module  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["predict", "chain_of_thought", "own"])
def test_a_form_of_one_request_is_spelled_as_ever(name: str) -> None:
    assert spec_of(name).name == spec_of(name).module == as_stated(name) == name
    assert not spec_of(name).several and spec_of(name).requests == 1
