#!/bin/sh
# no_empty_kernel.sh CUOBJDUMP PROGRAM: fails if a kernel in the program's PTX writes to no memory. nvcc leaves
# nothing of a kernel that calls a function of the host, and does not say so.
set -eu
"$1" -ptx "$2" | awk '
  /\.entry / { name = $0; sub(/.*\.entry /, "", name); sub(/\(.*/, "", name); kernels++; writes = 0; inside = 1 }
  inside && /[ \t]st\.(global|b|u|f)|[ \t]st\.[a-z0-9.]* / { writes = 1 }
  /^}/ && inside { inside = 0; if (!writes) { print "no kernel is left of " name; bad = 1 } }
  END { print kernels + 0 " kernels"; exit bad || kernels == 0 }'
