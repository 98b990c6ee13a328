// The rows of studies/common/catalogue.txt as entries. Included only where methods are instantiated;
// the driver sees methods.hpp.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "adapt.hpp"
#include "methods.hpp"
#include "studies/common/catalogue_policies.hpp"

namespace studies::lm {

using namespace common;  // the words of the catalogue

class catalogue {
 public:
  template <class Method>
  void add(const std::string& id, const std::string& name, const std::string& citation, family kind,
           const Method& m, unsigned flags = usual, rank_rule rank = same_rank) {
    entries_.push_back({.id = id,
                        .name = name,
                        .citation = citation,
                        .kind = kind,
                        .by_default = (flags & reduced) != 0,
                        .has_rank = Method::adapter_type::has_factors,
                        .run = [m, rank](const base_model& model, const data_set& set,
                                         const training_settings& s, const run_definition& run) {
                          return adapt(m, rank, model, set, s, run);
                        }});
  }
  std::vector<method_entry> take_entries() { return std::move(entries_); }

 private:
  std::vector<method_entry> entries_;
};

// Adds the rows of the catalogue, in its order. Each part of it is a generated file, which calls the
// next one.
void add_part_0(catalogue& all);

}  // namespace studies::lm
