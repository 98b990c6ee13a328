#!/bin/sh
# check.sh PROGRAM GOLDEN TOKENIZER DIR: preheat-finetune from end to end on a tiny model. Every refusal is one line on
# standard error and exit status 2, and leaves nothing behind; a run that is killed ends with the same bits as one that is not.
set -eu
. "$(dirname "$0")/../refusals.sh"
program=$(realpath "$1")
golden=$(realpath "$2")
tokenizer=$(realpath "$3")
dir=$4
rm -rf "$dir"
mkdir -p "$dir"
cd "$dir"
outputs='out* merged*'  # of commands that are refused

# The model, with a tokenizer of as many tokens as it has.
model() {
  rm -rf "$1"
  cp -r "$golden/llama/${2:-llama3}/base" "$1"
  chmod -R u+w "$1"
  cp "$tokenizer" "$1/tokenizer.json"
  chmod u+w "$1/tokenizer.json"
}
model model
i=0
while [ $i -lt 40 ]; do
  i=$((i + 1))
  echo "{\"prompt\": \"the number $i:\", \"completion\": \" and then $((i * i))\"}"
done >all.jsonl
head -n 32 all.jsonl >train.jsonl
tail -n 8 all.jsonl >held.jsonl

# With the usual settings, but for those that are given. `in_place` is exec where the program has to be the process itself.
in_place=
train() {
  for setting in '--data train.jsonl' '--rank 2' '--rate 1e-2' '--batch 4' '--threads 1' '--steps 12'; do
    case " $* " in
      *" ${setting% *} "*) ;;
      *) set -- "$@" "${setting% *}" "${setting#* }" ;;
    esac
  done
  $in_place "$program" model "$@"
}
refuse() {
  name=$1
  words=$2
  shift 2
  refused "$name" "$words" train "$@" --out out
}

works "help" "$program" --help
works "help of generate" "$program" generate --help
works "list" "$program" --list
ids=$(sed -n '3,$p' stdout | awk '{ sub(/ \+/, ""); print $1 }')

# Every method trains, and leaves what it says.
for id in $ids; do
  out="--out good-$id"
  case $id in full | cola | xgblora | rac_lora | loftq | kasa) out="--merge good-$id" ;; esac
  works "method $id" train --method "$id" --eval held.jsonl --eval-every 6 $out
  grep -q 'held-out loss' stdout || complain "method $id" "no held-out loss: $(cat stdout)"
done
loss_of() {
  sed -n 's/.*held-out loss [0-9.]* to \([0-9.]*\);.*/\1/p' stdout
}
# The same loss from the folder, the GGUF adapter and the merged model: an evaluation of the model with nothing to learn.
works "all outputs" train --eval held.jsonl --out good-all --gguf good.gguf --merge good-merged
trained=$(loss_of)
model good-merged-again
cp good-merged/model.safetensors good-merged-again/
works "the merged model" "$program" good-merged-again --data train.jsonl --eval held.jsonl --steps 1 --rank 1 --out good-again
grep -q "held-out loss before: $trained" stdout || complain "the merged model" "not $trained: $(cat stdout)"
for file in adapter_config.json adapter_model.safetensors README.md log.jsonl; do
  [ -s good-all/$file ] || complain "all outputs" "no $file"
done
[ "$(grep -c '"phase":"training"' good-all/log.jsonl)" = 12 ] || complain "all outputs" "a line of log a step"
works "generate" "$program" generate model --adapter good-all --prompt 'the number 3:' --max-tokens 5
cp stdout from-folder
works "generate from GGUF" "$program" generate model --adapter good.gguf --prompt 'the number 3:' --max-tokens 5
cmp -s stdout from-folder || complain "generate from GGUF" "other words than from the folder"

# Killed and gone on with: the same bits.
for id in lora hrp pissa adalora; do
  works "$id whole" train --method $id --eval held.jsonl --eval-every 20 --steps 200 --checkpoint-every 2 --out good-whole-$id
  (in_place=exec && train --method $id --eval held.jsonl --eval-every 20 --steps 200 --checkpoint-every 2 --out good-killed-$id) \
    >stdout 2>stderr &
  pid=$!
  tries=0
  while [ ! -e good-killed-$id.run/checkpoint.safetensors ] && kill -0 $pid 2>/dev/null && [ $tries -lt 2000 ]; do
    tries=$((tries + 1))
    sleep 0.01
  done
  kill -9 $pid 2>/dev/null || complain "$id killed" "it was over before it could be killed"
  wait $pid 2>/dev/null || true
  [ -d good-killed-$id.run ] || complain "$id killed" "nothing to go on from"
  refused "$id, another setting" 'another "rate"' train --rate 1e-3 --method $id --eval held.jsonl --eval-every 20 --steps 200 \
    --checkpoint-every 2 --out good-killed-$id
  works "$id gone on" train --method $id --eval held.jsonl --eval-every 20 --steps 200 --checkpoint-every 2 --out good-killed-$id
  grep -q 'going on after step' stdout || complain "$id gone on" "it began again"
  cmp -s good-whole-$id/adapter_model.safetensors good-killed-$id/adapter_model.safetensors ||
    complain "$id gone on" "other bits than without a stop"
  [ "$(grep -c '"phase":"training"' good-killed-$id/log.jsonl)" = "$(grep -c '"phase":"training"' good-whole-$id/log.jsonl)" ] ||
    complain "$id gone on" "the log has other steps"
  [ ! -e good-killed-$id.run ] || complain "$id gone on" "its folder is still there"
