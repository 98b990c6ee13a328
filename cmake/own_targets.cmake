# What our own tests, benches and examples are compiled with; nothing of it reaches a user's target.
add_library(preheat_warnings INTERFACE)
target_compile_options(preheat_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(preheat_warnings INTERFACE -Wno-restrict)  # false on "a" + string: GCC bug 105651
endif()
if(PREHEAT_WERROR)
  target_compile_options(preheat_warnings INTERFACE -Werror)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC's flow analysis warns falsely inside inlined Eigen code.
    target_compile_options(preheat_warnings INTERFACE -Wno-error=maybe-uninitialized
      -Wno-error=array-bounds -Wno-error=stringop-overflow -Wno-error=stringop-overread)
  endif()
endif()

add_library(preheat_options INTERFACE)
# GCC collects its garbage less often: an eighth less time for a quarter more memory.
target_compile_options(preheat_options INTERFACE
  "$<$<COMPILE_LANG_AND_ID:CXX,GNU>:--param=ggc-min-expand=400;--param=ggc-min-heapsize=500000>")
if(PREHEAT_NATIVE)
  target_compile_options(preheat_options INTERFACE -march=native
    "$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized;-Wno-uninitialized>")  # false in GCC 12's own AVX-512 intrinsics
endif()
if(PREHEAT_SANITIZE)
  set(sanitize -fsanitize=${PREHEAT_SANITIZE} -fno-sanitize-recover=all)
  target_compile_options(preheat_options INTERFACE ${sanitize} -fno-omit-frame-pointer)
  target_link_options(preheat_options INTERFACE ${sanitize})
endif()

# preheat_executable(name file... LINK library...)
function(preheat_executable name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" LINK)
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${arg_LINK} preheat_warnings preheat_options)
endfunction()

# preheat_precompile(target header [shared library option]): programs of many files parse what most of them include once.
# Targets that name the same `shared` parse it once together: this is a target of its own, which links to the library and has
# the option of a release build. Their options are the same, and their definitions at least its own. Not under ccache, which
# would then not recognize them.
function(preheat_precompile target header)
  if(CMAKE_CXX_COMPILER_LAUNCHER MATCHES ccache)
    return()
  elseif(ARGC EQUAL 2)
    target_precompile_headers(${target} PRIVATE ${header})
    return()
  endif()
  set(shared ${ARGV2})
  if(NOT TARGET ${shared})
    file(CONFIGURE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/${shared}.cpp CONTENT "// Nothing but what is precompiled.\n")
    add_library(${shared} OBJECT EXCLUDE_FROM_ALL ${CMAKE_CURRENT_BINARY_DIR}/${shared}.cpp)
    target_link_libraries(${shared} PRIVATE ${ARGV3} preheat_warnings preheat_options)
    target_compile_options(${shared} PRIVATE $<$<CONFIG:Release>:${ARGV4}>)
    target_precompile_headers(${shared} PRIVATE ${header})
  endif()
  target_precompile_headers(${target} REUSE_FROM ${shared})
endfunction()

# preheat_precompile_library(target file): for small programs with preheat_files and -O1, of one file each. Only one that
# includes <preheat/preheat.hpp> itself gets it precompiled, so none compiles that would not without.
function(preheat_precompile_library target file)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
  file(STRINGS ${file} own REGEX "^#include <preheat/preheat.hpp>" LIMIT_COUNT 1)
  if(own)
    preheat_precompile(${target} ${PROJECT_SOURCE_DIR}/include/preheat/preheat.hpp precompiled_for_examples
                       "preheat_files;Threads::Threads" -O1)
  endif()
endfunction()

# With PREHEAT_UNITE the compiler reads several files at once, because templates that they share, and what they include,
# are then compiled once: half the time or less for the memory of two or three of them. With 2 it reads twelve files of a
# program, which takes half of that time again and up to 2 GB, and twice as many test files: a tenth less and up to 4 GB.

# preheat_unite(target count [file...]): so many files of the target at a time. With 2 twelve; else these files, which take the
# most memory, each alone, and the compiler frees its memory sooner than preheat_options says: 1 GB at most.
function(preheat_unite target count)
  if(PREHEAT_UNITE EQUAL 2)
    set(count 12)
  elseif(ARGN)
    set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON
      COMPILE_OPTIONS "$<$<CXX_COMPILER_ID:GNU>:--param=ggc-min-expand=30;--param=ggc-min-heapsize=131072>")
  endif()
  if(PREHEAT_UNITE)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE BATCH UNITY_BUILD_BATCH_SIZE ${count})
  endif()
endfunction()

# preheat_unite_tests(variable name count): replaces the list of test files in the variable by what unite_tests.sh makes of it.
function(preheat_unite_tests variable name count)
  if(NOT PREHEAT_UNITE)
    return()
  endif()
  if(PREHEAT_UNITE EQUAL 2)
    math(EXPR count "2 * ${count}")
  endif()
  set(paths "")
  foreach(file IN LISTS ${variable})
    cmake_path(ABSOLUTE_PATH file)
    list(APPEND paths ${file})
  endforeach()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${paths})
  execute_process(COMMAND sh ${PROJECT_SOURCE_DIR}/cmake/unite_tests.sh ${CMAKE_CURRENT_BINARY_DIR}/united ${name} ${count} ${paths}
    OUTPUT_VARIABLE united OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  string(REPLACE "\n" ";" united "${united}")
  set(${variable} ${united} PARENT_SCOPE)
endfunction()
