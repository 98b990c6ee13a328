#!/bin/sh
# check.sh PROGRAM: the command line of preheat-text, as far as it needs no data.
set -eu
program=$1
. "$(dirname "$0")/../says.sh"

says 0 'preheat-text --quick' --help
says 0 'arXiv 2502.07739' --list
says 2 "no method 'none'; there are: all, full, head, lora" --methods none
says 2 'news not in' --sets news
says 2 'excludes' --quick --full
says 2 'not in range' --ranks 0
says 2 'not in range' --steps 3
says 1 'there is no /nowhere/minilm; ./run text --fetch' --data /nowhere --out "${TMPDIR:-/tmp}/preheat-text-check-$$"
rm -rf "${TMPDIR:-/tmp}/preheat-text-check-$$"
finish
