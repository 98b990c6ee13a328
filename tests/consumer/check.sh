#!/bin/sh
# check.sh KIND DIR [BUILD]: builds and runs the consumer project KIND under DIR/KIND; 77 if a tool is missing. The
# kind `kernels` is find_package and pkg-config with the compiled part that is installed from CMake's folder BUILD.
# PREHEAT_BLAS (auto, on, off) is passed on.
set -eu
kind=$1
dir=$2/$kind
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
blas=${PREHEAT_BLAS:-auto}
command -v make >/dev/null || export CMAKE_GENERATOR=Ninja
rm -rf "$dir"
mkdir -p "$dir"
cd "$dir"

need() {
  command -v "$1" >/dev/null || { echo "skipped: no $1"; exit 77; }
}
install_preheat() {
  cmake -S "$root" -B package --install-prefix "$dir/prefix" -DPREHEAT_BLAS="$blas" \
    -DPREHEAT_TESTS=OFF -DPREHEAT_BENCH=OFF -DPREHEAT_APPS=OFF -DPREHEAT_STUDIES=OFF -DPREHEAT_EXAMPLES=OFF
  cmake --install package
}
use_cmake() {
  cmake -S "$here/$kind" -B build -DCMAKE_BUILD_TYPE=Debug "$@"
  cmake --build build
}
use_meson() {  # copies, because Meson needs the sources it falls back to inside the project
  mkdir -p project/subprojects/preheat
  cp "$here/meson/meson.build" "$here/main.cpp" "$here/files.cpp" project
  (cd "$root" && cp -r include cmake meson.build meson_options.txt preheat.pc.in preheat-files.pc.in "$dir/project/subprojects/preheat")
  meson setup build project --buildtype debug "$@"
  meson compile -C build
}

case $kind in
  find_package)
    install_preheat
    use_cmake -DCMAKE_PREFIX_PATH="$dir/prefix" ;;
  subdirectory | fetchcontent)
    use_cmake -DPREHEAT_SOURCE="$root" -DPREHEAT_BLAS="$blas" ;;
  pkgconfig)
    need pkg-config
    install_preheat
    mkdir build
    PKG_CONFIG_PATH=$dir/prefix/share/pkgconfig sh "$here/pkgconfig/build.sh" build/consumer ;;
  kernels)
    need pkg-config
    cmake --install "$3" --prefix "$dir/prefix"
    use_cmake -DCMAKE_PREFIX_PATH="$dir/prefix"
    PKG_CONFIG_PATH=$(find "$dir/prefix" -name '*.pc' -exec dirname {} + | sort -u | paste -sd:)
    export PKG_CONFIG_PATH
    ${CXX:-g++} -std=c++20 $(pkg-config --define-prefix --cflags preheat-kernels) "$here/main.cpp" \
      -o build/by_pkgconfig $(pkg-config --define-prefix --libs preheat-kernels)
    ./build/by_pkgconfig ;;
  meson)
    need meson
    use_meson ;;
  meson_pkgconfig)
    need meson
    install_preheat
    use_meson --pkg-config-path "$dir/prefix/share/pkgconfig" --wrap-mode nofallback ;;
esac
./build/consumer
[ ! -x build/files ] || ./build/files
echo "consumer $kind: built and run"
