#!/bin/sh
# test.sh TREE CONAN [--deb]: packages the headers by the vcpkg port (its steps, by stand_in.cmake) and by the Conan recipe, with
# the system's Eigen and without the network, and builds a program with each; --deb: builds the Debian packages too.
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

export CONAN_HOME="$work/conan"
"$conan" profile detect >"$work/conan.log" 2>&1
if ! "$conan" create "$here/conan" -o 'preheat/*:system_eigen=True' -s compiler.cppstd=20 --no-remote >>"$work/conan.log" 2>&1; then
  tail -n 30 "$work/conan.log"
  exit 1
fi
grep '^preheat ' "$work/conan.log"
echo 'Conan: the recipe, and a program with it'

case ${3:-} in --deb) ;; *) exit 0 ;; esac
if ! command -v dh >/dev/null; then
  echo 'skipped: debhelper is not installed'
  exit 0
fi
mkdir "$work/deb"
git -C "$tree" archive --prefix=preheat-0.2.0/ HEAD | tar -x -C "$work/deb"
cp -r "$here/debian" "$work/deb/preheat-0.2.0/"
cd "$work/deb/preheat-0.2.0"
dpkg-buildpackage -us -uc -b >"$work/deb.log" 2>&1 || {
  tail -n 30 "$work/deb.log"
  exit 1
}
for package in "$work"/deb/*.deb; do
  echo "$(basename "$package"): $(dpkg-deb -c "$package" | wc -l) files"
done