done
# Interrupted politely: one line, exit 2, and the same end.
(in_place=exec && train --steps 100000 --checkpoint-every 0 --out good-stopped) >stdout 2>stderr &
pid=$!
sleep 2
kill -INT $pid
code=0
wait $pid || code=$?
[ "$code" = 2 ] && grep -q 'the same command goes on' stderr || complain "interrupted" "exit $code: $(cat stderr)"
[ -e good-stopped.run/checkpoint.safetensors ] && [ ! -e good-stopped ] || complain "interrupted" "$(ls -d good-stopped*)"

# A sweep that is killed goes on, with the same choice and the same bits.
grid() {
  train --methods lora,pissa --rate 1e-3,1e-2 --seeds 2 --eval held.jsonl --eval-every 30 --steps 60 "$@"
}
works "sweep" grid --out good-grid --gguf good-grid.gguf
[ "$(grep -c best stdout)" = 1 ] && grep -q '95 %' stdout || complain "sweep" "no table with a best row: $(cat stdout)"
(in_place=exec && grid --out good-grid-killed) >stdout 2>stderr &
pid=$!
tries=0
while ! grep -qs eval_loss good-grid-killed.run/log.jsonl && kill -0 $pid 2>/dev/null && [ $tries -lt 2000 ]; do
  tries=$((tries + 1))
  sleep 0.01
done
kill -9 $pid 2>/dev/null || complain "sweep killed" "it was over before it could be killed"
wait $pid 2>/dev/null || true
works "sweep gone on" grid --out good-grid-killed
[ "$(grep -c '^run ' stdout)" -lt 8 ] || complain "sweep gone on" "runs that were done are done again"
cmp -s good-grid/adapter_model.safetensors good-grid-killed/adapter_model.safetensors || complain "sweep gone on" "another adapter"
refuse "sweep without evaluation" "need --eval" --seeds 2

# Early stopping keeps the best evaluation.
works "early stopping" train --rate 0.3 --steps 200 --eval held.jsonl --eval-every 2 --patience 2 --out good-early
grep -q 'stopped early' stdout || complain "early stopping" "$(tail -n 1 stdout)"

# Bad models.
refused "no model" "there is no such model" "$program" nowhere --data train.jsonl --out out
model broken
rm broken/tokenizer.json
refused "no tokenizer" "no tokenizer.json" "$program" broken --data train.jsonl --out out
cp "$golden/bpe/gpt2/tokenizer.json" broken/
refused "another vocabulary" "do not belong together" "$program" broken --data train.jsonl --out out
model broken
sed -i 's/{/{"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true},/' broken/config.json
refused "bitsandbytes" "quantization_config" "$program" broken --data train.jsonl --out out

# Bad data.
refuse "no data" "no-data.jsonl" --data no-data.jsonl
: >empty.jsonl
refuse "empty data" "no examples" --data empty.jsonl
{ head -n 2 train.jsonl; echo '{"prompt": "a"'; } >bad.jsonl
refuse "bad line" "bad.jsonl: line 3" --data bad.jsonl
{ head -n 2 train.jsonl; echo '{"prompt": "a", "answer": "b"}'; } >bad.jsonl
refuse "unknown key" "line 3: the key \"answer\"" --data bad.jsonl
echo '{"prompt": "a", "completion": 3}' >bad.jsonl
refuse "no text" "line 1: \"completion\" is a text" --data bad.jsonl
echo '{"prompt": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "completion": "b"}' >bad.jsonl
refuse "no completion" "no example has a token that counts" --data bad.jsonl --seq 8
echo '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}' >chat.jsonl
refuse "no chat template" "the model has no chat template" --data chat.jsonl
works "chat" train --data chat.jsonl --chat chatml --out good-chat
echo '{"messages": [{"role": "robot", "content": "a"}]}' >bad.jsonl
refuse "bad role" "the role \"robot\"" --data bad.jsonl --chat chatml
printf 'the end and then the other end. ' >text.txt
works "a text" train --data text.txt --seq 8 --out good-text
grep -q 'split into 8 tokens' stdout || complain "a text" "$(cat stdout)"
works "packing" train --pack --seq 64 --out good-packed

# Bad settings.
refuse "no method" "no method 'magic'" --method magic
refuse "rank" "rank <= min(out, in)" --rank 4096
refuse "target" "no layer matches" --target-modules q_proj,nothing
refuse "full" "leaves other weights" --method full
refuse "no option" "--magic" --magic
refuse "DoRA as GGUF" "a GGUF adapter is plain LoRA" --method dora --gguf out.gguf
mkdir out
refused_here=$(train --out out 2>&1) && complain "exists" "it was overwritten"
case $refused_here in *"exists already"*) ;; *) complain "exists" "$refused_here" ;; esac
rmdir out

# A full disk: files are limited to 8 blocks of 512 bytes.
refused "full disk" "write" sh -c 'ulimit -f 8; exec "$@"' sh "$program" model --data train.jsonl --steps 4 --rank 2 \
  --checkpoint-every 0 --out out

[ $failures = 0 ] || exit 1
echo "all refusals, methods and interruptions as expected"
