# preheat_find_utf8proc(): the target preheat_utf8proc, where the library is. Only text/wordpiece.hpp and text/basic_tokenizer.hpp need it; a project
# that uses that header links utf8proc itself.
function(preheat_find_utf8proc)
  find_path(PREHEAT_UTF8PROC_INCLUDE utf8proc.h)
  find_library(PREHEAT_UTF8PROC_LIBRARY utf8proc)
  mark_as_advanced(PREHEAT_UTF8PROC_INCLUDE PREHEAT_UTF8PROC_LIBRARY)
  if(NOT PREHEAT_UTF8PROC_INCLUDE OR NOT PREHEAT_UTF8PROC_LIBRARY)
    message(STATUS "preheat: text/wordpiece.hpp and preheat_text skipped: they need utf8proc (Debian: libutf8proc-dev)")
    return()
  endif()
  add_library(preheat_utf8proc INTERFACE)
  target_include_directories(preheat_utf8proc SYSTEM INTERFACE ${PREHEAT_UTF8PROC_INCLUDE})
  target_link_libraries(preheat_utf8proc INTERFACE ${PREHEAT_UTF8PROC_LIBRARY})
endfunction()
