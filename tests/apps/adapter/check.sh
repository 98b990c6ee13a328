#!/bin/sh
# check.sh PROGRAM GOLDEN DIR: what preheat-adapter does with bad input and interruptions. Every refusal is one
# line on standard error and exit status 2, and leaves nothing behind; every command also works once.
set -eu
. "$(dirname "$0")/../refusals.sh"
program=$(realpath "$1")
golden=$(realpath "$2")
dir=$3
rm -rf "$dir"
mkdir -p "$dir"
cd "$dir"
outputs='out*'  # of commands that are refused

reduce() {
  "$program" reduce "$@" --rank 2 --out out
}

# copy NAME: a good adapter to be broken.
copy() {
  rm -rf "$1"
  cp -r "$golden/bert/a_plain/adapter" "$1"
  chmod -R u+w "$1"
}
model=adapter_model.safetensors

good=$golden/bert/a_plain/adapter
works "help" "$program" --help
works "help of a command" "$program" hrp --help
works "hrp" "$program" hrp "$good" --rank 2 --out good-hrp
works "reduce" "$program" reduce "$good" --energy 0.9 --out good-reduce --json good.json
works "a sum" "$program" reduce "$good" "$good" --weights 0.5 0.5 --rank 2 --dtype bf16 --out good-sum
works "merge" "$program" merge good-sum --base "$golden/bert/a_plain/base" --out good-merge.safetensors
works "convert" "$program" convert "$golden/conversion/pissa/trained" --initial "$golden/conversion/pissa/init" --out good-convert
works "init" "$program" init orthogonal --base "$golden/bert/a_plain/base" --rank 2 --targets '.*query' --out good-init
works "merge to a folder" "$program" merge "$good" --base "$golden/bert/a_plain/base" --out good-model/
[ -f good-model/config.json ] || complain "merge to a folder" "no config.json"
works "version" "$program" --version
for type in fp16 BF16 bfloat16 float32; do
  works "dtype $type" "$program" reduce "$good" --rank 2 --out "good-$type" --dtype "$type"
done
works "inspect" "$program" inspect "$good" good-hrp
works "dry run" "$program" hrp "$good" --rank 2 --out out --dry-run
[ ! -e out ] || complain "dry run" "it wrote"
works "again" "$program" reduce "$good" --energy 0.9 --out good-again --threads 1
cmp good-reduce/$model good-again/$model || complain "the same bytes for one thread and for all"

refused "no command" "subcommand is required" "$program"
refused "misspelt command" 'no command "redcue", do you mean reduce' "$program" redcue "$good" --rank 2 --out out
refused "unknown dtype" '"fp8" is none of F32' "$program" reduce "$good" --rank 2 --out out --dtype fp8
refused "dry run to nowhere" "there is no folder none" "$program" reduce "$good" --rank 2 --out none/out --dry-run
refused "report to nowhere" "there is no folder none" "$program" reduce "$good" --rank 2 --out out --json none/report.json
refused "report that exists" "exists already" "$program" reduce "$good" --rank 2 --out out --json good.json
refused "targets" "matches no module" "$program" init orthogonal --base "$golden/bert/a_plain/base" --rank 2 --targets _nothing --out out
refused "unknown option" "was not expected" "$program" hrp "$good" --rank 2 --out out --nonsense
refused "no rank" "rank is required" "$program" hrp "$good" --out out
refused "no criterion" "is needed" "$program" reduce "$good" --out out
refused "rank 0" "a rank is 1 or more" "$program" hrp "$good" --rank 0 --out out
refused "rank above the preheating rank" "it was preheated at rank" "$program" hrp "$good" --rank 99 --out out
refused "missing folder" "no such file" reduce nowhere
refused "output exists" "exists already" "$program" reduce "$good" --rank 2 --out good-hrp
refused "output in no folder" "none/out" "$program" reduce "$good" --rank 2 --out none/out
refused "adapter on a residual base" "residual base" reduce "$golden/conversion/pissa/trained"
refused "shapes of another model" "no tensor .fc1.weight" "$program" merge "$golden/conversion/pissa/converted" --base "$golden/bert/a_plain/base" --out out.safetensors

