"""Space files with one mistake each, and the whole message that a person sees."""

from pathlib import Path

import pytest
from space_files import broken

from offramp.errors import SpaceError
from offramp.space.check import check_space
from offramp.space.load import instruction_texts, load_space

NOISE = ("Input should be", "type=", "validation error", "pydantic", "Traceback", "input_value", "function-after")

BAD = {
    "a temperature above 2": (
        [("high: 1.5", "high: 2.5")],
        [
            "job.yaml:37: params.temperature.high: got 2.5, expected a number in [0, 2]. Lower it.",
        ],
    ),
    "a number in quotes": (
        [("high: 1.5", "high: '1.5'")],
        [
            "job.yaml:37: params.temperature.high: got '1.5', expected a number. Remove the quotes.",
        ],
    ),
    "a range of one number": (
        [("{low: 0, high: 1.5}", "{low: 1, high: 1}")],
        [
            "job.yaml:37: params.temperature.high: got 1, expected a number above 1, which is `low`. Write a plain value for one number.",
        ],
    ),
    "a logarithm of nothing": (
        [("{low: 0, high: 1.5}", "{low: 0, high: 1.5, log: true}")],
        [
            "job.yaml:37: params.temperature.low: got 0, expected a number above 0 with `log: true`. Raise it, or remove `log`.",
        ],
    ),
    "a logarithm with steps": (
        [("{low: 0, high: 1.5}", "{low: 0.5, high: 1.5, log: true, step: 0.5}")],
        [
            "job.yaml:37: params.temperature.step: got 0.5, expected no `step` with `log: true`. Remove one of them.",
        ],
    ),
    "a step of nothing": (
        [("{low: 0, high: 1.5}", "{low: 0, high: 1.5, step: 0}")],
        [
            "job.yaml:37: params.temperature.step: got 0, expected a number above 0 or null.",
        ],
    ),
    "steps that nobody can count": (
        [("{low: 0, high: 1.5}", "{low: 0, high: 1.5, step: 1.0e-300}")],
        [
            "job.yaml:37: params.temperature.step: got 1e-300, expected at least 1.5e-15.",
        ],
    ),
    "a number that no grid can hold": (
        [("max_tokens: {choices: [32, 64]}", "num_ctx: {low: 0, high: 1.0e+300}")],
        [
            "job.yaml:38: params.num_ctx.high: got 1e+300, expected a number in [-1,000,000,000,000,000, 1,000,000,000,000,000].",
        ],
    ),
    "one number as two choices": (
        [("{low: 0, high: 1.5}", "{choices: [1, 0.5, 1.0]}")],
        [
            "job.yaml:37: params.temperature.choices.2: duplicate choice: 1.0 equals 1. Remove one of them.",
        ],
    ),
    "a switch and a number as two choices": (
        [("max_tokens: {choices: [32, 64]}", "logprobs: {choices: [true, 1, null, null]}")],
        [
            "job.yaml:38: params.logprobs.choices.1: duplicate choice: 1 equals true. Remove one of them.",
            "job.yaml:38: params.logprobs.choices.3: duplicate choice null. Remove one of them.",
        ],
    ),
    "a whole number beyond 64 bits": (
        [("trials: 20", "trials: 1.0e+300")],
        [
            "job.yaml:46: search.trials: got 1.0e+300, expected a whole number of 1 or more or null.",
        ],
    ),
    "labels for text": (
        [("{type: int}", "{type: str, values: [a, b]}")],
        [
            "job.yaml:11: task.signature.outputs.urgency.values: got a list, expected no `values` with `type: str`. Remove it, or set `type: enum`.",
        ],
    ),
    "a duplicate label": (
        [("[billing, shipping, returns]", "[billing, billing]")],
        [
            "job.yaml:10: task.signature.outputs.category.values: got billing, billing, expected two or more different labels.",
        ],
    ),
    "a module without names": (
        [
            (
                "    inputs:\n      message: {desc: what the customer wrote}\n    outputs:\n      category:\n        type: enum\n        values: [billing, shipping, returns]\n      urgency: {type: int}\n",
                "",
            ),
            ("  signature:\n", "  module: a:B\n"),
        ],
        [
            "job.yaml:3: task.inputs: got none, expected the names of the module's fields. Write `inputs: [...]`.",
        ],
    ),
    "two sources of data": (
        [("path: tickets.jsonl", "path: tickets.jsonl\n  hub: a/b")],
        [
            "job.yaml:12: dataset: got both, expected either `path` or `hub`. Remove one of them.",
        ],
    ),
    "no source of data": (
        [("path: tickets.jsonl", "limit: 20")],
        [
            "job.yaml:12: dataset: got neither, expected either `path` or `hub`. Add `path:`.",
        ],
    ),
    "a path of nothing": (
        [("path: tickets.jsonl", "path: ''\n  id: ' '")],
        [
            "job.yaml:13: dataset.path: got '', expected text that is not blank.",
            "job.yaml:14: dataset.id: got ' ', expected text that is not blank.",
        ],
    ),
    "a split below nothing": (
        [("train: 10", "train: -1")],
        [
            "job.yaml:14: splits.train: got -1, expected a share below 1, or a whole count up to 1,000,000,000.",
        ],
    ),
    "a count that is not whole": (
        [("search: 5", "search: 1.5")],
        [
            "job.yaml:14: splits.search: got 1.5, expected a share below 1, or a whole count up to 1,000,000,000.",
        ],
    ),
    "values of a column without it": (
        [("train: 10", "train: [a]")],
        [
            "job.yaml:14: splits.train: got a list, expected a share below 1 or a count. Lists of values go with `column:`.",
        ],
    ),
    "a column without its values": (
        [("train: 10", "column: part, train: [a]")],
        [
            "job.yaml:14: splits.search: got 5, expected a list of values of 'part', the `column`. Write `search: [...]`.",
        ],
    ),
    "prices beyond all reason": (
        [("api_base: http://127.0.0.1:8080/v1", "price: {input_usd: 1.0e+300, output_usd: 1}\n    route: ' '")],
        [
            "job.yaml:27: models.1.price.input_usd: got 1e+300, expected at most 100,000 USD per million tokens.",
            "job.yaml:28: models.1.route: got ' ', expected a LiteLLM model name. Leave it out to call `name`.",
        ],
    ),
    "a number where the name of a key's variable belongs": (
        [("api_base: http://127.0.0.1:8080/v1", "api_key_env: 12345678")],
        [
            "job.yaml:27: models.1.api_key_env: expected text or null.",
        ],
    ),
    "a range without low": (
        [("{low: 0, high: 1.5}", "{high: 1.5}")],
        [
            "job.yaml:37: params.temperature.low is missing: expected a number. Add `low:`.",
        ],
    ),
    "misspelt keys of a range": (
        [("{low: 0, high: 1.5}", "{lo: 0, hig: 1.5}")],
        [
            "job.yaml:37: params.temperature.lo: unknown key. Did you mean 'low' or 'log'?",
            "job.yaml:37: params.temperature.hig: unknown key. Did you mean 'high'?",
        ],
    ),
    "a range with choices": (
        [("{low: 0, high: 1.5}", "{low: 0, high: 1.5, choices: [1]}")],
        [
            "job.yaml:37: params.temperature.choices: unknown key: expected one of `low`, `high`, `step`, `log`, `type` or `when`.",
        ],
    ),
    "low above high": (
        [("{low: 0, high: 1.5}", "{low: 1.5, high: 0}")],
        [
            "job.yaml:37: params.temperature.high: got 0, expected a number above 1.5, which is `low`. Swap them.",
        ],
    ),
    "a bare list of choices": (
        [("{low: 0, high: 1.5}", "[0, 0.5]")],
        [
            "job.yaml:37: params.temperature: got a list, expected a plain value, a mapping with `low` and `high`, a mapping with `choices` or a mapping with `value`. Write the values as `{choices: [...]}`.",
        ],
    ),
    "a param without a value": (
        [("{low: 0, high: 1.5}", "null")],
        [
            "job.yaml:37: params.temperature: got null, expected a plain value, a mapping with `low` and `high`, a mapping with `choices` or a mapping with `value`.",
        ],
    ),
    "an empty mapping for a param": (
        [("{low: 0, high: 1.5}", "{}")],
        [
            "job.yaml:37: params.temperature: got a mapping, expected a plain value, a mapping with `low` and `high`, a mapping with `choices` or a mapping with `value`.",
        ],
    ),
    "yes and no as labels": (
        [("[billing, shipping, returns]", "[yes, no]")],
        [
            "job.yaml:10: task.signature.outputs.category.values.0: got yes, which YAML reads as true, expected text. Quote it: 'yes'.",
            "job.yaml:10: task.signature.outputs.category.values.1: got no, which YAML reads as false, expected text. Quote it: 'no'.",
        ],
    ),
    "numbers as labels": (
        [("[billing, shipping, returns]", "[1, 2]")],
        [
            "job.yaml:10: task.signature.outputs.category.values.0: got 1, expected text. Quote it: '1'.",
            "job.yaml:10: task.signature.outputs.category.values.1: got 2, expected text. Quote it: '2'.",
        ],
    ),
    "a tilde as label": (
        [("[billing, shipping, returns]", "[~, a]")],
        [
            "job.yaml:10: task.signature.outputs.category.values.0: got ~, which YAML reads as null, expected text. Quote it: '~'.",
        ],
    ),
    "on as the name of a variant": (
        [("  short: Sort the message.\n", "  on: Sort the message.\n")],
        [
            "job.yaml:29: instructions.on: the key: got on, which YAML reads as true, expected text. Quote it: 'on'.",
        ],
    ),
    "a number as the name of a variant": (
        [("  short: Sort the message.\n", "  1: Sort the message.\n")],
        [
            "job.yaml:29: instructions.1: the key: got 1, expected text. Quote it: '1'.",
        ],
    ),
    "a file of a later version": (
        [("schema_version: 1", "schema_version: 2")],
        [
            "job.yaml:1: schema_version: got 2, expected 1, the version that this release of offramp reads. Upgrade offramp, or rewrite the file for this version.",
        ],
    ),
    "the version in quotes": (
        [("schema_version: 1", "schema_version: '1'")],
        [
            "job.yaml:1: schema_version: got '1', expected 1. Remove the quotes.",
        ],
    ),
    "a misspelt key": (
        [("trials: 20", "trails: 20")],
        [
            "job.yaml:46: search.trails: unknown key. Did you mean 'trials'?",
        ],
    ),
    "a misspelt required key": (
        [("name: tickets", "nmae: tickets")],
        [
            "job.yaml:2: nmae: unknown key. Did you mean 'name'?",
        ],
    ),
    "a key at the top that belongs deeper": (
        [("name: tickets", "name: tickets\ntrials: 20")],
        [
            "job.yaml:3: trials: unknown key. It belongs under `search`.",
        ],
    ),
    "a misspelt metric": (
        [("kind: number", "kind: numbr")],
        [
            "job.yaml:19: metric.parts.1.kind: got 'numbr', expected one of `exact`, `token_f1`, `contains`, `regex`, `number`, `length`, `json_fields`, `python`, `judge` or `mix`. Did you mean 'number'?",
        ],
    ),
    "a metric without kind": (
        [("{kind: number, field: urgency}", "{field: urgency}")],
        [
            "job.yaml:19: metric.parts.1.kind is missing: expected one of `exact`, `token_f1`, `contains`, `regex`, `number`, `length`, `json_fields`, `python`, `judge` or `mix`. Add `kind:`.",
        ],
    ),
    "a metric that is a word": (
        [("    - {kind: number, field: urgency}", "    - exact")],
        [
            "job.yaml:19: metric.parts.1: got 'exact', expected a mapping with `kind`.",
        ],
    ),
    "an enum without values": (
        [("        values: [billing, shipping, returns]\n", "")],
        [
            "job.yaml:8: task.signature.outputs.category.values: got none, expected `values` with `type: enum`. Add `values:`.",
        ],
    ),
    "a misspelt type": (
        [("type: int", "type: integer")],
        [
            "job.yaml:11: task.signature.outputs.urgency.type: got 'integer', expected one of str, int, float, bool, enum, list[str], object, list[object]. Did you mean 'int'?",
        ],
    ),
    "trials in quotes": (
        [("trials: 20", "trials: '20'")],
        [
            "job.yaml:46: search.trials: got '20', expected a whole number of 1 or more or null. Remove the quotes.",
        ],
    ),
    "no trials": (
        [("trials: 20", "trials: 0")],
        [
            "job.yaml:46: search.trials: got 0, expected a whole number of 1 or more or null.",
        ],
    ),
    "yes for a number": (
        [("trials: 20", "trials: yes")],
        [
            "job.yaml:46: search.trials: got yes, which YAML reads as true, expected a whole number of 1 or more or null.",
        ],
    ),
    "too many at the same time": (
        [("trials: 20", "concurrency: 5000")],
        [
            "job.yaml:46: search.concurrency: got 5000, expected a whole number in [1, 1024].",
        ],
    ),
    "a misspelt sampler": (
        [("sampler: tpe", "sampler: tpee")],
        [
            "job.yaml:46: search.sampler: got 'tpee', expected one of tpe, nsga2, random, grid, gp. Did you mean 'tpe'?",
        ],
    ),
    "no models": (
        [("models:\n  - openai/gpt-4o\n  - name: house\n    api_base: http://127.0.0.1:8080/v1\n", "models: []\n")],
        [
            "job.yaml:24: models: got an empty list, expected a list of one or more values.",
        ],
    ),
    "one model without a list": (
        [
            (
                "models:\n  - openai/gpt-4o\n  - name: house\n    api_base: http://127.0.0.1:8080/v1\n",
                "models: openai/gpt-4o\n",
            )
        ],
        [
            "job.yaml:24: models: got 'openai/gpt-4o', expected a list of one or more values. Write it as a list: [openai/gpt-4o].",
        ],
    ),
    "an API key in the file": (
        [("api_base: http://127.0.0.1:8080/v1", "api_key: sk-abcdefg")],
        [
            "job.yaml:27: models.1.api_key: unknown key. Put the key into an environment variable, and name that with `api_key_env`.",
        ],
    ),
    "a key where its variable is named": (
        [("api_base: http://127.0.0.1:8080/v1", "api_key_env: sk-abcdefg")],
        [
            "job.yaml:27: models.1.api_key_env: expected the name of an environment variable, such as OPENAI_API_KEY. Keep the key itself out of the file.",
        ],
    ),
    "a duplicate model": (
        [("name: house", "name: openai/gpt-4o")],
        [
            "job.yaml:26: models.1: duplicate model 'openai/gpt-4o', first listed in line 25. Remove one of them.",
        ],
    ),
    "a duplicate key": (
        [("budget: {usd: 5}", "budget: {usd: 5}\nsearch: {}")],
        [
            "job.yaml:47: search: duplicate key, first in line 46. Remove one of them.",
        ],
    ),
    "a colon in a text": (
        [("  short: Sort the message.\n", "  short: Sort: the message.\n")],
        [
            "job.yaml:29: not YAML: a `:` in the wrong place. Quote text with `: `, and check the indent.",
        ],
    ),
    "a tab as indent": (
        [("  short: Sort the message.\n", "\tshort: Sort the message.\n")],
        [
            "job.yaml:29: not YAML: a character that cannot start a value. Indent with spaces, and quote the text.",
        ],
    ),
    "a wrong indent": (
        [("  short: Sort the message.\n", " short: Sort the message.\n")],
        [
            "job.yaml:30: not YAML: a `:` in the wrong place. Quote text with `: `, and check the indent.",
        ],
    ),
    "an open quote": (
        [("  short: Sort the message.\n", "  short: 'Sort the message.\n")],
        [
            "job.yaml:29: not YAML: a quote that is not closed. Close it, or write a block of text after `|`.",
        ],
    ),
    "braces without quotes": (
        [("  short: Sort the message.\n", "  short: {{message}}\n")],
        [
            "job.yaml:29: instructions.short: the key is a list or a mapping: expected text. Quote text that starts with `{` or `[`.",
        ],
    ),
    "an open brace": (
        [("trials: 20}", "trials: 20")],
        [
            "job.yaml:46: not YAML: a mapping in `{` that is not closed. Close it with `}`, and quote text that holds `}`.",
        ],
    ),
    "a tag that would make an object": (
        [("  short: Sort the message.\n", "  short: !!python/name:os.system x\n")],
        [
            "job.yaml:29: instructions.short: YAML tags are not supported: got 'tag:yaml.org,2002:python/name:os.system'. Remove the tag.",
        ],
    ),
    "a custom tag": (
        [("budget: {usd: 5}", "budget: !my {usd: 5}")],
        [
            "job.yaml:45: budget: YAML tags are not supported: got '!my'. Remove the tag.",
        ],
    ),
    "an infinite budget": (
        [("usd: 5", "usd: .inf")],
        [
            "job.yaml:45: budget.usd: got .inf, expected a finite number that fits into 64 bits.",
        ],
    ),
    "a number beyond 64 bits": (
        [("usd: 5", "usd: 999999999999999999999999")],
        [
            "job.yaml:45: budget.usd: got 999999999999999999999999, expected a finite number that fits into 64 bits.",
        ],
    ),
    "a budget of millions": (
        [("usd: 5", "usd: 5000000")],
        [
            "job.yaml:45: budget.usd: got 5000000, expected at most 100,000 USD. Leave it out for no cap.",
        ],
    ),
    "a negative budget": (
        [("usd: 5", "usd: -5")],
        [
            "job.yaml:45: budget.usd: got -5, expected a number above 0 or null.",
        ],
    ),
    "weights without a finite sum": (
        [("weight: 0.8", "weight: 1.0e+308"), ("{kind: exact, field", "{kind: exact, weight: 1.0e+308, field")],
        [
            "job.yaml:18: metric.parts.0.weight: got 1e+308, expected at most 1,000,000. Only the proportions count.",
            "job.yaml:43: objectives.quality.weight: got 1e+308, expected at most 1,000,000. Only the proportions count.",
        ],
    ),
    "a scale the wrong way round": (
        [("scale: [0.01, 0]", "scale: [0, 0.01]")],
        [
            "job.yaml:44: objectives.cost.scale: got [0, 0.01], expected [worst, best], and less is better. Swap them: [0.01, 0].",
        ],
    ),
    "a scale of three": (
        [("scale: [0.01, 0]", "scale: [0, 0.01, 2]")],
        [
            "job.yaml:44: objectives.cost.scale: got a list, expected a list of 2 numbers.",
        ],
    ),
    "a misspelt scale": (
        [("scale: [0.01, 0]", "scale: incumbnt")],
        [
            "job.yaml:44: objectives.cost.scale: got 'incumbnt', expected incumbent, a list of 2 numbers or null. Did you mean 'incumbent'?",
        ],
    ),
    "weights of nothing": (
        [("weight: 0.8", "weight: 0"), ("weight: 0.2", "weight: 0"), ("budget: {usd: 5}", "  latency: null")],
        [
            "job.yaml:42: objectives: got only weights of 0, expected at least one `weight` above 0. Raise one.",
        ],
    ),
    "a misspelt variant of the incumbent": (
        [("instruction: short", "instruction: shrot")],
        [
            "job.yaml:22: incumbent.instruction: got 'shrot', expected a variant under `instructions` (short, long). Did you mean 'short'?",
        ],
    ),
    "a misspelt parameter of the incumbent": (
        [("params: {temperature: 0.7}", "params: {temprature: 0.7}")],
        [
            "job.yaml:23: incumbent.params.temprature: unknown parameter. Did you mean 'temperature'?",
        ],
    ),
    "a condition on an unknown param": (
        [("when: {model: [openai/*]}", "when: {modle: [openai/*]}")],
        [
            "job.yaml:41: params.reasoning_effort.when.modle: unknown param. Did you mean 'model'?",
        ],
    ),
    "a condition on an unknown model": (
        [("when: {model: [openai/*]}", "when: {model: [opnai/gpt-4o]}")],
        [
            "job.yaml:41: params.reasoning_effort.when.model.0: got 'opnai/gpt-4o', expected a value of that param (openai/gpt-4o, house). Did you mean 'openai/gpt-4o'?",
        ],
    ),
    "a condition without a list": (
        [("when: {model: [openai/*]}", "when: {model: openai/*}")],
        [
            "job.yaml:41: params.reasoning_effort.when.model: got 'openai/*', expected a list of values. Write it as a list: [openai/*].",
        ],
    ),
    "a condition on itself": (
        [("when: {model: [openai/*]}", "when: {reasoning_effort: [low]}")],
        [
            "job.yaml:41: params.reasoning_effort.when.reasoning_effort: a param cannot depend on itself. Name another param.",
        ],
    ),
    "a condition on text for a number": (
        [("when: {model: [openai/*]}", "when: {demos.count: ['4']}")],
        [
            "job.yaml:41: params.reasoning_effort.when.demos.count.0: got '4', expected a value of that param (2, 4).",
        ],
    ),
    "conditions in a circle": (
        [
            ("{choices: [32, 64]}", "{choices: [32, 64], when: {reasoning_effort: [low]}}"),
            ("when: {model: [openai/*]}", "when: {max_tokens: [32]}"),
        ],
        [
            "job.yaml:38: params.max_tokens.when: the conditions of `max_tokens` and `reasoning_effort` depend on each other. Remove one of them.",
        ],
    ),
    "a param called model": (
        [("max_tokens: {", "model: {")],
        [
            "job.yaml:38: params.model: the name is reserved for a param of the program. List models under `models`.",
        ],
    ),
    "params that are not for the file to set": (
        [("max_tokens: {choices: [32, 64]}", "demos.count: 4\n  n: 3")],
        [
            "job.yaml:38: params.demos.count: the name is reserved for a param of the program. Set them under `demos`.",
            "job.yaml:39: params.n: a space file cannot set this parameter. One answer is asked for at a time.",
        ],
    ),
    "bad values of max_tokens": (
        [("[32, 64]", "[0, 64.5, x]")],
        [
            "job.yaml:38: params.max_tokens.choices.0: got 0, expected a whole number in [1, 10,000,000]. Raise it.",
            "job.yaml:38: params.max_tokens.choices.1: got 64.5, expected a whole number in [1, 10,000,000].",
            "job.yaml:38: params.max_tokens.choices.2: got 'x', expected a whole number in [1, 10,000,000].",
        ],
    ),
    "form own without a module": (
        [("format: [plain, json]", "form: own")],
        [
            "job.yaml:32: program.form: got 'own', expected a form that fits `task.signature`. Use predict or chain_of_thought, or give `task.module`.",
        ],
    ),
    "a constrained list in the plain format": (
        [
            ("format: [plain, json]", "constrained: true"),
            ("type: int", "type: 'list[str]'"),
            ("{kind: number, field: urgency}", "{kind: exact, field: urgency}"),
        ],
        [
            "job.yaml:32: program.constrained: the plain format cannot be constrained for lists and objects (`urgency`). Use the json format (`format: json`), or set it to false.",
        ],
    ),
    "demos without a train split": (
        [("train: 10", "train: 0")],
        [
            "job.yaml:34: demos.kind: random demos come from the train split, and `splits.train` is empty. Give it a share or a count, or set the kind to none.",
        ],
    ),
    "demos without a count": (
        [("count: [2, 4]", "count: 0")],
        [
            "job.yaml:35: demos.count: got 0, expected 1 or more, since `demos.kind` asks for demos. Give a count, or set `kind: none` instead of random.",
        ],
    ),
    "counts of demos out of range": (
        [("count: [2, 4]", "count: [-2, 40]")],
        [
            "job.yaml:35: demos.count.0: got -2, expected a whole number of 0 or more.",
            "job.yaml:35: demos.count: got 40, expected at most 10, the size of `splits.train`.",
        ],
    ),
    "a grid over an open range": (
        [("sampler: tpe", "sampler: grid")],
        [
            "job.yaml:37: params.temperature: a range without a `step` has no finite number of values, and search.sampler is grid. Give it a `step`, write `choices`, or use another `search.sampler`.",
        ],
    ),
    "a metric of an unknown field": (
        [("kind: number, field: urgency", "kind: number, field: urgncy")],
        [
            "job.yaml:19: metric.parts.1.field: got 'urgncy', expected an output of the task (category, urgency). Did you mean 'urgency'?",
        ],
    ),
    "a text in a file that is not there": (
        [("short: Sort the message.", "short: {file: none.txt}")],
        [
            "job.yaml:29: instructions.short.file: there is no such file: got 'none.txt', expected a file in FOLDER. Check the path: it starts at the folder of the space file.",
        ],
    ),
    "a misspelt file key": (
        [("short: Sort the message.", "short: {flie: none.txt}")],
        [
            "job.yaml:29: instructions.short: a mapping of variants: expected text. Write `name: text`, or `name: {file: path}`; only a module has named predictors.",
        ],
    ),
    "texts next to predictors": (
        [("short: Sort the message.", "main: {a: b}")],
        [
            "job.yaml:30: instructions.long: a text next to predictors: expected either variants with their texts, or predictors with their variants, not both.",
        ],
    ),
    "a blank text": (
        [("short: Sort the message.", "short: ''")],
        [
            "job.yaml:29: instructions.short: got '', expected text that is not blank.",
        ],
    ),
    "a variant without text": (
        [("  short: Sort the message.\n", "  short:\n")],
        [
            "job.yaml:29: instructions.short: has no text. Write it, or remove the variant.",
        ],
    ),
    "a name with a space": (
        [("name: tickets", "name: my tickets")],
        [
            "job.yaml:2: name: got 'my tickets', expected a name of letters, digits, `.`, `_` and `-` (at most 64).",
        ],
    ),
    "a word for a number": (
        [("usd: 5", "usd: lots")],
        [
            "job.yaml:45: budget.usd: got 'lots', expected a number above 0 or null.",
        ],
    ),
    "shares above 1": (
        [("train: 10", "train: 0.9"), ("search: 5", "search: 0.9")],
        [
            "job.yaml:14: splits: got train 0.9 + search 0.9, expected shares that add up to 1 or less. Lower one of them.",
        ],
    ),
    "three problems at once": (
        [("name: tickets", "name: [a]"), ("trials: 20", "trials: x"), ("high: 1.5", "high: true")],
        [
            "job.yaml:2: name: got a list, expected a name of letters, digits, `.`, `_` and `-` (at most 64).",
            "job.yaml:37: params.temperature.high: got true, expected a number.",
            "job.yaml:46: search.trials: got 'x', expected a whole number of 1 or more or null.",
        ],
    ),
}


def refusal(text):
    """The message for a file; its path is as short as in a person's terminal."""
    Path("job.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SpaceError) as caught:
        loaded = load_space(Path("job.yaml"))
        check_space(loaded)
        instruction_texts(loaded)
    return str(caught.value)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_the_whole_message(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes, lines = BAD[name]
    message = refusal(broken(*changes))
    assert message.replace(str(tmp_path.resolve()), "FOLDER").split("\n") == lines
    assert not [noise for noise in NOISE if noise in message]


def test_every_message_has_file_and_full_stop():
    for _, lines in BAD.values():
        assert all(line.startswith("job.yaml:") and line.endswith((".", "?", "'")) for line in lines)


def test_the_good_file_is_good(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(broken(), encoding="utf-8")
    check_space(load_space(path))
