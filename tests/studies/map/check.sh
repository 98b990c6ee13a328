#!/bin/sh
# check.sh PROGRAM FOLDER: the quick study prints every part, and a second time the same from the runs it kept.
set -eu
program=$(realpath "$1")
folder=$2
rm -rf "$folder"
mkdir -p "$folder"
cd "$folder"

"$program" --quick --out out >first
runs=$(wc -l <out/runs.jsonl)
cp out/report.txt first.txt
cp out/map.csv first.csv
"$program" --quick --out out >second
[ "$(wc -l <out/runs.jsonl)" = "$runs" ] || { echo "the second time it did runs again" >&2; exit 1; }
cmp out/report.txt first.txt
cmp out/map.csv first.csv
for part in 'in all' 'chosen:' 'by the size of the rows' 'share of the energy' 'confirmed on'; do
  grep -q "$part" first || { echo "not printed: $part" >&2; exit 1; }
done

# Half of the log, its last line cut off: the rest is done again, with the same numbers.
head -c "$(($(wc -c <out/runs.jsonl) / 2))" out/runs.jsonl >half
mv half out/runs.jsonl
"$program" --quick --out out >third
cmp out/map.csv first.csv

"$program" --no-such-option >/dev/null 2>&1 && { echo "an unknown option was taken" >&2; exit 1; }
"$program" --data missing.csv --out out2 2>error && { echo "missing data were taken" >&2; exit 1; }
grep -q 'missing.csv' error
