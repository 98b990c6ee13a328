#!/bin/sh
# grid.sh MPIEXEC PREHEAT_COMPARE FOLDER: the runs of a comparison, spread over processes. One of four is killed on the
# way: all end, saying so, and what was finished is kept; the same command goes on from there, and the table is that of
# one process.
set -eu
mpiexec=$1
compare=$2
folder=$3
here=$(cd "$(dirname "$0")" && pwd)
export OPENBLAS_NUM_THREADS=1
rm -rf "$folder"
mkdir -p "$folder"

fail() {
  echo "FAILED: $1"
  cat "$folder"/*.log
  exit 1
}
# run OUT LAUNCHER...: the runs, with results in OUT and words in OUT.log
run() {
  out=$1
  shift
  "$@" "$compare" --quick --no-plots --no-row-norm --steps 60 --shifts rotated --methods lora,pissa,hrp,lora_pro,alora \
    --out "$folder/$out" >"$folder/$out.log" 2>&1
}
kept() { cat "$folder/many/runs.jsonl" 2>/dev/null | wc -l; }
# All columns but the last, which are times.
table() { sed 's/,[^,]*$//' "$folder/$1/summary.csv"; }

run one env || fail 'one process alone'
all=$(wc -l <"$folder/one/runs.jsonl")

run many sh "$here/../../comm/mpirun.sh" "$mpiexec" 4 &
launcher=$!
tries=0
while [ "$(kept)" -lt 3 ]; do
  tries=$((tries + 1))
  [ $tries -lt 3000 ] || fail 'no run was kept within a minute'
  sleep 0.02
done
# A process that works for the first: the third of mpirun's, which is timeout's, which is the launcher's.
mpirun=$(pgrep -P "$launcher" || echo "$launcher")
while [ "$(pgrep -c -P "$mpirun")" = 1 ]; do mpirun=$(pgrep -P "$mpirun"); done
kill -9 "$(pgrep -P "$mpirun" | sed -n 3p)"
if wait "$launcher"; then fail 'a killed process is no failure'; fi
grep -q 'signal 9 (Killed)' "$folder/many.log" || fail 'nothing says that a process was killed'
first=$(kept)
echo "killed after $first of $all runs"
[ "$first" -ge 3 ] && [ "$first" -lt "$all" ] || fail 'it was not killed in the middle'

head -n 3 "$folder/many/runs.jsonl" >"$folder/before"
run many sh "$here/../../comm/mpirun.sh" "$mpiexec" 2 || fail 'it does not go on'
grep -q "of them kept in" "$folder/many.log" || fail 'it begins anew'
head -n 3 "$folder/many/runs.jsonl" | cmp - "$folder/before" || fail 'finished runs were done again'
[ "$(kept)" = "$all" ] || fail 'there are other runs'
table one >"$folder/one.table"
table many | diff "$folder/one.table" - || fail 'the table is another'
echo "the same table of $all runs"

# A mistake of the user's ends all of them, with the program's words.
if sh "$here/../../comm/mpirun.sh" "$mpiexec" 2 "$compare" --methods nonsense --out "$folder/none" >"$folder/nonsense.log" 2>&1; then
  fail 'an unknown method is accepted'
fi
grep -q "no method 'nonsense'" "$folder/nonsense.log" || fail 'the mistake is not named'
