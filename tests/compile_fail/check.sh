#!/bin/sh
# check.sh CASE.cpp COMPILER FLAG...: passes if the compiler refuses the case, and so does the other one of
# g++ and clang++ where it is there:
#
#   // expect: TEXT   the first line of the case: the compiler's first line with an error contains TEXT
#   // note: TEXT     its second line, if there: some line with a note contains TEXT
#
# -pedantic-errors: what only one of the two compilers takes is refused by both.
#
# check.sh paper.hpp COMPILER FLAG... precompiles that header for both, into the folder PREHEAT_PAPER. Where that is
# set, the cases use it, which makes them six times as fast.
set -u
file=$1
shift

is_clang() {
  case $("$1" --version) in
    *clang*) true ;;
    *) false ;;
  esac
}
if is_clang "$1"; then other=g++; else other=clang++; fi

precompile() {
  if is_clang "$1"; then result=paper.pch; else result=paper.hpp.gch; fi
  "$@" -w -pedantic-errors -x c++-header "$file" -o "$PREHEAT_PAPER/$result" || exit 1
}

refuses() {
  compiler=$1
  if [ -n "${PREHEAT_PAPER:-}" ] && grep -q '^#include "paper.hpp"' "$file"; then
    if is_clang "$1"; then
      set -- "$@" -include-pch "$PREHEAT_PAPER/paper.pch"
    else
      set -- "$@" -include "$PREHEAT_PAPER/paper.hpp"
    fi
  fi
  if output=$(LC_ALL=C "$@" -pedantic-errors -fsyntax-only "$file" 2>&1); then
    echo "$compiler: $file compiles, but must fail with: $expected"
    exit 1
  fi
  first=$(printf '%s\n' "$output" | grep -m1 'error:' | sed 's/.*error: //')
  case $first in
    *"$expected"*) ;;
    *) printf '%s\nexpected: %s\nfirst error: %s\n\n%s\n' "$compiler" "$expected" "$first" "$output"
       exit 1 ;;
  esac
  if [ -n "$note" ] && ! printf '%s\n' "$output" | grep 'note:' | grep -qF -- "$note"; then
    printf '%s\nexpected in a note: %s\n\n%s\n' "$compiler" "$note" "$output"
    exit 1
  fi
  echo "$compiler: $first"
}

case $file in
  *.hpp) action=precompile ;;
  *) action=refuses
     expected=$(sed -n '1s|^// expect: ||p' "$file")
     note=$(sed -n '2s|^// note: ||p' "$file")
     if [ -z "$expected" ]; then
       echo "$file: its first line must be '// expect: TEXT'"
       exit 1
     fi ;;
esac
$action "$@"
if command -v "$other" > /dev/null; then
  shift
  $action "$other" "$@"
fi
