# preheat_discover_tests(target LABELS label...): every test case of a doctest executable becomes a test
# of ctest, named target/case without the preheat_. The cases are listed after each build of the target.
# (doctest's own module stumbles over brackets and semicolons in names.)
function(preheat_discover_tests target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" LABELS)
  set(list_file ${CMAKE_CURRENT_BINARY_DIR}/${target}_cases.cmake)
  string(REGEX REPLACE "^preheat_" "" prefix ${target})
  add_custom_command(TARGET ${target} POST_BUILD BYPRODUCTS ${list_file} VERBATIM
    COMMAND ${CMAKE_COMMAND} -D program=$<TARGET_FILE:${target}> -D prefix=${prefix} -D "labels=${arg_LABELS}"
            -D list_file=${list_file} -P ${CMAKE_CURRENT_FUNCTION_LIST_FILE})
  set(include_file ${CMAKE_CURRENT_BINARY_DIR}/${target}_include.cmake)
  file(WRITE ${include_file} "include(${list_file} OPTIONAL RESULT_VARIABLE found)\n"
    "if(NOT found)\n  add_test(${prefix}_not_built ${prefix}_not_built)\nendif()\n")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${include_file})
endfunction()

if(NOT CMAKE_SCRIPT_MODE_FILE)
  return()
endif()

# The script that runs after a build.
execute_process(COMMAND ${program} --list-test-cases --no-colors OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
string(ASCII 1 open)  # stand-ins for what means something in a list
string(ASCII 2 close)
string(ASCII 3 semicolon)
string(REPLACE "[" "${open}" output "${output}")
string(REPLACE "]" "${close}" output "${output}")
string(REPLACE ";" "${semicolon}" output "${output}")
string(REPLACE "\n" ";" lines "${output}")

set(script "")
foreach(case IN LISTS lines)
  if(case STREQUAL "" OR case MATCHES "^(=====|${open}doctest${close})")
    continue()
  endif()
  string(REPLACE "\\" "\\\\" filter "${case}")
  string(REPLACE "," "\\," filter "${filter}")
  # A filter that selects no case is a failure.
  string(APPEND script "add_test([==[${prefix}/${case}]==] [==[${program}]==] [==[--test-case=${filter}]==])\n"
    "set_tests_properties([==[${prefix}/${case}]==] PROPERTIES LABELS \"${labels}\" TIMEOUT 300\n"
    "  FAIL_REGULAR_EXPRESSION \"test cases: +0 \")\n")
endforeach()
string(REPLACE "${open}" "[" script "${script}")
string(REPLACE "${close}" "]" script "${script}")
string(REPLACE "${semicolon}" ";" script "${script}")
file(WRITE ${list_file} "${script}")
