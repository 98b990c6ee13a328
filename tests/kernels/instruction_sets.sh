#!/bin/sh
# instruction_sets.sh PROGRAM: a program linked to preheat::kernels runs with every instruction set that PREHEAT_ISA
# may name, or says that the processor or the library lacks it; another name is refused in words.
set -u
program=$1
failed=0
for name in baseline v3 v4; do
  if output=$(PREHEAT_ISA=$name "$program" 2>&1); then
    echo "$name: runs"
    continue
  fi
  case $name-$output in
    baseline-*) echo "baseline does not run: $output"; failed=1 ;;
    *'this processor does not have this instruction set'* | *'was built without this instruction set'*) echo "$name: is not here" ;;
    *) echo "$name: $output"; failed=1 ;;
  esac
done
output=$(PREHEAT_ISA=none "$program" 2>&1) && { echo 'PREHEAT_ISA=none is taken'; failed=1; }
case $output in
  *"PREHEAT_ISA is baseline, v3 or v4, not 'none'"*) ;;
  *) echo "PREHEAT_ISA=none: $output"; failed=1 ;;
esac
exit $failed
