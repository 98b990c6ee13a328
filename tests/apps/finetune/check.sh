#!/bin/sh
# check.sh PROGRAM GOLDEN TOKENIZER DIR [MPIRUN]: preheat-finetune from end to end on a tiny model. Every refusal is one line on
# standard error and exit status 2, and leaves nothing behind; a run that is killed ends with the same bits as one that is not.
set -eu
. "$(dirname "$0")/../refusals.sh"
. "$(dirname "$0")/material.sh"
program=$(realpath "$1")
golden=$(realpath "$2")
tokenizer=$(realpath "$3")
dir=$4
mpirun=${5:-}
mpi_test=$(realpath "$(dirname "$0")/../../comm/mpirun.sh")
begin "$dir"
outputs='out* merged*'  # of commands that are refused

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
resumed='lora hrp pissa adalora'
if [ -n "${PREHEAT_FEW_METHODS:-}" ]; then  # sanitizers see the same code in few methods, and are slow
  ids='lora hrp dora loftq'
  resumed='hrp'
fi

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

# Frozen weights in other types: near the same end, the file's own type the very same.
rounded_loss() {
  works "storage $1" train --eval held.jsonl --storage "$1" --out "good-$1"
  loss_of
}
[ "$(rounded_loss as-stored)" = "$trained" ] || complain "as stored" "another loss than $trained: $(cat stdout)"
for type in bf16 nf4; do
  rounded_loss $type | awk -v dense="$trained" '{ exit !($1 < dense + 0.2 && $1 > dense - 0.2) }' ||
    complain "storage $type" "far from $trained: $(cat stdout)"
done
refuse "storage of a method that changes W" "--storage f32 is what --method pissa needs" --storage nf4 --method pissa
refuse "storage and merge" "--merge changes the weights" --storage nf4 --merge merged

# Ranks and alphas of single modules, as PEFT spells them.
works "patterns" train --rank-pattern '{"q_proj": 4, "^model.layers.0.mlp.up_proj": 3}' --alpha-pattern '{"q_proj": 16}' --out good-pattern
for words in '"model.layers.1.self_attn.q_proj": 4' '"model.layers.0.mlp.up_proj": 3' '"model.layers.0.self_attn.q_proj": 16'; do
  grep -q "$words" good-pattern/adapter_config.json || complain "patterns" "no $words: $(cat good-pattern/adapter_config.json)"
done
refuse "pattern of nothing" 'no module of the model matches "q_projj"' --rank-pattern '{"q_projj": 4}'
refuse "pattern that is a list" 'rank-pattern: a JSON object is needed, not array' --rank-pattern '[1]'
refuse "pattern of no rank" 'a rank is an integer' --rank-pattern '{"q_proj": 0}'
refuse "pattern of another method" "gives the layers their ranks itself" --rank-pattern '{"q_proj": 4}' --method adalora

# What it takes is said, and refused before it begins.
works "memory" train --memory 16GB --out good-memory
grep -q 'memory: about 0\.06' stdout || complain "memory" "$(cat stdout)"
refuse "too little memory" "it may take 0.01 GB (--memory)" --memory 10MB
mkdir alone
cp "$program" alone/preheat-finetune
refused "no program for a GPU" "cannot run .*alone/preheat-finetune-cuda" alone/preheat-finetune model --data train.jsonl --device cuda --out out

works "a guess at the rate" train --rate auto --method pissa --out good-auto
grep -q 'a guess' stdout || complain "a guess at the rate" "$(cat stdout)"
refuse "a guess for other adapters" "name a rate" --rate auto --method dora
works "curves" train --eval held.jsonl --curves --out good-curves
grep -q '^12 ' good-curves/curves/loss.dat || complain "curves" "$(ls good-curves)"
! gnuplot --version >/dev/null 2>&1 || [ -s good-curves/curves/loss.svg ] || complain "curves" "no picture: $(cat stdout)"

# A loss that is not finite: what was finite before is saved.
code=0
train --rate 1000 --clip 0 --checkpoint-every 1 --steps 100 --out good-overflow >stdout 2>stderr || code=$?
[ "$code" = 2 ] && grep -q 'became infinite or NaN after step' stderr || complain "not finite" "exit $code: $(cat stderr)"
works "the last finite adapter" "$program" generate model --adapter good-overflow --prompt 'the number 3:' --max-tokens 2

