#!/bin/sh
# check.sh PROGRAM DOUBLE DOUBLE_BF16 GOLDEN TOKENIZER DIR [MPIRUN]: preheat-finetune --device cuda, which becomes
# preheat-finetune-cuda, here on the double of CUDA: the losses of the CPU to rounding, PEFT folders, the same bits after a
# kill, processes, refusals; and with --bf16, preheat-finetune-cuda-bf16.
set -eu
. "$(dirname "$0")/../refusals.sh"
. "$(dirname "$0")/../finetune/material.sh"
cpu=$(realpath "$1")
double=$(realpath "$2")
double_bf16=$(realpath "$3")
golden=$(realpath "$4")
tokenizer=$(realpath "$5")
dir=$6
mpirun=${7:-}
mpi_test=$(realpath "$(dirname "$0")/../../comm/mpirun.sh")
begin "$dir"
outputs='out*'
export PREHEAT_CUDA_SCHEDULE=eager OPENBLAS_NUM_THREADS=1

in_place=
train() {
  program=$1
  shift
  $in_place "$program" model --data train.jsonl --eval held.jsonl --rank 2 --rate 1e-2 --batch 4 "$@"
}
# The two programs lie side by side.
mkdir alone together
cp "$cpu" alone/preheat-finetune
cp "$cpu" together/preheat-finetune
cp "$double" together/preheat-finetune-cuda
cp "$double_bf16" together/preheat-finetune-cuda-bf16
refused "no program for a GPU" "cannot run .*alone/preheat-finetune-cuda.*PREHEAT_FINETUNE_CUDA=ON" \
  train alone/preheat-finetune --device cuda --out out
refused "no program for bf16" "cannot run .*alone/preheat-finetune-cuda-bf16.*preheat_finetune_cuda_bf16 build it" \
  train alone/preheat-finetune --device cuda --bf16 --out out
refused "bf16 on a CPU" "bf16 is for --device cuda" train alone/preheat-finetune --bf16 --out out
finetune=together/preheat-finetune

# losses FOLDER: of every step, and held out.
losses() {
  sed 's/.*"loss":\([^,}]*\).*/\1/' "$1/log.jsonl"
  sed -n 's/.*"eval_loss":\([^,}]*\).*/\1/p' "$1/log.jsonl"
}
# near NAME FOLDER FOLDER [FAR]: to 2e-4, what rounding makes of so many steps, or to FAR.
near() {
  losses "$2" >a
  losses "$3" >b
  [ -s a ] && paste a b | awk -v far="${4:-2e-4}" '{ d = $1 - $2 } d > far || d < -far || NF != 2 { exit 1 }' ||
    complain "$1" "other losses:" "$(paste a b)"
}

for id in lora hrp pissa; do
  works "$id on the CPU" train $finetune --method $id --steps 10 --eval-every 5 --threads 1 --out cpu-$id
  works "$id on the double" train $finetune --device cuda --method $id --steps 10 --eval-every 5 --out cuda-$id
  grep -q 'cuda<float' stdout || complain "$id on the double" "it was not the backend: $(cat stdout)"
  near "$id" cpu-$id cuda-$id
  for file in adapter_config.json adapter_model.safetensors README.md; do
    [ -s cuda-$id/$file ] || complain "$id on the double" "no $file"
  done
  works "$id in words" $finetune generate model --adapter cuda-$id --prompt 'the number 3:' --max-tokens 4 --threads 1
  cp stdout words
  works "$id in words on the double" $finetune generate model --adapter cuda-$id --prompt 'the number 3:' --max-tokens 4 --device cuda
  cmp -s stdout words || complain "$id in words" "not those of the CPU: $(cat stdout)"
done

# Frozen weights in other types.
last() {
  losses "$1" | tail -n 1
}
for type in bf16 nf4; do
  works "storage $type" train $finetune --device cuda --steps 10 --storage $type --out cuda-$type
  last cuda-$type | awk -v dense="$(last cuda-lora)" '{ exit !($1 < dense + 0.2 && $1 > dense - 0.2 && $1 != dense) }' ||
    complain "storage $type" "far from $(last cuda-lora): $(last cuda-$type)"
