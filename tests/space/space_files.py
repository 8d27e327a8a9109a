"""A good space file to break, for the tests of this folder."""

GOOD = """\
schema_version: 1
name: tickets
task:
  signature:
    inputs:
      message: {desc: what the customer wrote}
    outputs:
      category:
        type: enum
        values: [billing, shipping, returns]
      urgency: {type: int}
dataset:
  path: tickets.jsonl
splits: {train: 10, search: 5, holdout: 5}
metric:
  kind: mix
  parts:
    - {kind: exact, field: category}
    - {kind: number, field: urgency}
incumbent:
  model: openai/gpt-4o
  instruction: short
  params: {temperature: 0.7}
models:
  - openai/gpt-4o
  - name: house
    api_base: http://127.0.0.1:8080/v1
instructions:
  short: Sort the message.
  long: Sort the message and say how urgent it is.
program:
  format: [plain, json]
demos:
  kind: [none, random]
  count: [2, 4]
params:
  temperature: {low: 0, high: 1.5}
  max_tokens: {choices: [32, 64]}
  reasoning_effort:
    choices: [low, high]
    when: {model: [openai/*]}
objectives:
  quality: {weight: 0.8, scale: [0, 1]}
  cost: {weight: 0.2, scale: [0.01, 0]}
budget: {usd: 5}
search: {sampler: tpe, trials: 20}
"""


def broken(*changes: tuple[str, str]) -> str:
    """The good file with each text replaced by another; each has to be there exactly once."""
    text = GOOD
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
        text = text.replace(old, new)
    return text
