#include "methods.hpp"

#include "catalogue.hpp"

namespace apps::finetune {

std::vector<method_entry> all_methods() {
  catalogue rows;
  add_part_0(rows);
  return rows.take_entries();
}

}  // namespace apps::finetune
