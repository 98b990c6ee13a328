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

# preheat_precompile(target header): programs of many files parse what most of them include once. Not under ccache,
# which would then not recognize them.
function(preheat_precompile target header)
  if(NOT CMAKE_CXX_COMPILER_LAUNCHER MATCHES ccache)
    target_precompile_headers(${target} PRIVATE ${header})
  endif()
endfunction()
