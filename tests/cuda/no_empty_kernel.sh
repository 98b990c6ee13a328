#!/bin/sh
# no_empty_kernel.sh INCLUDE_FOLDER PTX...: fails if a kernel in the PTX writes to no memory, or if a policy's kernel is
# not there at all. nvcc leaves nothing of a kernel that calls a function of the host, and does not say so.
set -eu
include=$1
shift
awk '
  /\.entry / { name = $0; sub(/.*\.entry /, "", name); sub(/\(.*/, "", name); kernels++; writes = 0; inside = 1 }
  inside && /[ \t]st\.[a-z0-9.]+[ \t]/ { writes = 1 }
  /^}/ && inside { inside = 0; if (!writes) { print "nothing is left of " name; bad = 1 } }
  END { print kernels + 0 " kernels"; exit bad || kernels == 0 }' "$@"

missing=
for kernel in $(find "$include/preheat" -name '*.hpp' ! -path '*/cuda/*' -exec awk '
    /^ *struct [a-z_0-9]+ \{/ { name = $2 } /constexpr void operator\(\)/ { print name }' {} + | sort -u); do
  grep -q "${#kernel}$kernel" "$@" || missing="$missing $kernel"
done
[ -z "$missing" ] || { echo "not in tests/cuda/kernels.cu:$missing"; exit 1; }
