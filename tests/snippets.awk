# awk -v out=DIR -f snippets.awk PAGE...: writes every ```cpp block of the pages as DIR/NAME.cpp, prints the names.
#
# A block is a whole program, named page_1, page_2, ... A comment right above it gives a name, and
# may wrap a block that is only a part of a program; @@ stands for the block:
#
#   <!-- snippet: swap_init
#   #include <preheat/preheat.hpp>
#   int main() {
#   @@
#   }
#   -->
/^<!-- snippet: / {
  name = $3
  inside = !/-->/
  next
}
inside && /^-->/ { inside = 0; next }
inside && /^@@$/ { wrapped = 1; next }
inside { if (wrapped) after = after $0 "\n"; else before = before $0 "\n"; next }

/^```cpp/ { block = 1; count++; body = ""; next }
block && /^```/ {
  if (name == "") name = "page_" count
  printf "%s%s%s", before, body, after > (out "/" name ".cpp")
  print name
  block = wrapped = 0
  name = before = after = ""
  next
}
block { body = body $0 "\n" }