copy broken
rm broken/adapter_config.json
refused "no config" "adapter_config.json" reduce broken
copy broken
echo '{' >broken/adapter_config.json
refused "broken config" "not JSON" reduce broken
mkdir above
cp -r "$good" above/named
refused "adapter in a subfolder" "there is one in above/named" reduce above
printf 'PK\003\004 archive/data.pkl' >pickle.bin
refused "pickle" "pickle of PyTorch" reduce pickle.bin
copy broken
rm broken/$model
refused "no tensors" "neither adapter_model.safetensors" reduce broken
copy broken
head -c 9000 "$good/$model" >broken/$model
refused "truncated" "go beyond the\|end at byte" reduce broken
copy broken
LC_ALL=C sed -i 's/layer.0.attention.self.query.lora_B/layer.0.attention.self.query.lora_X/' broken/$model
refused "missing partner" "its partner B is missing" reduce broken
copy broken
length=$(od -An -t u8 -N 8 "$good/$model" | tr -d ' ')
printf '\000\000\300\177' | dd of=broken/$model bs=1 seek=$((length + 8)) conv=notrunc 2>/dev/null
refused "NaN" 'dense.lora_A.weight" has a NaN' reduce broken
refused "NaN, hrp" 'dense.lora_A.weight" has a NaN' "$program" hrp broken --rank 2 --out out
copy broken
printf '\377\377\377\377\377\377\377\177{}' >broken/$model
refused "a header of 2^63 bytes" "header length <=" reduce broken

# header JSON: a file with that header and no data.
header() {
  printf "\\$(printf %o ${#1})\\000\\000\\000\\000\\000\\000\\000%s" "$1" >broken/$model
}
header '{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}'
refused "negative offsets" "not an integer >= 0" reduce broken
header '{"a":[[[[[[[[]]]]]]]]}'
refused "deep JSON" "nested at most" reduce broken
header '{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{}}'
refused "the same key twice" "occurs twice" reduce broken
header '{"a":{"dtype":"F32","shape":[9223372036854775807,9],"data_offsets":[0,0]}}'
refused "a shape that overflows" "overflows" reduce broken

mkdir quantized
header() {
  printf "\\$(printf %o ${#1})\\000\\000\\000\\000\\000\\000\\000%s%s" "$1" "$2" >quantized/model.safetensors
}
header '{"fc1.weight":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}}' ab
refused "quantized base" "quantized base" "$program" merge "$golden/conversion/pissa/converted" --base quantized --out out.safetensors
refused "quantized base, init" "quantized base" "$program" init orthogonal --base quantized --rank 1 --targets fc1 --out out

# A full disk: here a limit on the size of files.
refused "disk full" "cannot write: File too large" sh -c 'ulimit -f 4; exec "$@"' sh \
  "$program" generate --shape tiny --rank 32 --out out

# Ctrl-C and SIGTERM in the middle of the work.
for signal in INT TERM; do
  code=0
  "$program" generate --shape llama-7b --rank 32 --out out >stdout 2>stderr &
  process=$!
  while [ -z "$(find . -name 'adapter_model.safetensors.tmp*' -size +100k)" ] && kill -0 $process 2>/dev/null; do
    sleep 0.05
  done
  kill -$signal $process
  wait $process || code=$?
  [ "$code" = 2 ] || complain "SIG$signal" "exit status $code, not 2" "$(cat stderr)"
  grep -q "interrupted; nothing was written" stderr || complain "SIG$signal" "$(cat stderr)"
  left=$(find . -maxdepth 1 -name 'out*')
  [ -z "$left" ] || complain "SIG$signal" "left behind: $left"
done

# Killed: nothing is left behind.
"$program" generate --shape llama-7b --rank 32 --out out >stdout 2>stderr &
process=$!
while [ -z "$(find . -name 'adapter_model.safetensors.tmp*' -size +100k)" ] && kill -0 $process 2>/dev/null; do
  sleep 0.05
done
kill -KILL $process
wait $process 2>/dev/null || true
waited=0
while [ -n "$(find . -maxdepth 1 -name 'out*')" ] && [ $waited -lt 100 ]; do
  sleep 0.1
  waited=$((waited + 1))
done
left=$(find . -maxdepth 1 -name 'out*')
[ -z "$left" ] || complain "SIGKILL" "left behind: $left"

# Nobody reads what is printed.
"$program" reduce "$good" --rank 2 --out good-pipe | head -n 1 >stdout
[ -f good-pipe/$model ] || complain "SIGPIPE" "no result"
left=$(find . -maxdepth 1 -name '*.tmp-*')
[ -z "$left" ] || complain "SIGPIPE" "left behind: $left"

[ "$failures" = 0 ] && echo "all as it should be"
