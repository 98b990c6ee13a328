# preheat_find_cuda(): the target preheat::cuda, where the CUDA toolkit is found and PREHEAT_CUDA is not off.
# It needs the toolkit's headers and libraries; nvcc is only needed by files that run kernels on a GPU.
function(preheat_find_cuda)
  set(PREHEAT_CUDA_FOUND FALSE PARENT_SCOPE)
  if(PREHEAT_CUDA STREQUAL "off")
    return()
  endif()
  find_package(CUDAToolkit 12 QUIET)
  if(NOT CUDAToolkit_FOUND OR NOT TARGET CUDA::cusolver)
    if(PREHEAT_CUDA STREQUAL "on")
      message(FATAL_ERROR "PREHEAT_CUDA=on, but no CUDA toolkit 12 or newer was found (CUDAToolkit_ROOT names its folder)")
    endif()
    message(STATUS "preheat: preheat::cuda skipped: it needs the CUDA toolkit")
    return()
  endif()
  set(PREHEAT_CUDA_FOUND TRUE PARENT_SCOPE)
  set(CUDAToolkit_INCLUDE_DIRS ${CUDAToolkit_INCLUDE_DIRS} PARENT_SCOPE)  # for the tests
  set(CUDAToolkit_LIBRARY_DIR ${CUDAToolkit_LIBRARY_DIR} PARENT_SCOPE)
  message(STATUS "preheat: preheat::cuda with CUDA ${CUDAToolkit_VERSION}")
  add_library(preheat_cuda INTERFACE)
  add_library(preheat::cuda ALIAS preheat_cuda)
  set_target_properties(preheat_cuda PROPERTIES EXPORT_NAME cuda)
  target_link_libraries(preheat_cuda INTERFACE preheat CUDA::cudart CUDA::cublas CUDA::cusolver)
  # Options and not features: CMake 3.25 has no C++20 flag for nvcc 13, and drops the feature silently. Kernels
  # are constexpr functions. Eigen is for the host alone.
  target_compile_options(preheat_cuda INTERFACE 
    "$<$<COMPILE_LANGUAGE:CUDA>:-std=c++20;--expt-relaxed-constexpr>")
  target_compile_definitions(preheat_cuda INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:EIGEN_NO_CUDA>)
endfunction()

# preheat_find_nccl(): the target preheat_nccl, where NCCL is found; NCCL_INCLUDE_DIR, where its header is.
function(preheat_find_nccl)
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_library(NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR})
  if(NCCL_INCLUDE_DIR AND NCCL_LIBRARY AND NOT TARGET preheat_nccl)
    add_library(preheat_nccl INTERFACE)
    target_include_directories(preheat_nccl SYSTEM INTERFACE ${NCCL_INCLUDE_DIR})
    target_link_libraries(preheat_nccl INTERFACE ${NCCL_LIBRARY})
    target_compile_definitions(preheat_nccl INTERFACE PREHEAT_NCCL=1)
  endif()
endfunction()

# preheat_enable_nvcc(what): the language CUDA in this folder. Unless told otherwise, for the device that is here, or
# for two architectures where there is none: each costs the time of another compilation.
# Without nvcc it says that `what` is skipped, and CMAKE_CUDA_COMPILER is false.
macro(preheat_enable_nvcc what)
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES 80 90)
      if(EXISTS /dev/nvidia0)
        set(CMAKE_CUDA_ARCHITECTURES native)
      endif()
    endif()
    enable_language(CUDA)
  else()
    message(STATUS "preheat: ${what} skipped: they need nvcc")
  endif()
endmacro()

# preheat_program_for_gpu(option name): what begins the CMakeLists.txt of name-cuda, the program NAME for a GPU, which is built
# only where the option asks for it, because nvcc takes long. Otherwise the caller returns.
macro(preheat_program_for_gpu option name)
  option(${option} "Build ${name}-cuda, which ${name} --device cuda runs (nvcc)" OFF)
  if(NOT ${option})
    return()
  endif()
  preheat_enable_nvcc("${name}-cuda")
  if(NOT TARGET preheat_cuda OR NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR "${option}=ON needs the CUDA toolkit, with nvcc")
  endif()
  set(CMAKE_CUDA_FLAGS_RELEASE "-O2 -DNDEBUG")
endmacro()

# preheat_compile_by_nvcc(target name...): the sources of that name, without .cpp, and the parts of a catalogue
# (catalogue.cmake) are CUDA; the target's others stay C++. fmt 9 believes that nvcc lacks constexpr functions, with which
# it checks format strings.
function(preheat_compile_by_nvcc target)
  get_target_property(files ${target} SOURCES)
  string(JOIN "|" names "part_[0-9]+" ${ARGN})
  list(FILTER files INCLUDE REGEX "/(${names})\\.cpp$")
  set_source_files_properties(${files} PROPERTIES LANGUAGE CUDA)
  target_compile_definitions(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:FMT_USE_CONSTEXPR=1>)
endfunction()