done

# What the files have: floats here, so that nothing is rounded.
works "as stored" train $finetune --device cuda --steps 10 --eval-every 5 --storage as-stored --out cuda-as-stored
near "as stored" cuda-lora cuda-as-stored 0

# Activations in bf16, of 8 bits: the losses of 10 steps are within 4·2^-8 of the first.
for id in lora hrp pissa; do
  works "$id in bf16" train $finetune --device cuda --bf16 --method $id --steps 10 --eval-every 5 --out bf16-$id
  grep -q 'activations in bf16' stdout || complain "$id in bf16" "it was not the backend: $(cat stdout)"
  far=$(losses cuda-$id | awk 'NR == 1 { print $1 / 64 }')
  near "$id in bf16" cuda-$id bf16-$id $far
  ! cmp -s cuda-$id/adapter_model.safetensors bf16-$id/adapter_model.safetensors || complain "$id in bf16" "the bits of floats"
done
works "bf16 throughout" train $finetune --device cuda --bf16 --storage bf16 --steps 10 --eval-every 5 --out bf16-bf16
near "bf16 throughout" cuda-lora bf16-bf16 $far
works "words in bf16" $finetune generate model --adapter bf16-lora --prompt 'the number 3:' --max-tokens 4 --device cuda --bf16

# Killed and gone on with: the same bits.
# resumes NAME [option…]
resumes() {
  what=$1
  shift
  long() {
    train $finetune --device cuda --method hrp --steps 40 --eval-every 20 --checkpoint-every 2 "$@"
  }
  rm -rf whole killed
  works "$what: whole" long --out whole "$@"
  (in_place=exec && long --out killed "$@") >stdout 2>stderr &
  pid=$!
  tries=0
  while [ ! -e killed.run/checkpoint.safetensors ] && kill -0 $pid 2>/dev/null && [ $tries -lt 6000 ]; do
    tries=$((tries + 1))
    sleep 0.01
  done
  kill -9 $pid 2>/dev/null || complain "$what: killed" "it was over before it could be killed"
  wait $pid 2>/dev/null || true
  refused "$what: the other device" 'another "backend"' \
    train $finetune --method hrp --steps 40 --eval-every 20 --checkpoint-every 2 --out killed
  works "$what: gone on" long --out killed "$@"
  grep -q 'going on after step' stdout || complain "$what: gone on" "it began again"
  cmp -s whole/adapter_model.safetensors killed/adapter_model.safetensors ||
    complain "$what: gone on" "other bits than without a stop"
}
resumes "floats"
resumes "bf16" --bf16

# Processes share every batch, by NCCL's double.
if [ -n "$mpirun" ]; then
  sh "$mpi_test" "$mpirun" 2 $finetune model --device cuda --data train.jsonl --eval held.jsonl --rank 2 --rate 1e-2 --batch 4 \
    --method hrp --steps 10 --eval-every 5 --out cuda-2 >stdout 2>stderr || complain "2 processes" "$(cat stderr)"
  near "2 processes" cuda-hrp cuda-2
fi

# Refusals.
refused "no device" "no CUDA device" env PREHEAT_CUDA_DEVICES=0 $finetune model --data train.jsonl --device cuda --out out
refused "threads" "threads is for --device cpu" train $finetune --device cuda --threads 2 --out out
refused "the CPU of the other program" "computes on a GPU, and preheat-finetune on a CPU" \
  train together/preheat-finetune-cuda --device cpu --out out
refused "too little memory" "it may take 0.01 GB" train $finetune --device cuda --memory 10MB --out out
refused "another device" "tpu" train $finetune --device tpu --out out

[ $failures = 0 ] || exit 1
echo "on the double of CUDA: losses, folders, bits and refusals as expected"
