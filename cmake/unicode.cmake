# preheat_find_unicode(): the target preheat_unicode, where the libraries are that headers of text need: utf8proc (all but utf8.hpp and
# byte_letters.hpp) and PCRE2 (byte-level BPE). A project that uses these headers links the libraries itself.
# Within this build preheat_files reads the patterns of adapters by PCRE2 too (peft/name_expression.hpp).
function(preheat_find_unicode)
  find_path(PREHEAT_UTF8PROC_INCLUDE utf8proc.h)
  find_library(PREHEAT_UTF8PROC_LIBRARY utf8proc)
  find_path(PREHEAT_PCRE2_INCLUDE pcre2.h)
  find_library(PREHEAT_PCRE2_LIBRARY pcre2-8)
  mark_as_advanced(PREHEAT_UTF8PROC_INCLUDE PREHEAT_UTF8PROC_LIBRARY PREHEAT_PCRE2_INCLUDE PREHEAT_PCRE2_LIBRARY)
  if(TARGET preheat_files AND PREHEAT_PCRE2_INCLUDE AND PREHEAT_PCRE2_LIBRARY)
    target_compile_definitions(preheat_files INTERFACE $<BUILD_INTERFACE:PREHEAT_PCRE2=1>)
    target_include_directories(preheat_files SYSTEM INTERFACE $<BUILD_INTERFACE:${PREHEAT_PCRE2_INCLUDE}>)
    target_link_libraries(preheat_files INTERFACE $<BUILD_INTERFACE:${PREHEAT_PCRE2_LIBRARY}>)
  endif()
  if(NOT PREHEAT_UTF8PROC_INCLUDE OR NOT PREHEAT_UTF8PROC_LIBRARY OR NOT PREHEAT_PCRE2_INCLUDE OR NOT PREHEAT_PCRE2_LIBRARY)
    message(STATUS "preheat: the tokenizers (text/) and the programs with text skipped: they need utf8proc and PCRE2 "
                   "(Debian: libutf8proc-dev libpcre2-dev)")
    return()
  endif()
  add_library(preheat_unicode INTERFACE)
  target_include_directories(preheat_unicode SYSTEM INTERFACE ${PREHEAT_UTF8PROC_INCLUDE} ${PREHEAT_PCRE2_INCLUDE})
  target_link_libraries(preheat_unicode INTERFACE ${PREHEAT_UTF8PROC_LIBRARY} ${PREHEAT_PCRE2_LIBRARY})
endfunction()
