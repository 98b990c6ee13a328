#!/bin/sh
# demo.sh PROGRAM MODEL_FOLDER OUT [--short]: SmolLM2 learns to define words. MODEL_FOLDER is what studies/lm/fetch.sh brings: the
# model and WordNet, of which OUT/train.jsonl and OUT/held.jsonl are samples, no word in both. Then the adapter is trained,
# and words of the held-out sample are defined without and with it.
set -eu
program=$1
from=$2
out=$3
steps=40
[ "${4:-}" != --short ] || steps=6

rm -rf "$out"
mkdir -p "$out"
# A line of data.noun: number file type words WORD … | gloss; "an example". Every 300th noun of small letters.
awk -v train="$out/train.jsonl" -v held="$out/held.jsonl" '
  /^  / || !/ \| / { next }
  { word = $5; gloss = substr($0, index($0, " | ") + 3); sub(/; *".*/, "", gloss); sub(/ *$/, "", gloss) }
  word !~ /^[a-z_]+$/ || gloss ~ /["\\]/ || length(gloss) < 20 || length(gloss) > 120 || seen[word]++ { next }
  ++n % 100 == 0 {
    gsub(/_/, " ", word)
    line = "{\"prompt\": \"" word ":\", \"completion\": \" " gloss "\"}"
    print line > (n % 1000 == 0 ? held : train)
  }' "$from/wordnet/data.noun"

"$program" "$from/model.gguf" --data "$out/train.jsonl" --eval "$out/held.jsonl" --method hrp --rank 8 --rate 3e-4 \
  --steps "$steps" --eval-every 20 --gguf "$out/adapter.gguf" --out "$out/adapter" | tee "$out/stdout"
sed -n 's/.*held-out loss \([0-9.]*\) to \([0-9.]*\);.*/\1 \2/p' "$out/stdout" |
  awk '{ fell = $2 < $1 - 0.3 } END { if (!fell) { print "the held-out loss did not fall" > "/dev/stderr"; exit 1 } }'
for word in $(awk -F'"' 'NR % 9 == 1 && $4 !~ / / { print $4 }' "$out/held.jsonl" | head -n 3); do
  set -- "$@" --prompt "$word"
done
shift 3
[ "${1:-}" != --short ] || shift
"$program" generate "$from/model.gguf" --adapter "$out/adapter" --max-tokens 24 "$@"
