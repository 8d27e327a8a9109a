#!/bin/sh
# The whole story on real models, as a project of its own: a feature is promoted, its model retires, watch warns, migrate
# proposes a successor, the successor is promoted, and one step goes back. Stops where something is not as it should be.
#
#   scripts/story.sh [FOLDER]     (make story)
#
# Needs the embedded models (`make models`): no key, no account, no network. A few minutes on two cores.
set -eu

home=$(cd "$(dirname "$0")/.." && pwd)
OFFRAMP=${OFFRAMP:-offramp}
PYTHON=${PYTHON:-python3}
folder=${1:-$home/build/story}
rm -rf "$folder"
mkdir -p "$folder/examples/retirement" "$folder/datasets"
cp "$home/examples/retirement/support_triage.yaml" "$folder/examples/retirement/"
cp "$home/datasets/support_triage.jsonl" "$folder/datasets/"
cd "$folder"
unset OFFRAMP_RESULTS OFFRAMP_PROMOTIONS OFFRAMP_STORAGE || true
export OFFRAMP_BY="${OFFRAMP_BY:-you}" COLUMNS=120

say() { printf '\n# %s\n' "$*"; }

# expect CODE FILTER COMMAND...: shows the command, runs it, shows its output through FILTER, and checks how it ends.
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

no_plot='sed "/┌/,/^Ended/{/^Ended/!d;}"'
verdict='sed -n "1p;/ is [0-9a-f]* (/,\$p"'

say 'Today: one small model and a vague prompt. Search what can be had of that model; promote the winner with its evidence.'
expect 0 "$no_plot" offramp optimize examples/retirement/support_triage.yaml
expect 0 "$verdict" offramp promote latest --why 'first promotion'

say 'An app loads it in a few lines, and CI checks that it still holds.'
cat >app.py <<'APP'
import offramp

triage = offramp.load("support-triage")
answer = triage(message="I was charged twice this month, please refund one of them.")
print(answer.category, answer.urgency)
APP
expect 0 cat cat app.py
expect 0 cat python app.py
expect 0 cat offramp check support-triage

say 'A notice comes: the model retires. It goes into a file; watch ends with 3, so that a nightly job warns.'
yesterday=$("$PYTHON" -c 'import datetime as d; print(d.datetime.now(d.UTC).date() - d.timedelta(days=1))')
cat >lifecycle.yaml <<NOTICE
schema_version: 1
retirements:
  - model: local/smollm2-135m
    retires: $yesterday
    note: The team that serves it has switched it off.
NOTICE
expect 0 cat cat lifecycle.yaml
expect 3 cat offramp watch

say 'From the notice to a proposal: the config of today on the successors, then a search on them, then the holdout.'
expect 0 cat offramp migrate support-triage --trials 4 --out proposal.md
expect 0 cat sed '/^### Better/,/^## How/{/^## How/!d;}' proposal.md

say 'The proposal names the command. Promote; watch and check are content; and one step goes back if users complain.'
promote=$(sed -n 's/^\$ \(offramp promote .*\)$/\1/p' proposal.md)
expect 0 "$verdict" $promote --why 'smollm2 has retired'
expect 0 cat offramp watch
expect 0 cat offramp check support-triage
expect 0 "$verdict" offramp rollback support-triage --why 'only to show it'
expect 0 cat offramp history support-triage
rm -f .output
say "Done. Everything is in $folder."
