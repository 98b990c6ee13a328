# An overlay port of the tree that it lies in: vcpkg install preheat --overlay-ports=cmake/packages/vcpkg
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
set(VCPKG_BUILD_TYPE release)  # headers
set(VCPKG_POLICY_SKIP_MISPLACED_CMAKE_FILES_CHECK enabled)  # they are in share/cmake/preheat, where CMake finds them

vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS -DPREHEAT_TESTS=OFF -DPREHEAT_BENCH=OFF -DPREHEAT_APPS=OFF -DPREHEAT_STUDIES=OFF -DPREHEAT_EXAMPLES=OFF
          -DPREHEAT_BLAS=off -DPREHEAT_CUDA=off -DPREHEAT_MPI=off)
vcpkg_cmake_install()
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
