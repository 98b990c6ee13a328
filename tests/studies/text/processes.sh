#!/bin/sh
# processes.sh MPIEXEC PREHEAT_TEXT DATA FOLDER: the runs on text spread over two processes give the table of one process.
# Skipped (77) without the model and the sentences, which `./run text --fetch` brings.
set -eu
mpiexec=$1
text=$2
data=$3
folder=$4
here=$(cd "$(dirname "$0")" && pwd)
export OPENBLAS_NUM_THREADS=1
if [ ! -d "$data/minilm" ] || [ ! -d "$data/sentiment" ]; then
  echo "skipped: no $data; ./run text --fetch brings it"
  exit 77
fi
rm -rf "$folder"
mkdir -p "$folder"

# run OUT LAUNCHER...
run() {
  out=$1
  shift
  "$@" "$text" --quick --data "$data" --sets tweets --methods head,lora,hrp --lrs 0.005 --seeds 1 --minutes 0 --no-report \
    --out "$folder/$out" >"$folder/$out.log" 2>&1 || { cat "$folder/$out.log"; exit 1; }
}
# All columns but the last, which are times.
table() { sed 's/,[^,]*$//' "$folder/$1/summary.csv" >"$folder/$1.table"; }

run one env
run two sh "$here/../../comm/mpirun.sh" "$mpiexec" 2
grep -q 'on 2 processes' "$folder/two.log" || { cat "$folder/two.log"; exit 1; }
table one
table two
cmp "$folder/one.table" "$folder/two.table"
[ "$(wc -l <"$folder/two/runs.jsonl")" = "$(wc -l <"$folder/one/runs.jsonl")" ]
