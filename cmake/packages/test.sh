#!/bin/sh
# test.sh TREE CONAN [--deb]: packages the headers by the vcpkg port (its steps, by stand_in.cmake), by the Conan recipe with
# the system's Eigen and without the network, and fetches them by tag, and builds a program with each; --deb: the Debian packages too (debian.sh).
set -eu
tree=$1
conan=$2
here=$tree/cmake/packages
work=$tree/build/packages
rm -rf "$work"
mkdir -p "$work"

cmake -DCURRENT_PACKAGES_DIR="$work/vcpkg" -DCURRENT_BUILDTREES_DIR="$work/vcpkg-build" -P "$here/stand_in.cmake"
test -s "$work/vcpkg/share/preheat/copyright"
cmake -S "$here/consumer" -B "$work/vcpkg-consumer" -G Ninja -DCMAKE_PREFIX_PATH="$work/vcpkg" >"$work/vcpkg.log"
cmake --build "$work/vcpkg-consumer" >>"$work/vcpkg.log"
"$work/vcpkg-consumer/consumer"
echo 'vcpkg: the port by a stand-in of its functions, and a program with it'

if git -C "$tree" rev-parse HEAD >/dev/null 2>&1; then
  tag=$(sed -n 's/.*GIT_TAG \(v[0-9.]*\).*/\1/p' "$tree/README.md")
  git clone -q --bare "$tree" "$work/repository.git"
  git -C "$work/repository.git" tag -f "$tag" "$(git -C "$tree" rev-parse HEAD)" >/dev/null
  cmake -S "$here/consumer" -B "$work/fetched" -G Ninja -DPREHEAT_REPOSITORY="file://$work/repository.git" -DPREHEAT_TAG="$tag" \
    >"$work/fetched.log" 2>&1
  cmake --build "$work/fetched" --target consumer >>"$work/fetched.log"
  "$work/fetched/consumer"
  echo "FetchContent: the tag $tag of a copy of this repository, and a program with it"
else
  echo 'FetchContent: not tried, this tree is no repository'
fi

export CONAN_HOME="$work/conan"
"$conan" profile detect >"$work/conan.log" 2>&1
if ! "$conan" create "$here/conan" -o 'preheat/*:system_eigen=True' -s compiler.cppstd=20 --no-remote >>"$work/conan.log" 2>&1; then
  tail -n 30 "$work/conan.log"
  exit 1
fi
grep '^preheat ' "$work/conan.log"
echo 'Conan: the recipe, and a program with it'

case ${3:-} in --deb) exec sh "$here/debian.sh" "$tree" "$work/deb" ;; esac
