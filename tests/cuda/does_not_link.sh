#!/bin/sh
# does_not_link.sh LIBRARY_FOLDER COMPILER FLAG...: a program with kernels that another compiler than nvcc compiled must
# not link to CUDA's own libraries, and the linker's error must say what to do.
libraries=$1
shift
words=preheat_compile_this_file_with_nvcc_to_use_a_gpu
if output=$("$@" -o /dev/null -L"$libraries" -lcudart -lcublas -lcusolver 2>&1); then
  echo 'it links'
  exit 1
fi
others=$(printf '%s\n' "$output" | grep 'undefined reference' | grep -vc "$words") || true
printf '%s\n' "$output" | grep -q "undefined reference to .$words" && [ "$others" = 0 ] && exit 0
printf '%s\n' "$output"
exit 1
