# preheat::kernels, the optional compiled part: an archive with the members of the CPU backends, and with the
# elementwise work for several instruction sets, of which a process takes the best.
#
# preheat_add_kernels(name library): one for the flavour of `library`, preheat::preheat or Eigen alone.
include(CheckCXXCompilerFlag)

# How an object for an instruction set is compiled: -O2 at least, whatever the build type, so that nothing that
# should be inlined stays a function that the linker might take for everyone's.
set(preheat_kernel_options -O3 -ffp-contract=fast)
set(PREHEAT_X86_LEVELS FALSE)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  check_cxx_compiler_flag(-march=x86-64-v4 PREHEAT_X86_LEVEL_OPTIONS)
  set(PREHEAT_X86_LEVELS ${PREHEAT_X86_LEVEL_OPTIONS})
endif()

function(preheat_add_kernels name library)
  set(sources ${PROJECT_SOURCE_DIR}/kernels)
  add_library(${name} STATIC ${sources}/float.cpp ${sources}/double.cpp ${sources}/any_scalar.cpp ${sources}/dispatch.cpp ${sources}/name.cpp)
  target_link_libraries(${name} PUBLIC ${library} PRIVATE $<BUILD_INTERFACE:preheat_warnings>
                        $<BUILD_INTERFACE:preheat_options>)
  target_compile_definitions(${name} PUBLIC PREHEAT_KERNELS=1)
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  set(levels baseline)
  if(PREHEAT_X86_LEVELS)
    list(APPEND levels v3 v4)
    target_compile_definitions(${name} PRIVATE PREHEAT_HAS_X86_LEVELS)
  endif()
  foreach(level IN LISTS levels)
    set(objects ${name}_${level})
    add_library(${objects} OBJECT ${sources}/one_instruction_set.cpp)
    target_link_libraries(${objects} PRIVATE $<BUILD_INTERFACE:${library}> $<BUILD_INTERFACE:preheat_warnings>
                          $<BUILD_INTERFACE:preheat_options>)
    target_compile_definitions(${objects} PRIVATE PREHEAT_KERNELS=1 PREHEAT_COMPILED_ISA=${level})
    target_compile_options(${objects} PRIVATE ${preheat_kernel_options}
                           $<$<NOT:$<STREQUAL:${level},baseline>>:-march=x86-64-${level}>)
    set_target_properties(${objects} PROPERTIES POSITION_INDEPENDENT_CODE ON)
    target_sources(${name} PRIVATE $<TARGET_OBJECTS:${objects}>)
  endforeach()
endfunction()
