#!/bin/sh
# debian.sh TREE WORK: builds the Debian packages in a clean chroot of the machine's own release and apt sources, has lintian
# judge them, installs them in another clean chroot, and uses the headers and the programs there.
# DEB_BUILD_OPTIONS and DEB_CXXFLAGS_APPEND reach the build.
set -eu
tree=$1
work=$2
version=$(dpkg-parsechangelog -l "$tree/cmake/packages/debian/changelog" -S Version)
release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
rm -rf "$work"
mkdir -p "$work/source/preheat-$version"
git -C "$tree" archive HEAD | tar -x -C "$work/source/preheat-$version"
mv "$work/source/preheat-$version/cmake/packages/debian" "$work/source/preheat-$version/"

# in_chroot VARIANT LOG FOLDER COMMAND: runs COMMAND in a new chroot, in a copy of FOLDER; /srv/out comes back into WORK/out.
in_chroot() {
  set -- "$@" $(ls /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null)
  variant=$1 log=$2 folder=$3 command=$4
  shift 4
  mmdebstrap --variant="$variant" --dpkgopt=force-unsafe-io --customize-hook='mkdir -p "$1/srv/out"' --customize-hook="sync-in $folder /srv" \
    --chrooted-customize-hook="cd /srv && $command" \
    --customize-hook="sync-out /srv/out $work/out" "$release" /dev/null "$@" >"$log" 2>&1 || {
    tail -n 30 "$log"
    exit 1
  }
}

install='DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends'
mkdir "$work/out"
in_chroot buildd "$work/build.log" "$work/source" "cd preheat-$version && $install build-dep ./ &&
  DEB_BUILD_OPTIONS='${DEB_BUILD_OPTIONS:-}' DEB_CXXFLAGS_APPEND='${DEB_CXXFLAGS_APPEND:-}' dpkg-buildpackage -us -uc &&
  cd .. && mv preheat_* ./*.deb out/"
for package in "$work"/out/*.deb; do
  echo "$(basename "$package"): $(wc -c <"$package") bytes, $(dpkg-deb -c "$package" | grep -c '^-') files"
done
lintian --fail-on error "$work"/out/*.changes | tee "$work/lintian.log"
echo "lintian: $(grep -c '^E: ' "$work/lintian.log" || true) errors, $(grep -c '^W: ' "$work/lintian.log" || true) warnings"

mkdir "$work/use"
cp -r "$tree/cmake/packages/consumer" "$work"/out/*.deb "$work/use"
in_chroot minbase "$work/use.log" "$work/use" "$install install ./libpreheat-dev*.deb ./preheat-tools_*.deb g++ cmake make pkgconf &&
  cmake -S consumer -B by-cmake && cmake --build by-cmake && by-cmake/consumer >out/said &&
  g++ -std=c++20 consumer/consumer.cpp -o by-pkg-config \$(pkg-config --cflags --libs preheat) && ./by-pkg-config >>out/said &&
  preheat-adapter --help >out/adapter && preheat-finetune --help >out/finetune"
cat "$work/out/said"
head -n 1 "$work/out/adapter" "$work/out/finetune"
