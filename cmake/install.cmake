# Headers, CMake package and pkg-config file. All are independent of the architecture: they go to share/.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_DATADIR}/cmake/preheat)

install(DIRECTORY include/preheat DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.hpp")
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/preheat)

install(TARGETS preheat EXPORT preheatTargets)
install(EXPORT preheatTargets NAMESPACE preheat:: DESTINATION ${package_dir})
if(TARGET preheat_io)
  install(TARGETS preheat_io EXPORT preheatIoTargets)
  install(EXPORT preheatIoTargets NAMESPACE preheat:: DESTINATION ${package_dir})
endif()
if(TARGET preheat_cuda)
  install(TARGETS preheat_cuda EXPORT preheatCudaTargets)
  install(EXPORT preheatCudaTargets NAMESPACE preheat:: DESTINATION ${package_dir})
endif()
if(TARGET preheat_mpi)
  install(TARGETS preheat_mpi EXPORT preheatMpiTargets)
  install(EXPORT preheatMpiTargets NAMESPACE preheat:: DESTINATION ${package_dir})
endif()

configure_package_config_file(cmake/preheatConfig.cmake.in preheatConfig.cmake
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(preheatConfigVersion.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/preheatConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/preheatConfigVersion.cmake DESTINATION ${package_dir})

# preheat.pc: the paths of the libraries as -L and -l, without directories the linker knows anyway.
set(PC_CFLAGS "")
set(PC_LIBS "")
if(PREHEAT_BLAS_FOUND)
  set(PC_CFLAGS "-DPREHEAT_SYSTEM_BLAS=1")
  foreach(library IN LISTS LAPACK_LIBRARIES BLAS_LIBRARIES)
    if(IS_ABSOLUTE "${library}")
      cmake_path(GET library PARENT_PATH directory)
      cmake_path(GET library STEM name)
      string(REGEX REPLACE "^lib" "-l" library "${name}")
      if(NOT directory IN_LIST CMAKE_CXX_IMPLICIT_LINK_DIRECTORIES)
        list(APPEND PC_LIBS "-L${directory}")
      endif()
    endif()
    list(APPEND PC_LIBS "${library}")
  endforeach()
  list(REMOVE_DUPLICATES PC_LIBS)
  list(JOIN PC_LIBS " " PC_LIBS)
endif()
set(PC_PREFIX ${CMAKE_INSTALL_PREFIX})
set(PC_INCLUDEDIR ${CMAKE_INSTALL_INCLUDEDIR})
set(PC_VERSION ${PROJECT_VERSION})
configure_file(preheat.pc.in preheat.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/preheat.pc DESTINATION ${CMAKE_INSTALL_DATADIR}/pkgconfig)
