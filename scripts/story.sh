#!/bin/sh
# The whole story on real models, in a separate project: a feature is promoted, its model retires, watch warns, migrate
# proposes a better successor, the successor is promoted and then rolled back. Stops at the first unexpected outcome.
#
#   scripts/story.sh [FOLDER]     (make story)
#
# Needs the embedded models (`make models`): no key, no account, no network. About six minutes on two cores.
set -eu

home=$(cd "$(dirname "$0")/.." && pwd)
OFFRAMP=${OFFRAMP:-offramp}
PYTHON=${PYTHON:-python3}
folder=${1:-$home/build/story}
rm -rf "$folder"
mkdir -p "$folder/examples/retirement" "$folder/datasets"
cp "$home/examples/retirement/support_triage.yaml" "$folder/examples/retirement/"
cp "$home/datasets/support_triage.jsonl" "$folder/datasets/"
: >"$folder/pyproject.toml" # the project's folder, within which files are trusted
cd "$folder"
unset OFFRAMP_RESULTS OFFRAMP_PROMOTIONS OFFRAMP_STORAGE || true
export OFFRAMP_BY="${OFFRAMP_BY:-you}" COLUMNS=160

say() { printf '\n# %s\n' "$*"; }

# expect CODE FILTER COMMAND...: shows the command, runs it, shows its output through FILTER, and checks its exit code.
expect() {
    code=$1
    filter=$2
    shift 2
    printf '\n$'
    for word in "$@"; do
        case $word in *[!A-Za-z0-9_./=:,-]*) printf " '%s'" "$word" ;; *) printf ' %s' "$word" ;; esac
    done
    printf '\n'
    got=0
    run "$@" >.output || got=$?
    eval "$filter" <.output
    if [ "$got" -ne 0 ]; then printf '(exit code %s)\n' "$got"; fi
    if [ "$got" -ne "$code" ]; then
        printf 'story: expected exit code %s\n' "$code" >&2
        tail -n 5 progress.log >&2
        exit 1
    fi
}

run() {
    case $1 in
        offramp) shift && "$OFFRAMP" "$@" 2>>progress.log ;;
        python) shift && "$PYTHON" "$@" 2>>progress.log ;;
        *) "$@" ;;
    esac
}

found='sed -n "1p;/^Holdout/p;/^Ended/p"'
written='sed -n "/ is [0-9a-f]* (/,\$p"'
to=local/qwen2.5-coder-0.5b

say 'Today: a small model and a quickly written prompt. Search for the best it can do; promote the winner with its evidence.'
expect 0 "$found" offramp optimize examples/retirement/support_triage.yaml
expect 0 "$written" offramp promote latest --why 'first promotion'

say 'An app loads it in five lines, and CI checks that it still performs.'
cat >app.py <<'APP'
import offramp

triage = offramp.load("support-triage")
answer = triage(message="I was charged twice this month, please refund one of them.")
print(answer.category, answer.urgency)
APP
expect 0 cat cat app.py
expect 0 cat python app.py
expect 0 cat offramp check support-triage --concurrency 2

say 'The vendor announces that the model retires. Write it to a file; watch exits with 3, so a nightly job warns.'
yesterday=$("$PYTHON" -c 'import datetime as d; print(d.datetime.now(d.UTC).date() - d.timedelta(days=1))')
cat >lifecycle.yaml <<NOTICE
schema_version: 1
retirements:
  - model: local/smollm2-135m
    retires: $yesterday
    successors: [$to]
NOTICE
expect 0 cat cat lifecycle.yaml
expect 3 cat offramp watch

say "From the notice to a proposal: today's config on the successor, then a search on it, then the holdout."
expect 0 cat offramp migrate support-triage --to "$to" --out proposal.md

say 'Is it really better, not just no worse? The same command again makes no call; its JSON has the figures.'
run offramp migrate support-triage --to "$to" --out proposal.md --json >migration.json
"$PYTHON" - <<'CHECK'
import json
import sys

with open("migration.json", encoding="utf-8") as file:
    found = json.load(file)
before, after = found["today"]["holdout"]["quality"], found["proposed"]["holdout"]["quality"]
gain = found["proposed"]["against_today"]
low, high = (100 * gain["interval"][end] for end in ("low", "high"))
print(f"holdout quality: {before:.3f} today, {after:.3f} proposed ({found['proposed']['model']})")
print(f"{100 * gain['difference']:+.1f} points ({low:+.1f} to {high:+.1f}) on {gain['n']} examples: ", end="")
print(f"{gain['wins']} better, {gain['losses']} worse, {gain['ties']} the same")
sys.exit(None if after > before else "story: expected a proposal that is better than what runs today")
CHECK

say 'The proposal names the command. The same five lines now use the new model; one step rolls back if users complain.'
promote=$(sed -n 's/^\$ \(offramp promote .*\)$/\1/p' proposal.md)
expect 0 "$written" $promote --why 'smollm2 has retired'
expect 0 cat python app.py
expect 0 cat offramp watch
expect 0 cat offramp check support-triage --concurrency 2
expect 0 "$written" offramp rollback support-triage --why 'just to show it'
expect 0 cat offramp history support-triage
rm -f .output
say "Done. Everything is in $folder."