# Killed and gone on with: the same bits.
for id in $resumed; do
  works "$id whole" train --method $id --eval held.jsonl --eval-every 20 --steps 200 --checkpoint-every 2 --out good-whole-$id
  (in_place=exec && train --method $id --eval held.jsonl --eval-every 20 --steps 200 --checkpoint-every 2 --out good-killed-$id) \
    >stdout 2>stderr &
  pid=$!
  tries=0
  while [ ! -e good-killed-$id.run/checkpoint.safetensors ] && kill -0 $pid 2>/dev/null && [ $tries -lt 2000 ]; do
    tries=$((tries + 1))
    sleep 0.01
  done
  size=$(wc -c <good-killed-$id.run/checkpoint.safetensors)
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
  # A residual base is made again from its factors, and is not in the checkpoint: W alone would take 80 kB there.
  [ $id != pissa ] || [ "$size" -lt 100000 ] || complain "$id killed" "a checkpoint of $size bytes"
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
if [ -n "$mpirun" ]; then  # each process makes whole runs of its own
  sh "$mpi_test" "$mpirun" 3 "$program" --help >stdout 2>stderr || complain "help of 3 processes" "$(cat stderr)"
  [ "$(grep -c -- '--rank-pattern' stdout)" = 1 ] || complain "help of 3 processes" "not once: $(cat stdout)"
  sh "$mpi_test" "$mpirun" 3 "$program" model --data train.jsonl --rank 2 --batch 4 --threads 1 --methods lora,pissa --rate 1e-3,1e-2 \
    --seeds 2 --eval held.jsonl --eval-every 30 --steps 60 --out good-grid-spread >stdout 2>stderr || complain "spread sweep" "$(cat stderr)"
  cmp -s good-grid/adapter_model.safetensors good-grid-spread/adapter_model.safetensors || complain "spread sweep" "another adapter"
  [ ! -e good-grid-spread.run ] || complain "spread sweep" "its folder is still there"
fi
refuse "sweep without evaluation" "need --eval" --seeds 2
refuse "patience without evaluation" "patience need --eval" --patience 2
for option in --alpha --clip --warmup --dropout; do
  refuse "$option that is no number" "'nan' is no number from 0 to" $option nan
done
refuse "less than no memory" "a size is a number of bytes" --memory -1GB

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

model broken
sed -i 's/"model_type": "[a-z0-9]*"/"model_type": "roberta"/' broken/config.json
refused "an encoder of another kind" 'model_type "roberta" is an encoder' "$program" broken --data train.jsonl --out out

# An encoder learns classes: texts of few or of many of the same words.
cp -r "$golden/bert/a_plain/base" encoder
chmod -R u+w encoder
printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' '[MASK]' a b c d e f >encoder/vocab.txt
i=0
while [ $i -lt 24 ]; do
  i=$((i + 1))
  case $((i % 3)) in 0) words='a b a' ;; 1) words='c d c d c' ;; 2) words='e f' ;; esac
  case $((i % 4)) in 0) words="$words b" ;; 1) words="a $words" ;; esac
  echo "{\"text\": \"$words\", \"label\": $((i % 3))}"
done >numbers.jsonl
sed 's/"label": 0/"label": "LABEL_0"/; s/"label": 1/"label": "LABEL_1"/; s/"label": 2/"label": "LABEL_2"/' numbers.jsonl >names.jsonl
classify() {
  "$program" encoder --data numbers.jsonl --rank 2 --rate 1e-2 --batch 6 --threads 1 --steps 40 "$@"
}
for id in lora pissa; do
  works "classes by $id" classify --eval names.jsonl --method $id --out good-classes-$id
  sed -n 's/.*held-out accuracy \([0-9.]*\) to \([0-9.]*\);.*/\1 \2/p' stdout | awk '{ ok = $2 > $1 && $2 >= 0.9 } END { exit !ok }' ||
    complain "classes by $id" "they were not learned: $(tail -n 1 stdout)"
done
grep -q '"SEQ_CLS"' good-classes-lora/adapter_config.json && grep -q 'modules_to_save' good-classes-lora/adapter_config.json ||
  complain "classes" "$(cat good-classes-lora/adapter_config.json)"
works "classes, merged" classify --eval numbers.jsonl --out good-classes --merge good-classes-merged
class_loss=$(loss_of)
works "classes, the merged model" "$program" good-classes-merged --data names.jsonl --eval names.jsonl --steps 1 --rank 1 --out good-classes-again
grep -q "held-out loss before: $class_loss" stdout || complain "classes, merged" "not $class_loss: $(cat stdout)"
(exec "$program" encoder --data numbers.jsonl --rank 2 --rate 1e-3 --batch 6 --threads 1 --steps 400 \
  --checkpoint-every 2 --out good-classes-killed) >stdout 2>stderr &
