#!/bin/sh
# check.sh PROGRAM: the command line of preheat-lm, as far as it needs no data.
set -eu
program=$1
. "$(dirname "$0")/../says.sh"

out=${TMPDIR:-/tmp}/preheat-lm-check-$$
says 0 'preheat-lm --quick' --help
says 0 'arXiv 2502.07739' --list
says 2 "no method 'none'; there are: all, base, full, lora" --methods none
says 2 'excludes' --quick --full
says 2 'not in range' --ranks 0
says 2 'not in range' --steps 3
says 2 '{wordnet,translation,gcide}' --task nothing
says 2 'not in range' --preheat-multiples 0
says 0 '### definitions, 32 steps, rank 4' --report "$(dirname "$0")/../../../docs/evidence/lm.jsonl"
says 1 'there is no /nowhere/model.gguf; ./run lm --fetch' --data /nowhere --out "$out"
rm -rf "$out"
finish
