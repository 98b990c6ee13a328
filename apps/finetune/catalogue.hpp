// The rows of studies/common/catalogue.txt as entries. Included only where methods are instantiated.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "methods.hpp"
#include "studies/common/catalogue_policies.hpp"
#include "train.hpp"

namespace apps::finetune {

namespace common = studies::common;
using namespace common;  // the words of the catalogue

class catalogue {
 public:
  template <class Method>
  void add(const std::string& id, const std::string& name, const std::string& citation, family,
           const Method& m, unsigned = usual, rank_rule = same_rank) {
    entries_.push_back(
        {.id = id,
         .name = name,
         .citation = citation,
         .outcome = outcome_of<Method>(),
         .changes_base = !Method::leaves_base || !Method::adapter_type::has_factors,
         .has_factors = Method::adapter_type::has_factors,
         .fixed_rank = std::is_same_v<typename Method::rank_type, preheat::rank::fixed>,
         .memory = memory_of(m),
         .train = [m](const training_job& job) { return train(m, job); }});
  }
  std::vector<method_entry> take_entries() { return std::move(entries_); }

 private:
  std::vector<method_entry> entries_;
};

// Each part of the list is a generated file, which calls the next one.
void add_part_0(catalogue& all);

}  // namespace apps::finetune