pid=$!
tries=0
while [ ! -e good-classes-killed.run/checkpoint.safetensors ] && kill -0 $pid 2>/dev/null && [ $tries -lt 2000 ]; do
  tries=$((tries + 1))
  sleep 0.01
done
kill -9 $pid 2>/dev/null || complain "classes killed" "it was over before it could be killed"
wait $pid 2>/dev/null || true
for out in good-classes-killed good-classes-whole; do
  works "classes, $out" "$program" encoder --data numbers.jsonl --rank 2 --rate 1e-3 --batch 6 --threads 1 --steps 400 \
    --checkpoint-every 2 --out $out
done
cmp -s good-classes-killed/adapter_model.safetensors good-classes-whole/adapter_model.safetensors ||
  complain "classes gone on" "other bits than without a stop"
if [ -n "$mpirun" ]; then
  for processes in 1 3; do
    sh "$mpi_test" "$mpirun" $processes "$program" encoder --data numbers.jsonl --eval names.jsonl --rank 2 --rate 1e-3 --batch 5 --threads 1 \
      --steps 20 --method hrp --out good-classes-$processes >stdout 2>stderr || complain "classes, $processes processes" "$(cat stderr)"
    [ $processes != 1 ] || alone=$(loss_of)
  done
  loss_of | awk -v alone="$alone" '{ exit !($1 < alone + 2e-4 && $1 > alone - 2e-4) }' || complain "classes, 3 processes" "not $alone: $(cat stdout)"
fi
refuse_classes() {
  name=$1
  words=$2
  shift 2
  refused "$name" "$words" classify "$@" --out out
}
refuse_classes "classes as GGUF" "llama.cpp takes adapters of causal models" --gguf out.gguf
refuse_classes "classes packed" "--pack puts several texts" --pack
refuse_classes "classes in a text" "not JSONL" --eval text.txt
refused "classes generated" "writes no text" "$program" generate encoder --prompt a
sed 's/LABEL_1/good/' names.jsonl >bad.jsonl
refuse_classes "another class" 'line 1: the label "good" is none of the classes LABEL_0, LABEL_1, LABEL_2' --eval bad.jsonl
head -n 2 train.jsonl >bad.jsonl
refuse_classes "no label" "line 1: an encoder's example is an object with text and label" --eval bad.jsonl
refuse "a head's rate" "has no layer for classes" --head-rate 1e-3
rm encoder/vocab.txt
refuse_classes "no vocabulary" "no tokenizer.json and no vocab.txt"

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

# A full disk: files are limited to 8 blocks of 512 bytes; and a disk that has room for the log and for no checkpoint, where one can
# be mounted.
refused "full disk" "write" sh -c 'ulimit -f 8; exec "$@"' sh "$program" model --data train.jsonl --steps 4 --rank 2 \
  --checkpoint-every 0 --out out
mkdir disk
if unshare -rm true 2>/dev/null || [ "$(id -u)" = 0 ]; then
  cat >on_small_disk.sh <<'END'
mount -t tmpfs -o size=32k none disk 2>/dev/null || exit 77
code=0
"$@" --out disk/out || code=$?
[ ! -e disk/out ] || exit 3
exit $code
END
  small_disk() {
    code=0
    unshare -rm sh on_small_disk.sh "$program" model --data train.jsonl --rank 2 --threads 1 --steps 4 --checkpoint-every "$1" \
      >stdout 2>stderr || code=$?
  }
  for every in 0 1; do
    small_disk $every
    case $code in
      77) echo "no small disk can be mounted here" ;;
      2) [ "$(wc -l <stderr)" = 1 ] && grep -q 'disk/out' stderr || complain "small disk" "$(cat stderr)" ;;
      *) complain "small disk" "exit $code: $(cat stderr)" ;;
    esac
  done
fi

# Processes share every batch, the last one of an epoch too, which has fewer rows than there are processes: the same losses.
if [ -n "$mpirun" ]; then
  for id in lora pissa; do
    for processes in 1 3; do
      sh "$mpi_test" "$mpirun" $processes "$program" model --data train.jsonl --eval held.jsonl --rank 2 --rate 1e-2 --batch 5 --threads 1 \
        --steps 20 --method $id --out good-$id-$processes >stdout 2>stderr || complain "$processes processes" "$(cat stderr)"
      [ $processes != 1 ] || alone=$(loss_of)
    done
    loss_of | awk -v alone="$alone" '{ exit !($1 < alone + 2e-4 && $1 > alone - 2e-4) }' || complain "3 processes, $id" "not $alone: $(cat stdout)"
  done
fi

[ $failures = 0 ] || exit 1
echo "all refusals, methods and interruptions as expected"
