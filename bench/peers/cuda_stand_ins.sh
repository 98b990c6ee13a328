#!/bin/sh
# Empty stand-ins for the CUDA libraries that PyTorch's package is linked to. `import torch` loads them even where
# no GPU is, and they are 2 GB; on the CPU no function of theirs is ever called. One that is called ends the program.
#
#   cuda_stand_ins.sh SITE_PACKAGES      writes SITE_PACKAGES/torch/lib/libcublas.so.13, …; needs cc and binutils
set -eu
cd "$1/torch/lib"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Names that some library needs and none defines; those of libc and its like carry versions of their own.
nm -D --defined-only ./*.so ../../nvidia/*/lib/*.so* | awk 'NF == 3 {sub(/@.*/, "", $3); print $3}' | sort -u >"$work/defined"
nm -D --undefined-only ./*.so | awk '$1 == "U" && $2 !~ /@(GLIBC|CXXABI|GCC|OMP|GOMP)/ {sub(/@.*/, "", $2); print $2}' |
  grep -v '^_*Py' | sort -u >"$work/undefined"
comm -13 "$work/defined" "$work/undefined" |
  awk 'BEGIN {print ".text"} {print ".globl " $1 "\n.type " $1 ", @function\n" $1 ":"} END {print ".byte 0x0f, 0x0b"}' \
    >"$work/all.s"

for library in $(readelf -d ./*.so | sed -n 's/.*NEEDED.*\[\(lib\(cu\|nv\|nccl\)[^]]*\)\].*/\1/p' | sort -u); do
  [ ! -e "$library" ] && ! ls ../../nvidia/*/lib/"$library" >/dev/null 2>&1 || continue
  [ "$library" != libcuda.so.1 ] || continue  # the driver's, loaded only by the runtime compiler
  objdump -p ./*.so | awk -v from="$library:" '/required from/ {wanted = $3 == from; next}
    NF != 4 {wanted = 0} wanted {print $4}' | sort -u >"$work/names"
  versions=
  if [ -s "$work/names" ]; then
    awk '{print $1 " {" (NR == 1 ? " global: *; " : "") "};"}' "$work/names" >"$work/versions"
    versions=-Wl,--version-script="$work/versions"
  fi
  cc -shared -nostdlib -Wl,-soname,"$library" $versions -o "$library" -x assembler "$work/all.s"
done
